"""Write every table of a study as a small CSV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from repurpose.data.command import read_arguments
from repurpose.data.csv_tables import to_csv
from repurpose.data.files import write_text
from repurpose.results.tables import directions, reading, steering
from repurpose.results.tables.data import StudyData, read_study_data
from repurpose.study.catalogue import TABLES
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import StepSettings

MAKERS: dict[str, Callable[[StudyData], pl.DataFrame]] = {
    "rollout": reading.make_rollout,
    "windows": steering.make_windows,
    "2x2": steering.make_two_by_two,
    "baselines": steering.make_baselines,
    "lens": directions.make_lens,
    "projections": reading.make_projections,
    "layers": steering.make_layers,
    "cosines": directions.make_cosines,
    "ablation": steering.make_ablation,
    "log_odds": directions.make_log_odds,
    "coherence": steering.make_coherence,
    "detection": reading.make_detection,
    "keyword_rule": steering.make_keyword_rule,
}
assert set(MAKERS) == set(TABLES)
MANY = ("measurements", "vectors", "rollouts", "labels", "logodds", "projections")
ONE = ("cosines", "lens", "selection")
MAYBE = ("others", "steered")


def main() -> None:
    arguments = read_arguments(__doc__ or "", one=ONE, many=MANY, maybe=MAYBE)
    with one_line_errors("results.tables"):
        settings = StepSettings("results.tables", arguments.settings)
        data = read_study_data(settings, vars(arguments))
        for name in TABLES:
            write_text(Path(arguments.output) / f"{name}.csv", to_csv(MAKERS[name](data)))


if __name__ == "__main__":
    main()
