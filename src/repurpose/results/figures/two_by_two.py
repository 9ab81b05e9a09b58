"""Fig. 3: vector x target."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures import style
from repurpose.results.figures.style import Context, Label


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw the share by magnitude, a panel per target, a line per reader; × marks incoherent cells."""
    shares = style.percent(table)
    figure, axes = style.panels(2, 3.0, sharey=True)
    style.limit_to_coherent(axes[0], shares)
    for panel, target in zip(axes, ("reasoning", "base"), strict=True):
        cells = shares.filter(pl.col("target") == target)
        labels = _draw_lines(panel, cells, context.behaviour)
        labels += style.draw_reference(panel, cells.filter(style.UNSTEERED_ROW)["share"], "unsteered")
        panel.axvline(0, color="#DDDDDD", linewidth=0.8, zorder=0)
        panel.set_xlabel("L2 norm added at every position")
        panel.set_title(f"{target} model steered", fontweight="normal")
        style.label_lines(panel, labels)
    axes[0].set_ylabel(context.share_label)
    note = "Held-out prompts; bands: intervals; ring: selected on training prompts; × incoherent, cut off at the top"
    style.add_title(figure, "Which vector moves which model: keyword share by vector, target and magnitude", note)
    return figure


def _draw_lines(axes: Axes, cells: pl.DataFrame, behaviour: str) -> list[Label]:
    labels = []
    for reader, color, line in style.lines_by_reader(cells, behaviour):
        last = style.draw_cell_line(axes, line, "magnitude", color)
        selected = line.filter("selected")
        axes.plot(selected["magnitude"], selected["share"], "o", markersize=9, fillstyle="none", color=style.INK)
        labels += [] if last is None else [(last, f"{reader}-derived", color)]
    return labels
