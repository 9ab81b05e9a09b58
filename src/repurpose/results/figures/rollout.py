"""Fig. 1: what is read (green) before the sentences that backtrack (red)."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from repurpose.results.figures.style import START, WIDTH, WINDOW, Context, add_title
from repurpose.results.figures.token_text import Shaded, count_lines, draw_tokens

SHOWN = 3
COLORS = {"window": WINDOW, "start": "#E8684A", "behaviour": START}
LINE_INCHES = 0.165


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw some held-out rollouts as text."""
    examples = [
        ([Shaded(row["token"] or "", COLORS.get(row["mark"])) for row in group.iter_rows(named=True)], group)
        for group in table.partition_by("example", maintain_order=True)[:SHOWN]
    ]
    lines = [count_lines(tokens) for tokens, _ in examples]
    height = sum(lines) * LINE_INCHES + 0.32 * len(lines) + 0.35
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.subplots(len(lines), 1, squeeze=False, gridspec_kw={"height_ratios": lines})
    for panel, (tokens, group) in zip(axes.flat, examples, strict=True):
        draw_tokens(panel, tokens)
        first = "… " if group["position"][0] else ""
        panel.set_title(f"{first}{group['prompt_id'][0]}", fontsize=8, fontweight="normal", color="#666666")
    read = f"{context.window_length} tokens are read (green) before a {context.behaviour} sentence (red)"
    add_title(figure, read, "Held-out rollouts of the reasoning model; dark red: the sentence's first token")
    return figure
