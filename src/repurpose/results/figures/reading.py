"""Figures of what is read on rollouts: examples, projections on tokens, detection of open mistakes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from repurpose.results.figures import style
from repurpose.results.figures.style import READER, UNSTEERED, WIDTH, Context, Label
from repurpose.results.names import NO_CONTROL, why_empty

LINE = 100
"""Characters in a line of the figure's full width."""
SHOWN = 3
COLORS = {"window": style.WINDOW, "start": "#E8684A", "behaviour": style.START}
LINE_INCHES, PROFILE_INCHES = 0.165, 2.3
EXTREME = 2.5
"""Standard deviations at which the shading is full."""
TITLES = {"all": "all tokens before a backtracking", "unhedged": "without hedging sentences"}


class Shaded(NamedTuple):
    """A token and the colour behind it (None for no colour)."""

    text: str
    color: object


def lay_out(tokens: Sequence[Shaded], line: int = LINE) -> Iterator[tuple[int, int, Shaded]]:
    """Yield (row, column, token); a token that does not fit starts a new line, without its leading space."""
    row = column = 0
    for token in tokens:
        text = style.printable(token.text)
        text = text if len(text) <= line else f"{text[: line - 1]}…"
        if column + len(text) > line and column:
            row, column, text = row + 1, 0, text.lstrip(" ")
        yield row, column, Shaded(text, token.color)
        column += len(text)


def count_lines(tokens: Sequence[Shaded]) -> int:
    """Return how many lines the tokens take."""
    return max((row for row, _, _ in lay_out(tokens)), default=0) + 1


def draw_tokens(axes: Axes, tokens: Sequence[Shaded], size: float = 8.2) -> None:
    """Fill the axes with text; they show nothing else."""
    axes.set_xlim(0, LINE)
    axes.set_ylim(count_lines(tokens), 0)
    axes.axis("off")
    for row, column, (text, color) in lay_out(tokens):
        if color is not None:
            axes.add_patch(Rectangle((column, row + 0.06), len(text), 0.9, color=color, linewidth=0))
        word = text.strip(" ")
        start = column + len(text) - len(text.lstrip(" "))
        middle = start + len(word) / 2  # centred, so that a width a little off spreads to both sides
        place = {"ha": "center", "va": "baseline"}
        axes.text(middle, row + 0.72, word, place, family="DejaVu Sans Mono", fontsize=size, color=style.INK)


def draw_rollout(table: pl.DataFrame, context: Context) -> Figure:
    """Fig. 1: some held-out rollouts as text, what is read (green) before the sentences that backtrack (red)."""
    examples = [
        ([Shaded(row["token"] or "", COLORS.get(row["mark"])) for row in group.iter_rows(named=True)], group)
        for group in table.partition_by("example", maintain_order=True)[:SHOWN]
    ]
    lines = [count_lines(tokens) for tokens, _ in examples]
    height = sum(lines) * LINE_INCHES + 0.32 * len(lines) + 0.35
    figure, axes = style.panels(1, height, len(lines), gridspec_kw={"height_ratios": lines})
    for panel, (tokens, group) in zip(axes, examples, strict=True):
        draw_tokens(panel, tokens)
        first = "… " if group["position"][0] else ""
        panel.set_title(f"{first}{group['prompt_id'][0]}", fontsize=8, color="#666666")
    read = f"{context.window_length} tokens are read (green) before a {context.behaviour} sentence (red)"
    note = "Held-out rollouts of the reasoning model; dark red: the sentence's first token"
    return style.add_title(figure, read, note)


def draw_projections(table: pl.DataFrame, context: Context) -> Figure:
    """Fig. 6: one rollout shaded by each reader, and the mean projection around sentence starts."""
    own = table.filter(pl.col("direction") == context.behaviour)
    texts = [_shade(own, reader) for reader in READER]
    lines = [count_lines(text) for text in texts]
    height = sum(lines) * LINE_INCHES + PROFILE_INCHES + 1.2
    figure = Figure(figsize=(WIDTH, height))
    parts = figure.add_gridspec(3, 2, height_ratios=[*(n * LINE_INCHES for n in lines), PROFILE_INCHES])
    for row, (reader, text) in enumerate(zip(READER, texts, strict=True)):
        axes = figure.add_subplot(parts[row, :])
        draw_tokens(axes, text or [Shaded(why_empty("rollout", context.behaviour), None)], size=6.5)
        axes.set_title(f"{reader} model reads (blue: below, red: above average)")
    shared = None
    for column, reader in enumerate(READER):
        shared = figure.add_subplot(parts[2, column], sharey=shared)
        _draw_profile(shared, table.filter(pl.col("reader") == reader), reader, context)
    note = "Held-out rollouts, each reader's own direction; centred, in standard deviations; bands: intervals"
    return style.add_title(figure, f"Projection of tokens on the {context.behaviour} direction", note)


