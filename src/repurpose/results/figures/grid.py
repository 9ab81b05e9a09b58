"""Fig. 2 and B.1: keyword share by where the vector is read, a panel per reader, a shade per dose."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from repurpose.results.figures import style
from repurpose.results.figures.style import Context, Label

NOTE = "Reasoning model, training prompts; bands: intervals; {unit}; × incoherent"
UNITS = {"dose": "dose: magnitude over residual norm", "L2": "L2: norm that is added"}
MOST_TICKS = 14
"""More values than this are ticked at round numbers."""
SHADES = {"base": "Blues", "reasoning": "Oranges"}


def draw_windows(table: pl.DataFrame, context: Context) -> Figure:
    """Draw the share by window start."""
    title = f"Keyword share by where the vector is read (windows of {context.window_length} tokens)"
    label = "window start (tokens from the sentence's start)"
    return _draw(table, "window_start", label, title, context, lambda axes: _mark_inside(axes, context))


def draw_layers(table: pl.DataFrame, context: Context) -> Figure:
    """Draw the share by layer."""
    title = "Keyword share by the layer at which the vector is read and added"
    return _draw(table, "layer", "layer (resid_post, 0-based)", title, context)


def _draw(
    table: pl.DataFrame, axis: str, label: str, title: str, context: Context, mark: Callable[[Axes], None] | None = None
) -> Figure:
    """Draw the share along a column; `mark` adds to each panel."""
    shares = style.percent(table)
    steered = shares.filter(pl.col("direction") == context.behaviour, pl.col("multiple") > 0)
    unsteered = shares.filter(style.UNSTEERED_ROW)["share"]
    figure, axes = style.panels(2, 2.9, sharey=True)
    for panel, reader in zip(axes, style.READER, strict=True):
        style.limit_to_coherent(panel, steered)
        labels = _draw_reader(panel, steered.filter(pl.col("reader") == reader), axis, reader)
        labels += style.draw_reference(panel, unsteered, "unsteered")
        panel.set_xlabel(label)
        panel.set_title(f"{reader}-derived vector", fontweight="normal")
        style.label_lines(panel, labels)
        if mark:
            mark(panel)
    axes[0].set_ylabel(context.share_label)
    style.add_title(figure, title, NOTE.format(unit=UNITS[_unit(steered)]))
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
        last = style.draw_cell_line(axes, line, axis, color)
        _ring_selected(axes, line, axis)
        if last is not None:
            value = multiple if unit == "L2" else line["dose"][0]
            labels.append((last, f"{unit} {value:.2g}", color))
    ticks = sorted(cells[axis].unique())
    if len(ticks) <= MOST_TICKS:
        axes.set_xticks(ticks)
    return labels


def _ring_selected(axes: Axes, line: pl.DataFrame, axis: str) -> None:
    for row in line.filter("selected").iter_rows(named=True):
        point = row[axis], row["share"]
        axes.plot(*point, marker="o", markersize=10, fillstyle="none", color=style.INK, zorder=5)
        size = {"fontsize": 7.5, "color": style.INK, "ha": "center", "va": "baseline"}
        style.annotate(axes, "selected", point, (0, 8), xycoords="data", **size)


def _mark_inside(axes: Axes, context: Context) -> None:
    """Shade the windows that reach into the sentence itself."""
    first, right = 0.5 - context.window_length, axes.get_xlim()[1]
    if right > first:
        axes.axvspan(first, right, color="#EEEEEE", zorder=0)
        axes.set_xlim(right=right)
        style.annotate(axes, "reads into\nthe sentence", (first, 1.0), (2, -2), fontsize=7, color=style.UNSTEERED)
