"""The base model's zero, deconfounded: log-odds of keywords on the same rollouts, and of marks."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures import style
from repurpose.results.figures.forest import draw_forest, name_axis, order_rows, with_names
from repurpose.results.figures.style import Context

PANELS = (
    ("keyword", "reasoning", "keyword, reasoning model"),
    ("keyword", "base", "keyword, base model"),
    ("mark", "base", "“mistake”, base model"),
)


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw the change of log-odds by direction, at the selected magnitude; the keywords' panels share their scale."""
    del context
    cells = with_names(table.filter("selected"))
    names = order_rows(cells)
    figure, axes = style.panels(3, 0.27 * len(names) + 1.5, sharey=True)
    for panel, (kind, target, title) in zip(axes, PANELS, strict=True):
        _draw_panel(panel, cells.filter(pl.col("context") == kind, pl.col("target") == target), names, title)
    name_axis(axes[0], names)
    limits = [panel.get_xlim() for panel in axes[:2]]
    for panel in axes[:2]:
        panel.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
    note = (
        "Keywords at sentence starts of the reasoning model's rollouts; the mark “mistake” after steps of homework; "
        "bars: intervals"
    )
    style.add_title(figure, "What steering does to log-odds on the same text, at the selected magnitude", note)
    return figure


def _draw_panel(axes: Axes, cells: pl.DataFrame, names: list[str], title: str) -> None:
    draw_forest(axes, cells, names, ("change", "low", "high"))
    axes.axvline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes.set_xlabel("change of log-odds (nats)")
    axes.set_title(title, fontweight="normal")
    if cells.is_empty():
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="#777777")
