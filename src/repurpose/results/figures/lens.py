"""Fig. 5: does the direction decode to the keywords?"""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures.style import RANDOM, READER, Context, Label, add_title, label_lines, panels, printable

DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))
TOP = 10


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw the mean logit of each keyword by layer, a panel per unembedding; below, the ten best tokens."""
    del context
    words = table.filter(~pl.col("word").str.starts_with("top:"))
    figure, axes = panels(2, 3.5, sharey=True)
    for panel, unembedding in zip(axes, ("base", "reasoning"), strict=True):
        here = words.filter(pl.col("unembedding") == unembedding)
        _draw_others(panel, here)
        labels = _draw_words(panel, here)
        panel.axhline(0, color="#CCCCCC", linewidth=0.7, zorder=0)
        panel.set_xticks(sorted(here["layer"].unique()))
        panel.set_xlabel(f"layer (resid_post)\n\n{_best_tokens(table, unembedding)}", loc="left")
        panel.set_title(f"unembedding of the {unembedding} model", fontweight="normal")
        label_lines(panel, labels, filled=0.5)
    axes[0].set_ylabel("mean logit of its entries")
    note = "Grey: range of all other directions (any word); best tokens at the selected layer"
    add_title(figure, "Logit lens of the unit direction: does it decode to the keywords?", note)
    return figure


def _draw_words(axes: Axes, table: pl.DataFrame) -> list[Label]:
    labels = []
    for number, word in enumerate(sorted(table["word"].unique())):
        for reader, color in READER.items():
            line = table.filter(pl.col("word") == word, pl.col("reader") == reader).sort("layer")
            if line.is_empty():
                continue
            style = DASHES[number % len(DASHES)]
            axes.plot(line["layer"], line["score"], color=color, linestyle=style, marker="o")
            labels.append((line["score"][-1], f"{printable(word)}, {reader}-derived", color))
    return labels


def _draw_others(axes: Axes, table: pl.DataFrame) -> None:
    """One band for all words: the widest."""
    bands = (
        table.drop_nulls("other_score_low")
        .group_by("layer")
        .agg(pl.col("other_score_low").min(), pl.col("other_score_high").max())
    )
    band = bands.sort("layer")
    axes.fill_between(
        band["layer"],
        band["other_score_low"],
        band["other_score_high"],
        color=RANDOM,
        alpha=0.4,
        linewidth=0,
    )


def _best_tokens(table: pl.DataFrame, unembedding: str) -> str:
    lines = []
    for reader in READER:
        best = table.filter(
            pl.col("selected"),
            pl.col("reader") == reader,
            pl.col("unembedding") == unembedding,
            pl.col("word").str.starts_with("top:"),
        ).sort("score", descending=True)
        words = [printable(word.removeprefix("top:")).strip() or "␣" for word in best["word"][:TOP]]
        lines.append(f"{reader}-derived, best tokens: " + (_wrap(words) if words else "not stored"))
    return "\n".join(lines)


def _wrap(words: list[str], length: int = 52) -> str:
    lines = [""]
    for word in words:
        short = word if len(word) <= 18 else f"{word[:17]}…"
        if len(lines[-1]) + len(short) > length:
            lines.append("   ")
        lines[-1] += f"{short}  "
    return "\n".join(["", *("   " + line.strip() for line in lines)])
