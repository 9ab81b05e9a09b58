"""Running text in a figure, each token with its own background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from repurpose.results.figures.style import INK, printable

LINE = 100
"""Characters in a line of the figure's full width."""


class Shaded(NamedTuple):
    """A token and the colour behind it (None for no colour)."""

    text: str
    color: object


def lay_out(tokens: Sequence[Shaded], line: int = LINE) -> Iterator[tuple[int, int, Shaded]]:
    """Yield (row, column, token); a token that does not fit starts a new line, without its leading space."""
    row = column = 0
    for token in tokens:
        text = printable(token.text)
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
        axes.text(middle, row + 0.72, word, place, family="DejaVu Sans Mono", fontsize=size, color=INK)
