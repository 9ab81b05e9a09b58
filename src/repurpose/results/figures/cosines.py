"""Do the two readers give the same direction? Every label, read on disjoint halves, beside the level of chance."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures.style import BASE, RANDOM, UNSTEERED, Context, add_title, annotate, name_rows, panels

ORDER = {"behaviour": 0, "other label": 1, "same-offset": 2, "mean": 3, "shuffle": 4}


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw the cosine between readers of every vector, and of every base-derived vector with the behaviour's."""
    ordered = table.with_columns(order=pl.col("family").replace_strict(ORDER, default=9)).sort(
        ["order", "cross_half"], descending=[True, False]
    )
    figure, (left, right) = panels(2, 0.19 * ordered.height + 1.35, sharey=True)
    _draw_between(left, ordered, context)
    _draw_within(right, ordered, context)
    name_rows(left, ordered["name"].to_list())
    note = "Selected site, each reader on another half of the prompts; grey band: 95 % of random pairs"
    add_title(figure, "Are base- and reasoning-derived vectors the same? Every label and control", note)
    return figure


def _draw_between(axes: Axes, table: pl.DataFrame, context: Context) -> None:
    _draw_chance(axes, table)
    for place, row in enumerate(table.iter_rows(named=True)):
        color = BASE if row["name"] == context.behaviour else UNSTEERED
        axes.plot(row["cosine"], place, "|", color=RANDOM, markersize=7, markeredgewidth=1.2)
        if row["cross_half"] is not None:
            axes.plot(row["cross_half"], place, "o", color=color, markersize=5, markerfacecolor="white")
        if row["disattenuated"] is not None:
            axes.plot([row["disattenuated_low"], row["disattenuated_high"]], [place, place], color=color)
            axes.plot(row["disattenuated"], place, "o", color=color, markersize=5)
    columns = ("cosine", "cross_half", "disattenuated_low", "disattenuated_high")
    seen = [value for column in columns for value in table[column].drop_nulls()]
    axes.set_xlim(min([-0.3, *(value - 0.05 for value in seen)]), max([1.03, *(value + 0.03 for value in seen)]))
    axes.set_xlabel("cosine: \u25cb halves, \u25cf noise taken out, | same text")
    axes.set_title("base with reasoning", fontweight="normal")


def _draw_within(axes: Axes, table: pl.DataFrame, context: Context) -> None:
    _draw_chance(axes, table)
    for place, row in enumerate(table.iter_rows(named=True)):
        if row["cosine_with_behaviour"] is not None and row["name"] != context.behaviour:
            axes.plot(row["cosine_with_behaviour"], place, "o", color=UNSTEERED, markersize=5)
    axes.set_xlim(-1.03, 1.03)
    axes.set_xlabel(f"cosine with {context.behaviour}")
    axes.set_title(f"base-derived, with {context.behaviour}", fontweight="normal")


def _draw_chance(axes: Axes, table: pl.DataFrame) -> None:
    level = table["random_high"][0]
    axes.axvspan(-level, level, color=RANDOM, alpha=0.35, linewidth=0)
    annotate(axes, "random", (0, 1), (0, -2), ha="center", fontsize=7, color=UNSTEERED)
