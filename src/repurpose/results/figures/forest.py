"""Estimates with intervals in rows, random directions together in one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes

from repurpose.results.figures.style import CONTROL, READER, UNSTEERED, name_rows


def with_names(table: pl.DataFrame) -> pl.DataFrame:
    """Add each row's `name`: random directions and shuffles share one each, others show their reader if need be."""
    together = {"random": "random directions", "shuffle": "label shuffles", "none": "unsteered"}
    shared = pl.col("family").replace_strict(together, default=None, return_dtype=pl.String)
    read = (pl.col("reader").n_unique().over("direction") > 1) | (pl.col("family") == "behaviour")
    own = pl.when(read).then(pl.format("{} ({})", "direction", "reader")).otherwise("direction")
    return table.with_columns(name=pl.coalesce(shared, own))


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
    ordered = table.sort(pl.col("family").replace_strict(rank, default=5), "name")
    return ordered["name"].unique(maintain_order=True).to_list()


def draw_forest(axes: Axes, table: pl.DataFrame, names: Sequence[str], measure: tuple[str, str, str]) -> None:
    """Draw each row's estimate and interval at its name's height; rows of one name are spread a little."""
    value, low, high = measure
    placed = table.sort(value).with_columns(at=pl.int_range(pl.len()).over("name"), last=pl.len().over("name") - 1)
    for row in placed.drop_nulls(value).iter_rows(named=True):
        thin, color = row["last"] > 0, color_row(row)
        place = names.index(row["name"]) + ((row["at"] / row["last"] - 0.5) * 0.7 if thin else 0.0)
        axes.plot([row[low], row[high]], [place] * 2, color=color, linewidth=0.7 if thin else 1.5)
        axes.plot(row[value], place, "o", color=color, markersize=2.2 if thin else 4.5)


def name_axis(axes: Axes, names: Sequence[str]) -> None:
    """Write the rows' names at the axis, and leave room above and below them."""
    name_rows(axes, names)
    axes.set_ylim(-0.7, len(names) - 0.3)
