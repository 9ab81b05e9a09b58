"""Write every table of a study as a small CSV."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from repurpose.data.command import run_step
from repurpose.data.csv_tables import to_csv
from repurpose.data.files import write_text
from repurpose.results.tables import directions, reading, steering
from repurpose.results.tables.data import StudyData, read_study_data
from repurpose.study.catalogue import TABLES

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
    "permutation": directions.make_permutation,
    "selection_stability": steering.make_selection_stability,
    "beside": steering.make_beside,
}
assert set(MAKERS) == set(TABLES)
MANY = ("measurements", "vectors", "rollouts", "labels", "logodds", "projections")
ONE = ("cosines", "permutations", "lens", "selection")
MAYBE = ("others", "steered")


def main() -> None:
    with run_step("results.tables", __doc__, one=ONE, many=MANY, maybe=MAYBE) as step:
        data = read_study_data(step.settings, vars(step.given))
        for name in TABLES:
            write_text(Path(step.given.output) / f"{name}.csv", to_csv(MAKERS[name](data)))


if __name__ == "__main__":
    main()
