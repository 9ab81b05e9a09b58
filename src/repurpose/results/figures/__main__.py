"""Draw one figure from its table, as SVG and PNG."""

from collections.abc import Callable

import polars as pl
from matplotlib.figure import Figure

from repurpose.data.command import run_step
from repurpose.data.csv_tables import read_csv
from repurpose.results.figures import confusion, directions, reading, steering
from repurpose.results.figures.style import Context, empty_figure, save_figure
from repurpose.results.names import why_empty
from repurpose.study.catalogue import AGREEMENT_FIGURES, FIGURES
from repurpose.study.settings import SettingsError

DRAW: dict[str, Callable[[pl.DataFrame, Context], Figure]] = {
    "rollout": reading.draw_rollout,
    "windows": steering.draw_windows,
    "2x2": steering.draw_two_by_two,
    "baselines": steering.draw_baselines,
    "lens": directions.draw_lens,
    "projections": reading.draw_projections,
    "layers": steering.draw_layers,
    "cosines": directions.draw_cosines,
    "ablation": steering.draw_ablation,
    "log_odds": directions.draw_log_odds,
    "coherence": steering.draw_coherence,
    "detection": reading.draw_detection,
    "confusion": confusion.draw,
}
assert set(DRAW) == {*FIGURES, *AGREEMENT_FIGURES}


def draw_figure(name: str, table: pl.DataFrame, context: Context) -> Figure:
    """Draw a figure; an empty table gives one that says why, a name that is no figure a SettingsError."""
    if name not in DRAW:
        raise SettingsError(f"figure: {name!r} is not allowed; choose from {', '.join(DRAW)}")
    if table.is_empty():
        return empty_figure(f"“{name}”: {why_empty(name, context.behaviour)}")
    return DRAW[name](table, context)


def main() -> None:
    with run_step("results.figures", __doc__, one=["table"], outputs=True) as step:
        settings = step.settings
        vectors, length = settings.vectors, settings.activations.window_length
        context = Context(settings.keywords, vectors.behaviour, length, tuple(vectors.outside))
        save_figure(draw_figure(settings.figure, read_csv(step.given.table), context), *step.given.output)


if __name__ == "__main__":
    main()
