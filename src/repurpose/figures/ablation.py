"""Is the direction needed for natural backtracking?"""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from repurpose.figures.forest import draw_forest, name_axis, order_rows, with_names
from repurpose.figures.style import UNSTEERED, Context, add_title, panels, percent

LABELLED = "sentences labelled backtracking (%)"


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw backtracking sentences and keywords under ablation."""
    columns = ("share", "low", "high", "backtracking_share", "backtracking_low", "backtracking_high")
    cells = with_names(percent(table, columns))
    names = order_rows(cells)
    figure, (left, right) = panels(2, 0.3 * len(names) + 1.5, sharey=True)
    unsteered = cells.filter(pl.col("direction") == "none")
    for axes, column, ends, label in (
        (
            left,
            "backtracking_share",
            ("backtracking_low", "backtracking_high"),
            LABELLED,
        ),
        (right, "share", ("low", "high"), context.share_label),
    ):
        draw_forest(axes, cells, names, column, ends)
        if unsteered.height:
            axes.axvline(unsteered[column][0], color=UNSTEERED, linestyle=(0, (4, 3)), linewidth=1, zorder=0)
        axes.set_xlim(left=0)
        axes.set_xlabel(label)
    name_axis(left, names)
    note = "Reasoning model, held-out prompts; bars: intervals; dashed: unsteered"
    add_title(figure, "Natural backtracking with a direction removed at every position", note)
    return figure
