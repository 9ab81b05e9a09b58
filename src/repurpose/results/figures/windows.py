"""Fig. 2: where the vector is read, by window start."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.results.figures.grid import draw_along
from repurpose.results.figures.style import UNSTEERED, Context


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw the share by window start and dose."""
    title = f"Keyword share by where the vector is read (windows of {context.window_length} tokens)"
    label = "window start (tokens from the sentence's start)"
    return draw_along(table, "window_start", label, title, context, lambda axes: _mark_inside(axes, context))


def _mark_inside(axes: Axes, context: Context) -> None:
    """Shade the windows that reach into the sentence itself."""
    first = 0.5 - context.window_length
    right = axes.get_xlim()[1]
    if right <= first:
        return
    axes.axvspan(first, right, color="#EEEEEE", zorder=0)
    axes.set_xlim(right=right)
    place, offset = (first, 1.0), (2, -2)
    axes.annotate(
        "reads into\nthe sentence",
        place,
        xycoords=("data", "axes fraction"),
        xytext=offset,
        textcoords="offset points",
        va="top",
        fontsize=7,
        color=UNSTEERED,
    )
