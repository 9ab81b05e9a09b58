"""Figures of the directions themselves: cosines, logit lens, log-odds."""

import textwrap
from collections.abc import Iterator

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures import style
from repurpose.results.figures.style import BASE, RANDOM, READER, UNSTEERED, Context, Label, printable

ORDER = {"behaviour": 0, "other label": 1, "same-offset": 2, "mean": 3, "shuffle": 4}
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))
TOP, LONGEST = 10, 18
"""Best tokens that are shown, and the characters of each at most."""
IS_TOP = pl.col("word").str.starts_with("top:")
LOG_ODDS = (
    ("keyword", "reasoning", "keyword, reasoning model"),
    ("keyword", "base", "keyword, base model"),
    ("mark", "base", "“mistake”, base model"),
)


def draw_cosines(table: pl.DataFrame, context: Context) -> Figure:
    """Draw each vector's cosine between readers, on disjoint halves and beside chance, and with the behaviour's."""
    order = pl.col("family").replace_strict(ORDER, default=9)
    ordered = table.sort(order, "cross_half", descending=[True, False])
    figure, (left, right) = style.panels(2, 0.19 * ordered.height + 1.35, sharey=True)
    level = ordered["random_high"][0]
    for panel in (left, right):
        panel.axvspan(-level, level, color=RANDOM, alpha=0.35, linewidth=0)
        style.annotate(panel, "random", (0, 1), (0, -2), ha="center", fontsize=7, color=UNSTEERED)
    _draw_between(left, ordered, context)
    for place, row in enumerate(ordered.iter_rows(named=True)):
        if row["cosine_with_behaviour"] is not None and row["name"] != context.behaviour:
            color = context.colors.get(row["name"], UNSTEERED)
            right.plot(row["cosine_with_behaviour"], place, "o", color=color, markersize=5)
    label, title = f"cosine with {context.behaviour}", f"base-derived, with {context.behaviour}"
    right.set(xlim=(-1.03, 1.03), xlabel=label, title=title)
    style.name_rows(left, ordered["name"].to_list())
    note = "Selected site, each reader on another half of the prompts; grey band: 95 % of random pairs"
    return style.add_title(figure, "Are base- and reasoning-derived vectors the same? Every label and control", note)


def _draw_between(axes: Axes, table: pl.DataFrame, context: Context) -> None:
    for place, row in enumerate(table.iter_rows(named=True)):
        color = BASE if row["name"] == context.behaviour else UNSTEERED
        if row["cosine"] is not None:  # a vector from outside has no two readers
            axes.plot(row["cosine"], place, "|", color=RANDOM, markersize=7, markeredgewidth=1.2)
        if row["cross_half"] is not None:
            axes.plot(row["cross_half"], place, "o", color=color, markersize=5, markerfacecolor="white")
        if row["disattenuated"] is not None:
            axes.plot([row["disattenuated_low"], row["disattenuated_high"]], [place, place], color=color)
            axes.plot(row["disattenuated"], place, "o", color=color, markersize=5)
    columns = ("cosine", "cross_half", "disattenuated_low", "disattenuated_high")
    seen = [value for column in columns for value in table[column].drop_nulls()]
    axes.set_xlim(min([-0.3, *(value - 0.05 for value in seen)]), max([1.03, *(value + 0.03 for value in seen)]))
    axes.set(xlabel="cosine: \u25cb halves, \u25cf noise taken out, | same text", title="base with reasoning")


