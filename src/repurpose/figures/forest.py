"""Estimates with intervals in rows, random directions together in one row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes

from repurpose.figures.style import CONTROL, READER, UNSTEERED

Namer = Callable[[dict[str, Any]], str]
RANDOM_ROW = "random directions"


def name_row(row: dict[str, Any]) -> str:
    """Return a row's name: random directions and shuffles share one each."""
    if row["direction"] == "none":
        return "unsteered"
    if row["family"] == "random":
        return RANDOM_ROW
    if row["family"] == "shuffle":
        return "label shuffles"
    return f"{row['direction']} ({row['reader']})" if row["family"] == "behaviour" else str(row["direction"])


def color_row(row: dict[str, Any]) -> str:
    """Return a row's colour."""
    if row["family"] == "behaviour":
        return READER.get(str(row["reader"]), UNSTEERED)
    if row["direction"] == "none":
        return UNSTEERED
    return "#A5A5A5" if row["family"] == "random" else CONTROL.get(str(row["direction"]), "#7A7A7A")


def order_rows(table: pl.DataFrame) -> list[str]:
    """Return row names from bottom to top: controls, unsteered, the behaviour."""
    rank = {"random": 0, "shuffle": 1, "behaviour": 9, "none": 8}
    rows = sorted(table.iter_rows(named=True), key=lambda r: (rank.get(r["family"], 5), name_row(r)))
    return list(dict.fromkeys(name_row(row) for row in rows))


def draw_forest(
    axes: Axes,
    table: pl.DataFrame,
    names: Sequence[str],
    column: str,
    ends: tuple[str, str],
    shift: float = 0,
) -> None:
    """Draw each row's estimate and interval at its name's height; rows of one name are spread a little."""
    together: dict[str, int] = {}
    count = {name: sum(name_row(r) == name for r in table.iter_rows(named=True)) for name in names}
    for row in table.sort(column).iter_rows(named=True):
        name, estimate = name_row(row), row[column]
        number = together[name] = together.get(name, -1) + 1
        if estimate is None:
            continue
        spread = (number / max(1, count[name] - 1) - 0.5) * 0.7 if count[name] > 1 else 0.0
        place, thin = names.index(name) + spread + shift, count[name] > 1
        color = color_row(row)
        axes.plot([row[ends[0]], row[ends[1]]], [place] * 2, color=color, linewidth=0.7 if thin else 1.5)
        axes.plot(estimate, place, "o", color=color, markersize=2.2 if thin else 4.5)


def name_axis(axes: Axes, names: Sequence[str]) -> None:
    """Write the rows' names at the axis."""
    axes.set_yticks(range(len(names)), names, fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(names) - 0.3)
