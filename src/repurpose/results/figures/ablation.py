"""Is the direction needed for natural backtracking?"""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from repurpose.results.figures import style
from repurpose.results.figures.forest import draw_forest, name_axis, order_rows, with_names
from repurpose.results.figures.style import Context

LABELLED = ("backtracking_share", "backtracking_low", "backtracking_high"), "sentences labelled backtracking (%)"
AFTER_WRONG = ("after_wrong", "after_wrong_low", "after_wrong_high"), "wrong calculations that are backtracked from (%)"


def draw(table: pl.DataFrame, context: Context) -> Figure:
    """Draw natural backtracking (of wrong calculations, where the truth is known) and keywords under ablation."""
    natural = AFTER_WRONG if table["after_wrong"].is_not_null().any() else LABELLED
    cells = with_names(style.percent(table, ("share", "low", "high", *natural[0])))
    names = order_rows(cells)
    figure, axes = style.panels(2, 0.3 * len(names) + 1.5, sharey=True)
    unsteered = cells.filter(style.UNSTEERED_ROW)
    both = (natural, (("share", "low", "high"), context.share_label))
    for panel, (measure, label) in zip(axes, both, strict=True):
        draw_forest(panel, cells, names, measure)
        if unsteered.height:
            panel.axvline(
                unsteered[measure[0]][0], color=style.UNSTEERED, linestyle=style.DASHED, linewidth=1, zorder=0
            )
        panel.set_xlim(left=0)
        panel.set_xlabel(label)
    name_axis(axes[0], names)
    note = "Reasoning model, held-out prompts; bars: intervals; dashed: unsteered"
    style.add_title(figure, "Natural backtracking with a direction removed at every position", note)
    return figure
