"""Coherence and correctness beside the effect."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures import style
from repurpose.results.figures.style import Context, Label

METRICS = (
    ("distinct_2", "distinct token pairs (share)", 1.0),
    ("longest_run", "longest run of one token", 1.0),
    ("compression_ratio", "compression ratio (zlib)", 1.0),
    ("length", "length (tokens)", 1.0),
    ("finished", "texts that end (%)", 100.0),
    ("correct", "right answers, all texts (%)", 100.0),
)
LABELLED = "compression_ratio"
"""The panel beside which the lines are named."""


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw each metric by magnitude in the reasoning model."""
    figure, axes = style.panels(3, 4.4, rows=2, sharex=True)
    for panel, (metric, title, scale) in zip(axes, METRICS, strict=True):
        cells = table.filter(pl.col("target") == "reasoning", pl.col("metric") == metric).drop_nulls("estimate")
        labels = _draw_lines(panel, cells.with_columns(pl.col("estimate", "low", "high") * scale), context.behaviour)
        style.label_lines(panel, labels if metric == LABELLED else [], size=7)
        panel.set_title(title, fontweight="normal", fontsize=8.5)
    for panel in axes[3:]:
        panel.set_xlabel("L2 norm added")
    note = "Reasoning model, held-out prompts; bands: intervals; dashed: unsteered; blue: base-derived"
    style.add_title(figure, "What steering costs: coherence, length and correctness by magnitude", note)
    return figure


def _draw_lines(axes: Axes, cells: pl.DataFrame, behaviour: str) -> list[Label]:
    labels = []
    for reader, color, line in style.lines_by_reader(cells, behaviour):
        style.draw_band(axes, line, "magnitude", "estimate", ("low", "high"), color)
        labels.append((line["estimate"][-1], f"{reader}-derived", color))
    style.draw_reference(axes, cells.filter(style.UNSTEERED_ROW)["estimate"], width=0.9, zorder=0)
    return labels
