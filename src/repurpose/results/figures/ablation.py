"""Is the direction needed for natural backtracking?"""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from repurpose.results.figures.forest import draw_forest, name_axis, order_rows, with_names
from repurpose.results.figures.style import UNSTEERED, Context, add_title, panels, percent

LABELLED = ("backtracking_share", ("backtracking_low", "backtracking_high"), "sentences labelled backtracking (%)")
AFTER_WRONG = ("after_wrong", ("after_wrong_low", "after_wrong_high"), "wrong steps that are backtracked from (%)")


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw natural backtracking (of wrong steps, where the truth is known) and keywords under ablation."""
    natural = AFTER_WRONG if table["after_wrong"].is_not_null().any() else LABELLED
    cells = with_names(percent(table, ("share", "low", "high", natural[0], *natural[1])))
    names = order_rows(cells)
    figure, (left, right) = panels(2, 0.3 * len(names) + 1.5, sharey=True)
    unsteered = cells.filter(pl.col("direction") == "none")
    for axes, (column, ends, label) in zip(
        (left, right), (natural, ("share", ("low", "high"), context.share_label)), strict=True
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
