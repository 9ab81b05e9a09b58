"""Fig. B.1: where the vector is read and added, by layer."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from repurpose.results.figures.grid import draw_along
from repurpose.results.figures.style import Context


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw the share by layer and dose."""
    title = "Keyword share by the layer at which the vector is read and added"
    return draw_along(table, "layer", "layer (resid_post, 0-based)", title, context)
