"""Coherence and correctness beside the effect."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures.style import READER, UNSTEERED, Context, Label, add_title, draw_band, label_lines, panels

METRICS = (
    ("distinct_2", "distinct token pairs (share)", 1.0),
    ("longest_run", "longest run of one token", 1.0),
    ("compression_ratio", "compression ratio (zlib)", 1.0),
    ("length", "length (tokens)", 1.0),
    ("finished", "texts that end (%)", 100.0),
    ("correct", "right answers, all texts (%)", 100.0),
)

LABELLED = "compression_ratio"


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw each metric by magnitude in the reasoning model."""
    cells = table.filter(pl.col("target") == "reasoning")
    figure, axes = panels(3, 4.4, rows=2, sharex=True)
    for panel, (metric, title, scale) in zip(axes, METRICS, strict=True):
        here = cells.filter(pl.col("metric") == metric)
        scaled = here.with_columns(pl.col("estimate", "low", "high") * scale)
        labels = _draw_metric(panel, scaled, context)
        label_lines(panel, labels if metric == LABELLED else [], size=7)
        panel.set_title(title, fontweight="normal", fontsize=8.5)
    for panel in axes[3:]:
        panel.set_xlabel("L2 norm added")
    note = "Reasoning model, held-out prompts; bands: intervals; dashed: unsteered; blue: base-derived"
    add_title(figure, "What steering costs: coherence, length and correctness by magnitude", note)
    return figure


def _draw_metric(axes: Axes, cells: pl.DataFrame, context: Context) -> list[Label]:
    labels: list[Label] = []
    for reader, color in READER.items():
        here = (pl.col("direction") == context.behaviour) & (pl.col("reader") == reader)
        line = cells.filter(here | (pl.col("direction") == "none")).drop_nulls("estimate").sort("magnitude")
        if line.height > 1:
            draw_band(axes, line, "magnitude", "estimate", ("low", "high"), color)
            labels.append((line["estimate"][-1], f"{reader}-derived", color))
    unsteered = cells.filter(pl.col("direction") == "none")["estimate"]
    if len(unsteered) and unsteered[0] is not None:
        axes.axhline(unsteered[0], color=UNSTEERED, linestyle=(0, (4, 3)), linewidth=0.9, zorder=0)
    return labels
