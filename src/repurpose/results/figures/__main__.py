"""Draw one figure from its table, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from matplotlib.figure import Figure

from repurpose.data.command import read_arguments
from repurpose.data.csv_tables import read_csv
from repurpose.results.figures import (
    ablation,
    baselines,
    coherence,
    confusion,
    cosines,
    detection,
    grid,
    lens,
    log_odds,
    projections,
    rollout,
    two_by_two,
)
from repurpose.results.figures.style import Context, empty_figure, save_figure
from repurpose.study.catalogue import AGREEMENT_FIGURES, FIGURES
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import SettingsError, StepSettings

DRAW: dict[str, Callable[[pl.DataFrame, Context], Figure]] = {
    "rollout": rollout.draw,
    "windows": grid.draw_windows,
    "2x2": two_by_two.draw,
    "baselines": baselines.draw,
    "lens": lens.draw,
    "projections": projections.draw,
    "layers": grid.draw_layers,
    "cosines": cosines.draw,
    "ablation": ablation.draw,
    "log_odds": log_odds.draw,
    "coherence": coherence.draw,
    "detection": detection.draw,
    "confusion": confusion.draw,
}
assert set(DRAW) == {*FIGURES, *AGREEMENT_FIGURES}


def draw_figure(name: str, table: pl.DataFrame, context: Context) -> Figure:
    """Draw a figure; an empty table gives a figure that says so.

    Raises:
        SettingsError: for a name that is no figure.
    """
    if name not in DRAW:
        raise SettingsError(f"figure: {name!r} is not allowed; choose from {', '.join(DRAW)}")
    if table.is_empty():
        return empty_figure(f"“{name}” was not measured in this study.")
    return DRAW[name](table, context)


def main() -> None:
    arguments = read_arguments(__doc__ or "", one=["table"], outputs=True)
    with one_line_errors("results.figures"):
        settings = StepSettings("results.figures", arguments.settings)
        context = Context(settings.keywords, settings.vectors.behaviour, settings.activations.window_length)
        figure = draw_figure(settings.figure, read_csv(arguments.table), context)
        save_figure(figure, *arguments.output)


if __name__ == "__main__":
    main()
