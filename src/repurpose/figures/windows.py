"""Fig. 2: where the vector is read, by window start."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from repurpose.figures.grid import draw_along
from repurpose.figures.style import Context


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw the share by window start and dose."""
    title = f"Keyword share by where the vector is read (windows of {context.window_length} tokens)"
    label = "window start (tokens from the sentence's start)"
    return draw_along(table, "window_start", label, title, context)
