"""Figures of the selection sweep: keyword share along one axis of the grid, a line per dose, both readers."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from repurpose.results.figures.style import (
    INK,
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

NOTE = "Reasoning model, training prompts; bands: intervals; {unit}; × incoherent"
UNITS = {"dose": "dose: magnitude over residual norm", "L2": "L2: norm that is added"}
MOST_TICKS = 14
"""More values than this are ticked at round numbers."""
SHADES = {"base": "Blues", "reasoning": "Oranges"}


def draw_along(
    table: pl.DataFrame,
    axis: str,
    label: str,
    title: str,
    context: Context,
    mark: Callable[[Axes], None] | None = None,
) -> Figure:
    """Draw the share along `axis`, a panel per reader, a shade per dose; `mark` adds to each panel."""
    shares = percent(table, ("share", "low", "high"))
    steered = shares.filter(pl.col("direction") == context.behaviour, pl.col("multiple") > 0)
    unsteered = shares.filter(pl.col("direction") == "none")["share"]
    figure, axes = panels(2, 2.9, sharey=True)
    for panel, reader in zip(axes, ("base", "reasoning"), strict=True):
        cells = steered.filter(pl.col("reader") == reader)
        limit_to_coherent(panel, steered)
        labels = _draw_reader(panel, cells, axis, reader)
        labels += draw_reference(panel, unsteered, "unsteered")
        panel.set_xlabel(label)
        panel.set_title(f"{reader}-derived vector", fontweight="normal")
        label_lines(panel, labels)
        if mark:
            mark(panel)
    axes[0].set_ylabel(context.share_label)
    add_title(figure, title, NOTE.format(unit=UNITS[_unit(steered)]))
    return figure


def _unit(steered: pl.DataFrame) -> str:
    """What stays the same along a line: the norm added, where a study gives norms, otherwise the dose."""
    as_given = (steered["magnitude"] - steered["multiple"]).abs() <= 1e-6 * steered["multiple"]
    return "L2" if steered.height and as_given.all() else "dose"


def _draw_reader(axes: Axes, cells: pl.DataFrame, axis: str, reader: str) -> list[Label]:
    multiples, unit = sorted(cells["multiple"].unique()), _unit(cells)
    labels: list[Label] = []
    for number, multiple in enumerate(multiples):
        color = to_hex(colormaps[SHADES[reader]](0.45 + 0.5 * number / max(1, len(multiples) - 1)))
        line = cells.filter(pl.col("multiple") == multiple).sort(axis)
        last = draw_cell_line(axes, line, axis, color)
        _ring_selected(axes, line, axis)
        if last is not None:
            value = multiple if unit == "L2" else line["dose"][0]
            labels.append((last, f"{unit} {value:.2g}", color))
    ticks = sorted(cells[axis].unique())
    if len(ticks) <= MOST_TICKS:
        axes.set_xticks(ticks)
    return labels


def _ring_selected(axes: Axes, line: pl.DataFrame, axis: str) -> None:
    for row in line.filter(pl.col("selected")).iter_rows(named=True):
        axes.plot(row[axis], row["share"], marker="o", markersize=10, fillstyle="none", color=INK, zorder=5)
        axes.annotate(
            "selected",
            (row[axis], row["share"]),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=INK,
        )