def _shade(table: pl.DataFrame, reader: str) -> list[Shaded]:
    tokens = table.filter(pl.col("part") == "token", pl.col("reader") == reader)
    first = tokens.filter(pl.col("group") == pl.col("group").first()).sort("position")
    shade = colormaps["RdBu_r"]
    values = (first["value"] / EXTREME).clip(-1.0, 1.0)
    return [Shaded(text or "", shade(0.5 + 0.32 * value)) for text, value in zip(first["token"], values, strict=True)]


def _draw_profile(axes: Axes, table: pl.DataFrame, reader: str, context: Context) -> None:
    profile = table.filter(pl.col("part") == "profile")
    axes.axhline(0, color="#CCCCCC", linewidth=0.7, zorder=0)
    axes.axvline(0, color="#888888", linewidth=0.8, zorder=0)
    labels: list[Label] = []
    own = context.behaviour
    groups = [(own, "other", UNSTEERED, "other\nsentences"), (own, "behaviour", READER[reader], own)]
    groups += [(name, "behaviour", color, f"{own}\non {name}") for name, color in context.colors.items()]
    for direction, group, color, text in groups:
        line = profile.filter(direction=direction, group=group).sort("position")
        if line.height:
            style.draw_band(axes, line, "position", "value", color, markersize=2)
            labels.append((line["value"][-1], text, color))
    axes.set(xlabel="token from the sentence's start", ylabel="projection (s.d.)")
    axes.set_title(f"{reader} model, mean at sentence starts")
    style.label_lines(axes, labels)


def draw_detection(table: pl.DataFrame, context: Context) -> Figure:
    """Draw AUROC of the projection for an open mistake by tokens since the last calculation, a panel per choice."""
    overall = (pl.col("since_low") == 0) & pl.col("since_high").is_null()
    figure, axes = style.panels(2, 2.9, sharey=True)
    for panel, (tokens, title) in zip(axes, TITLES.items(), strict=True):
        _draw_bins(panel, table.filter(~overall, pl.col("tokens") == tokens), context)
        panel.set(title=title, xlabel="tokens since the last calculation ended")
    axes[0].set_ylabel("AUROC for an open mistake")
    note = "Held-out rollouts, each reader's own direction; tokens of backtracking sentences left out; bars: intervals"
    note += "; thin: control directions" if table.filter(~pl.col("family").is_in(NO_CONTROL)).height else ""
    return style.add_title(figure, "How well a token's projection tells that a mistake is open", note)


def _draw_bins(axes: Axes, table: pl.DataFrame, context: Context) -> None:
    bins = sorted(table["since_low"].unique())
    labels: list[Label] = []
    own = {context.behaviour: (READER, "")}
    outside = {name: (dict.fromkeys(READER, color), f", {name}") for name, color in context.colors.items()}
    others = table.filter(~pl.col("family").is_in(NO_CONTROL)).drop_nulls("auroc").sort("since_low")
    for line in others.partition_by(["direction", "reader"], maintain_order=True):
        thin = [bins.index(low) for low in line["since_low"]]
        axes.plot(thin, line["auroc"], color=READER[line["reader"][0]], alpha=0.3, linewidth=0.6, zorder=1)
    for direction, (colors, said) in {**own, **outside}.items():
        for shift, (reader, color) in zip((-0.06, 0.06), colors.items(), strict=True):
            line = table.filter(direction=direction, reader=reader).drop_nulls("auroc").sort("since_low")
            places = [bins.index(low) + shift for low in line["since_low"]]
            axes.plot(places, line["auroc"], color=color, marker="o")
            axes.vlines(places, line["low"], line["high"], color=color, linewidth=1.3)
            if line.height:
                labels.append((line["auroc"][-1], f"{reader} model{said}", color))
    ranges = table.unique("since_low").sort("since_low").select("since_low", "since_high").iter_rows()
    axes.set_xticks(range(len(bins)), [f"{low}+" if high is None else f"{low}–{high}" for low, high in ranges])
    style.label_lines(axes, [*labels, *style.draw_reference(axes, [0.5], "chance")])
