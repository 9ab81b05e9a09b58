"""Fig. 4: the behaviour's vector against every control at the same L2 norm."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures.style import (
    BASE,
    BEST_RANDOM,
    CONTROL,
    RANDOM,
    UNSTEERED,
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


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw lines by magnitude (left) and every control with its interval at the selected one (right)."""
    shares = percent(table, ("share", "low", "high"))
    figure, (left, right) = panels(2, 4.4, gridspec_kw={"width_ratios": [1.0, 0.95]})
    limit_to_coherent(left, shares)
    _draw_lines(left, shares, context)
    _draw_forest(right, shares.filter(pl.col("selected") | (pl.col("direction") == "none")), context)
    _draw_limit(right, shares.filter(pl.col("family") == "random", "coherent"))
    note = "Reasoning model, held-out prompts; bands, bars: intervals; thin grey: each random direction; × incoherent"
    add_title(figure, "The vector against every control at the same L2 norm", note)
    return figure


def _draw_lines(axes: Axes, shares: pl.DataFrame, context: Context) -> None:
    unsteered = shares.filter(pl.col("direction") == "none")
    labels: list[Label] = []
    for line in shares.filter(pl.col("family") == "random").partition_by("direction", maintain_order=True):
        kept = pl.concat([unsteered, line]).sort("magnitude")
        axes.plot(kept["magnitude"], kept["share"], color=RANDOM, linewidth=0.6, zorder=1)
    for name, color, text in (
        (pl.col("best_random"), BEST_RANDOM, "best random"),
        *((pl.col("direction") == control, color, control) for control, color in CONTROL.items()),
        (pl.col("direction") == context.behaviour, BASE, context.behaviour),
    ):
        line = shares.filter(name)
        if line.is_empty():
            continue
        kept = pl.concat([unsteered, line])
        last = draw_cell_line(axes, kept, "magnitude", color)
        if last is not None:
            labels.append((last, text, color))
    labels += draw_reference(axes, unsteered["share"], "unsteered")
    axes.set_xlabel("L2 norm added at every position")
    axes.set_ylabel(context.share_label)
    axes.set_title("by magnitude", fontweight="normal")
    label_lines(axes, labels)


def _draw_forest(axes: Axes, cells: pl.DataFrame, context: Context) -> None:
    random = cells.filter(pl.col("family") == "random").sort("share")
    others = cells.filter(pl.col("family") != "random").sort("share")
    ordered = pl.concat([random, others.filter(pl.col("direction") != context.behaviour)])
    ordered = pl.concat([ordered, others.filter(pl.col("direction") == context.behaviour)])
    for place, row in enumerate(ordered.iter_rows(named=True)):
        color = _color_of(row, context)
        style = "-" if row["coherent"] else (0, (1, 1.5))
        axes.plot([row["low"], row["high"]], [place, place], color=color, linewidth=1.3, linestyle=style)
        axes.plot(row["share"], place, "o" if row["coherent"] else "x", color=color, markersize=3.2)
    names = [_name_of(row) for row in ordered.iter_rows(named=True)]
    axes.set_yticks(range(len(names)), names, fontsize=6.3)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.8, len(names) - 0.2)
    axes.set_xlim(left=0)
    axes.set_xlabel("share of words (%)")
    axes.set_title("at the selected magnitude", fontweight="normal")


def _draw_limit(axes: Axes, random: pl.DataFrame) -> None:
    """Draw the highest upper end of a random direction, at whatever magnitude it is coherent."""
    best = random["high"].max() if random.height else None
    if isinstance(best, float):
        axes.axvline(best, color=BEST_RANDOM, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.annotate(
            "highest upper end\nof a random direction",
            (best, 0.35),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=6.5,
            color=BEST_RANDOM,
            va="top",
        )


def _name_of(row: dict[str, object]) -> str:
    return "unsteered" if row["direction"] == "none" else str(row["direction"])


def _color_of(row: dict[str, object], context: Context) -> str:
    if row["direction"] == context.behaviour:
        return BASE
    if row["direction"] == "none":
        return UNSTEERED
    if row["family"] == "random":
        return BEST_RANDOM if row["best_random"] else "#A5A5A5"
    return CONTROL.get(str(row["direction"]), "#7A7A7A")
