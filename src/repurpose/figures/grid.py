"""Figures of the selection sweep: keyword share along one axis of the grid, a line per dose, both readers."""

from __future__ import annotations

import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from repurpose.figures.style import (
    INK,
    Context,
    Label,
    add_title,
    draw_band,
    draw_reference,
    label_lines,
    limit_to_coherent,
    panels,
    percent,
)

NOTE = (
    "Reasoning model steered, training prompts; bands: intervals; dose: magnitude over the median residual norm; "
    "× incoherent"
)
SHADES = {"base": "Blues", "reasoning": "Oranges"}


def draw_along(table: pl.DataFrame, axis: str, label: str, title: str, context: Context) -> Figure:
    """Draw the share along `axis`, a panel per reader, a shade per magnitude."""
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
    axes[0].set_ylabel(context.share_label)
    add_title(figure, title, NOTE)
    return figure


def _draw_reader(axes: Axes, cells: pl.DataFrame, axis: str, reader: str) -> list[Label]:
    multiples = sorted(cells["multiple"].unique())
    labels = []
    for number, multiple in enumerate(multiples):
        color = to_hex(colormaps[SHADES[reader]](0.45 + 0.5 * number / max(1, len(multiples) - 1)))
        line = cells.filter(pl.col("multiple") == multiple).sort(axis)
        draw_band(axes, line, axis, "share", ("low", "high"), color)
        _ring_selected(axes, line, axis)
        _cross_incoherent(axes, line, axis)
        labels.append((line["share"][-1], f"dose {line['dose'][0]:.2g}", color))
    axes.set_xticks(sorted(cells[axis].unique()))
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


def _cross_incoherent(axes: Axes, line: pl.DataFrame, axis: str) -> None:
    broken = line.filter(~pl.col("coherent"))
    axes.plot(broken[axis], broken["share"], "x", color=INK, markersize=6, zorder=5)
