"""Running text in a figure, each token with its own background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from repurpose.results.figures.style import INK, printable

MONO = "DejaVu Sans Mono"
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
        text = _shorten(printable(token.text), line)
        if column + len(text) > line and column:
            row, column, text = row + 1, 0, text.lstrip(" ")
        yield row, column, Shaded(text, token.color)
        column += len(text)


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def draw_tokens(axes: Axes, tokens: Sequence[Shaded], size: float = 8.2, line: int = LINE) -> int:
    """Fill the axes with text and return how many lines it took; the axes show nothing else."""
    placed = list(lay_out(tokens, line))
    rows = max((row for row, _, _ in placed), default=0) + 1
    axes.set_xlim(0, line)
    axes.set_ylim(rows, 0)
    axes.axis("off")
    for row, column, token in placed:
        if token.color is not None:
            axes.add_patch(Rectangle((column, row + 0.06), len(token.text), 0.9, color=token.color, linewidth=0))
        word = token.text.strip(" ")
        start = column + len(token.text) - len(token.text.lstrip(" "))
        middle = start + len(word) / 2  # centred, so that a width a little off spreads to both sides
        axes.text(middle, row + 0.72, word, family=MONO, fontsize=size, color=INK, ha="center", va="baseline")
    return rows


def count_lines(tokens: Sequence[Shaded], line: int = LINE) -> int:
    """Return how many lines the tokens take."""
    return max((row for row, _, _ in lay_out(tokens, line)), default=0) + 1
