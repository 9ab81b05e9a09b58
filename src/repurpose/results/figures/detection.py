"""Does the direction find mistakes? AUROC of the projection for an open mistake."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures.style import READER, Context, Label, add_title, draw_reference, label_lines, panels

TITLES = {"all": "all tokens before a backtracking", "unhedged": "without hedging sentences"}


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw AUROC by tokens since the last calculation, a panel per choice of tokens."""
    del context
    overall = (pl.col("since_low") == 0) & pl.col("since_high").is_null()
    figure, axes = panels(2, 2.9, sharey=True)
    for panel, (tokens, title) in zip(axes, TITLES.items(), strict=True):
        _draw_panel(panel, table.filter(~overall, pl.col("tokens") == tokens))
        panel.set_title(title, fontweight="normal")
        panel.set_xlabel("tokens since the last calculation ended")
    axes[0].set_ylabel("AUROC for an open mistake")
    note = "Held-out rollouts, each reader's own direction; tokens of backtracking sentences left out; bars: intervals"
    add_title(figure, "How well a token's projection tells that a mistake is open", note)
    return figure


def _draw_panel(axes: Axes, table: pl.DataFrame) -> None:
    bins = sorted(table["since_low"].unique())
    labels: list[Label] = []
    for shift, (reader, color) in zip((-0.06, 0.06), READER.items(), strict=True):
        line = table.filter(pl.col("reader") == reader).drop_nulls("auroc").sort("since_low")
        places = [bins.index(low) + shift for low in line["since_low"]]
        axes.plot(places, line["auroc"], color=color, marker="o")
        axes.vlines(places, line["low"], line["high"], color=color, linewidth=1.3)
        if line.height:
            labels.append((line["auroc"][-1], f"{reader} model", color))
    ranges = table.unique("since_low").sort("since_low").select("since_low", "since_high").iter_rows()
    axes.set_xticks(range(len(bins)), [f"{low}+" if high is None else f"{low}–{high}" for low, high in ranges])
    labels += draw_reference(axes, [0.5], "chance")
    label_lines(axes, labels)