def draw_lens(table: pl.DataFrame, context: Context) -> Figure:
    """Fig. 5: the logit of each keyword's best entry by layer, a panel per unembedding; below, the ten best tokens.

    Vectors from outside are diamonds at their layer, one for each word.
    """
    is_own = pl.col("direction") == context.behaviour
    single = table["best_score"].is_not_null().any()
    if single:  # an entry that is never used would hide one that is
        columns = ("score", "other_score_low", "other_score_high")
        table = table.with_columns(pl.coalesce(c.replace("score", "best_score"), c).alias(c) for c in columns)
    figure, axes = style.panels(2, 3.5, sharey=True)
    for panel, unembedding in zip(axes, ("base", "reasoning"), strict=True):
        here = table.filter(pl.col("unembedding") == unembedding)
        words, best = here.filter(~IS_TOP, is_own), here.filter(IS_TOP, is_own, "selected")
        low, high = pl.col("other_score_low").min(), pl.col("other_score_high").max()  # one band for all words
        band = words.drop_nulls("other_score_low").group_by("layer").agg(low, high).sort("layer")
        panel.fill_between(
            band["layer"], band["other_score_low"], band["other_score_high"], color=RANDOM, alpha=0.4, linewidth=0
        )
        outside = here.filter(pl.col("direction").is_in(list(context.colors)))
        labels = [*_draw_words(panel, words), *_draw_outside(panel, outside.filter(~IS_TOP), context)]
        panel.axhline(0, color="#CCCCCC", linewidth=0.7, zorder=0)
        own = {f"{reader}-derived": best.filter(pl.col("reader") == reader) for reader in READER}
        others = {name: outside.filter(IS_TOP, pl.col("direction") == name) for name in context.colors}
        lines = ["layer (resid_post)\n", *(_best_tokens(tokens, name) for name, tokens in {**own, **others}.items())]
        panel.set_xlabel("\n".join(lines), loc="left")
        panel.set(xticks=sorted(words["layer"].unique()), title=f"unembedding of the {unembedding} model")
        style.label_lines(panel, labels, filled=0.5)
    axes[0].set_ylabel("logit of its best entry" if single else "mean logit of its entries")
    note = "Grey: range of all other directions (any word); best tokens at the selected layer"
    return style.add_title(figure, "Logit lens of the unit direction: does it decode to the keywords?", note)


def _draw_words(axes: Axes, table: pl.DataFrame) -> Iterator[Label]:
    for number, word in enumerate(sorted(table["word"].unique())):
        for reader, color in READER.items():
            line = table.filter(pl.col("word") == word, pl.col("reader") == reader).sort("layer")
            if line.height:
                dashes = DASHES[number % len(DASHES)]
                axes.plot(line["layer"], line["score"], color=color, linestyle=dashes, marker="o")
                entry = line["best_entry"][-1]
                said = word if entry is None else f"“{entry.strip()}”"
                yield line["score"][-1], f"{printable(said)}, {reader}-derived", color


def _draw_outside(axes: Axes, table: pl.DataFrame, context: Context) -> Iterator[Label]:
    for name, color in context.colors.items():
        points = table.filter(pl.col("direction") == name).sort("score")
        axes.plot(points["layer"], points["score"], "D", color=color, markersize=4)
        if points.height:
            yield points["score"][-1], name, color


def _best_tokens(table: pl.DataFrame, name: str) -> str:
    best = table.sort("score", descending=True)
    words = [printable(word.removeprefix("top:")).strip() or "␣" for word in best["word"][:TOP]]
    short = [word if len(word) <= LONGEST else f"{word[: LONGEST - 1]}…" for word in words]
    lines = textwrap.wrap("  ".join(short), 44, subsequent_indent="   ", break_on_hyphens=False)
    return f"{name}, best tokens: " + ("\n   ".join(["", *map(str.strip, lines)]) if words else "not stored")


def draw_log_odds(table: pl.DataFrame, context: Context) -> Figure:
    """Draw changes of log-odds (keywords, marks) on the same text at the selected magnitude; keywords share a scale."""
    cells = style.with_names(table.filter("selected"))
    names = style.order_rows(cells)
    contexts = [known for known in LOG_ODDS if known[0] == "keyword" or known[0] in cells["context"]]
    figure, axes = style.panels(len(contexts), 0.27 * len(names) + 1.5, sharey=True)
    for panel, (kind, target, title) in zip(axes, contexts, strict=True):
        here = cells.filter(pl.col("context") == kind, pl.col("target") == target)
        style.draw_forest(panel, here, names, ("change", "low", "high"), context)
        panel.axvline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
        panel.set(xlabel="change of log-odds (nats)", title=title)
        if here.is_empty():
            panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center", color="#777777")
    style.name_axis(axes[0], names)
    limits = [panel.get_xlim() for panel in axes[:2]]
    for panel in axes[:2]:
        panel.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
    marks = "the mark “mistake” after steps of homework; " if len(contexts) > 2 else ""
    note = f"Keywords at sentence starts of the reasoning model's rollouts; {marks}bars: intervals"
    return style.add_title(figure, "What steering does to log-odds on the same text, at the selected magnitude", note)
