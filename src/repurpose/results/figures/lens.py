"""Fig. 5: does the direction decode to the keywords?"""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures.style import RANDOM, READER, Context, Label, add_title, label_lines, panels, printable

DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))
TOP, LONGEST = 10, 18
"""Best tokens that are shown, and the characters of each at most."""
IS_TOP = pl.col("word").str.starts_with("top:")


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw the mean logit of each keyword by layer, a panel per unembedding; below, the ten best tokens."""
    del context
    figure, axes = panels(2, 3.5, sharey=True)
    for panel, unembedding in zip(axes, ("base", "reasoning"), strict=True):
        here = table.filter(pl.col("unembedding") == unembedding)
        words, best = here.filter(~IS_TOP), here.filter(IS_TOP, "selected")
        _draw_others(panel, words)
        labels = _draw_words(panel, words)
        panel.axhline(0, color="#CCCCCC", linewidth=0.7, zorder=0)
        panel.set_xticks(sorted(words["layer"].unique()))
        panel.set_xlabel(
            "\n".join(["layer (resid_post)\n", *(_best_tokens(best, reader) for reader in READER)]), loc="left"
        )
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
            if line.height:
                dashes = DASHES[number % len(DASHES)]
                axes.plot(line["layer"], line["score"], color=color, linestyle=dashes, marker="o")
                labels.append((line["score"][-1], f"{printable(word)}, {reader}-derived", color))
    return labels


def _draw_others(axes: Axes, table: pl.DataFrame) -> None:
    """One band for all words: the widest."""
    low, high = pl.col("other_score_low").min(), pl.col("other_score_high").max()
    band = table.drop_nulls("other_score_low").group_by("layer").agg(low, high).sort("layer")
    layers, lows, highs = band.get_columns()
    axes.fill_between(layers, lows, highs, color=RANDOM, alpha=0.4, linewidth=0)


def _best_tokens(table: pl.DataFrame, reader: str) -> str:
    best = table.filter(pl.col("reader") == reader).sort("score", descending=True)
    words = [printable(word.removeprefix("top:")).strip() or "␣" for word in best["word"][:TOP]]
    return f"{reader}-derived, best tokens: {_wrap(words) if words else 'not stored'}"


def _wrap(words: list[str], length: int = 52) -> str:
    lines = [""]
    for word in words:
        short = word if len(word) <= LONGEST else f"{word[: LONGEST - 1]}…"
        if len(lines[-1]) + len(short) > length:
            lines.append("   ")
        lines[-1] += f"{short}  "
    return "\n".join(["", *("   " + line.strip() for line in lines)])
