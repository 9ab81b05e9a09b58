"""Fig. 6: the projection on tokens, and around the starts of sentences."""

from __future__ import annotations

import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures.style import READER, UNSTEERED, WIDTH, Context, Label, add_title, draw_band, label_lines
from repurpose.results.figures.token_text import Shaded, count_lines, draw_tokens

EXTREME = 2.5
"""Standard deviations at which the shading is full."""
LINE_INCHES = 0.165
PROFILE_INCHES = 2.3


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw one rollout shaded by each reader, and the mean projection around sentence starts."""
    texts = [_shade(table, reader) for reader in READER]
    lines = [count_lines(text) for text in texts]
    height = sum(lines) * LINE_INCHES + PROFILE_INCHES + 1.2
    figure = Figure(figsize=(WIDTH, height))
    parts = figure.add_gridspec(3, 2, height_ratios=[*(n * LINE_INCHES for n in lines), PROFILE_INCHES])
    for row, (reader, text) in enumerate(zip(READER, texts, strict=True)):
        axes = figure.add_subplot(parts[row, :])
        draw_tokens(axes, text, size=6.5)
        axes.set_title(f"{reader} model reads (blue: below, red: above average)", fontweight="normal")
    shared = None
    for column, reader in enumerate(READER):
        shared = figure.add_subplot(parts[2, column], sharey=shared)
        _draw_profile(shared, table.filter(pl.col("reader") == reader), reader, context)
    note = "Held-out rollouts, each reader's own direction; centred, in standard deviations; bands: intervals"
    add_title(figure, f"Projection of tokens on the {context.behaviour} direction", note)
    return figure


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
    groups = (("other", UNSTEERED, "other\nsentences"), ("behaviour", READER[reader], context.behaviour))
    for group, color, text in groups:
        line = profile.filter(pl.col("group") == group).sort("position")
        if line.height:
            draw_band(axes, line, "position", "value", ("low", "high"), color, markersize=2)
            labels.append((line["value"][-1], text, color))
    axes.set_xlabel("token from the sentence's start")
    axes.set_ylabel("projection (s.d.)")
    axes.set_title(f"{reader} model, mean around sentence starts", fontweight="normal")
    label_lines(axes, labels)
