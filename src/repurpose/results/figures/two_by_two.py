"""Fig. 3: vector x target."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures.style import (
    INK,
    READER,
    Context,
    Label,
    add_title,
    draw_cell_line,
    draw_reference,
    label_lines,
    limit_to_coherent,
    panels,
    percent,
)

TITLES = {"reasoning": "reasoning model steered", "base": "base model steered"}


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw the share by magnitude, a panel per target, a line per reader; × marks incoherent cells."""
    shares = percent(table, ("share", "low", "high"))
    figure, axes = panels(2, 3.0, sharey=True)
    limit_to_coherent(axes[0], shares)
    for panel, target in zip(axes, ("reasoning", "base"), strict=True):
        cells = shares.filter(pl.col("target") == target)
        labels = [label for reader in READER for label in _draw_reader(panel, cells, reader, context)]
        unsteered = cells.filter(pl.col("direction") == "none")["share"]
        labels += draw_reference(panel, unsteered, "unsteered")
        panel.axvline(0, color="#DDDDDD", linewidth=0.8, zorder=0)
        panel.set_xlabel("L2 norm added at every position")
        panel.set_title(TITLES[target], fontweight="normal")
        label_lines(panel, labels)
    axes[0].set_ylabel(context.share_label)
    note = "Held-out prompts; bands: intervals; ring: selected on training prompts; × incoherent, cut off at the top"
    add_title(figure, "Which vector moves which model: keyword share by vector, target and magnitude", note)
    return figure


def _draw_reader(axes: Axes, cells: pl.DataFrame, reader: str, context: Context) -> list[Label]:
    here = (pl.col("direction") == context.behaviour) & (pl.col("reader") == reader)
    line = cells.filter(here | (pl.col("direction") == "none")).sort("magnitude")
    if line.height < 2:
        return []
    last = draw_cell_line(axes, line, "magnitude", READER[reader])
    selected = line.filter(pl.col("selected"))
    axes.plot(selected["magnitude"], selected["share"], "o", markersize=9, fillstyle="none", color=INK)
    return [] if last is None else [(last, f"{reader}-derived", READER[reader])]
