"""Confusion matrices: what one annotator calls each sentence that the other labels so."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repurpose.labels.agreement import CATEGORIES
from repurpose.results.figures.style import Context, add_title, panels, printable

DARK = 0.55
"""Shares from which on the number in a cell is white."""


def draw(table: pl.DataFrame, _: Context) -> Figure:
    """Draw one matrix per pair of annotators: rows sum to one, counts in the cells."""
    pairs = table.partition_by("one", "other", maintain_order=True)
    columns = min(len(pairs), 2)
    rows = -(-len(pairs) // columns)
    figure, axes = panels(columns, 4.6 * rows, rows)
    for panel in axes[len(pairs) :]:
        panel.set_visible(False)
    for panel, pair in zip(axes, pairs, strict=False):
        _draw_pair(panel, pair)
    note = "Colour: share of the row; numbers: sentences; “none”: no valid label"
    return add_title(figure, "Do the annotators mean the same?", note)


def _draw_pair(axes: Axes, pair: pl.DataFrame) -> None:
    shape = (len(CATEGORIES), len(CATEGORIES))
    shares = pair["share"].fill_null(0.0).to_numpy().reshape(shape)
    counts = pair["sentences"].to_numpy().reshape(shape)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(counts > 0):
        color = "white" if shares[row, column] > DARK else "black"
        axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=color, fontsize=7)
    names = [name.replace("-", "-\n", 1) for name in CATEGORIES]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    kappa, low, high = (pair[name][0] for name in ("kappa", "kappa_low", "kappa_high"))
    ends = f" ({low:.2f} to {high:.2f})" if low is not None else ""
    title = "Cohen's kappa is not defined" if kappa is None else f"Cohen's kappa {kappa:.2f}{ends}"
    axes.set(ylabel=printable(pair["one"][0]), xlabel=printable(pair["other"][0]), title=title)
