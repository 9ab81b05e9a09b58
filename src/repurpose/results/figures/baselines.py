"""Fig. 4: the behaviour's vector against every control at the same L2 norm."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures import style
from repurpose.results.figures.style import BASE, BEST_RANDOM, CONTROL, RANDOM, UNSTEERED, Context, Label


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw lines by magnitude (left) and every control with its interval at the selected one (right)."""
    shares = style.percent(table)
    figure, (left, right) = style.panels(2, 4.4, gridspec_kw={"width_ratios": [1.0, 0.95]})
    style.limit_to_coherent(left, shares)
    _draw_lines(left, shares, context)
    _draw_forest(right, shares.filter(pl.col("selected") | style.UNSTEERED_ROW), context)
    _draw_limit(right, shares.filter(pl.col("family") == "random", "coherent"))
    note = "Reasoning model, held-out prompts; bands, bars: intervals; thin grey: each random direction; × incoherent"
    style.add_title(figure, "The vector against every control at the same L2 norm", note)
    return figure


def _draw_lines(axes: Axes, shares: pl.DataFrame, context: Context) -> None:
    unsteered = shares.filter(style.UNSTEERED_ROW)
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
        if line.height:
            last = style.draw_cell_line(axes, pl.concat([unsteered, line]), "magnitude", color)
            labels += [] if last is None else [(last, text, color)]
    labels += style.draw_reference(axes, unsteered["share"], "unsteered")
    axes.set_xlabel("L2 norm added at every position")
    axes.set_ylabel(context.share_label)
    axes.set_title("by magnitude", fontweight="normal")
    style.label_lines(axes, labels)


def _draw_forest(axes: Axes, cells: pl.DataFrame, context: Context) -> None:
    is_random, is_own = pl.col("family") == "random", pl.col("direction") == context.behaviour
    ordered = cells.sort(is_own, ~is_random, "share", maintain_order=True)
    for place, row in enumerate(ordered.iter_rows(named=True)):
        color = _color_of(row, context)
        line = "-" if row["coherent"] else (0, (1, 1.5))
        axes.plot([row["low"], row["high"]], [place, place], color=color, linewidth=1.3, linestyle=line)
        axes.plot(row["share"], place, "o" if row["coherent"] else "x", color=color, markersize=3.2)
    names = ["unsteered" if name == "none" else name for name in ordered["direction"]]
    style.name_rows(axes, names, size=6.3)
    axes.set_ylim(-0.8, len(names) - 0.2)
    axes.set_xlim(left=0)
    axes.set_xlabel("share of words (%)")
    axes.set_title("at the selected magnitude", fontweight="normal")


def _draw_limit(axes: Axes, random: pl.DataFrame) -> None:
    """Draw the highest upper end of a random direction, at whatever magnitude it is coherent."""
    best = random["high"].max() if random.height else None
    if isinstance(best, float):
        axes.axvline(best, color=BEST_RANDOM, linewidth=0.8, linestyle=(0, (2, 2)))
        text, size = "highest upper end\nof a random direction", 6.5
        style.annotate(axes, text, (best, 0.35), (4, 0), fontsize=size, color=BEST_RANDOM)


def _color_of(row: dict[str, object], context: Context) -> str:
    if row["direction"] == context.behaviour:
        return BASE
    if row["direction"] == "none":
        return UNSTEERED
    if row["family"] == "random":
        return BEST_RANDOM if row["best_random"] else "#A5A5A5"
    return CONTROL.get(str(row["direction"]), "#7A7A7A")
