"""What the tables are computed from: the study's files and settings in one place."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from repurpose.data.files import TableError, read_table
from repurpose.data.schemas import LABELS, STEERED_LABELS
from repurpose.data.selected import Selected, read_selected
from repurpose.data.statistics import defined, draw_weights
from repurpose.labels.agreement import estimate_agreement
from repurpose.labels.compare_annotators import pair_labels
from repurpose.results.tables.cells import Resampling
from repurpose.study.settings import StepSettings


@dataclass(frozen=True)
class StudyData:
    """Every input of the tables; frames have the schemas of `repurpose.data.schemas`."""

    settings: StepSettings
    selection: Selected
    measurements: pl.DataFrame
    vectors: pl.DataFrame
    cosines: pl.DataFrame
    permutations: pl.DataFrame
    rollouts: pl.DataFrame
    sentences: pl.DataFrame
    logodds: pl.DataFrame
    lens: pl.DataFrame
    projections: pl.DataFrame
    """On the behaviour's direction at the selected layer, and on those from outside at their own."""
    others: pl.DataFrame
    """Labels by the other annotators."""
    steered: pl.DataFrame
    """Labels of some steered rollouts, by annotators that the sweep is not measured by."""

    @property
    def behaviour(self) -> str:
        """The study's own behaviour."""
        return str(self.settings.vectors.behaviour)

    @property
    def outside(self) -> list[str]:
        """Names of the vectors from outside."""
        return list(self.settings.vectors.outside)

    @cached_property
    def kappas(self) -> dict[str, float | None]:
        """How far each other annotator of all sentences agrees with the study's own on the behaviour, by name."""
        others = self.others.partition_by("annotator", maintain_order=True)
        return {table["annotator"][0]: self._kappa(table) for table in others}

    def _kappa(self, other: pl.DataFrame) -> float | None:
        both = pair_labels(self.sentences, other)
        weights = np.ones((1, both["prompt_id"].n_unique()))
        one, other_, prompts = (both[name].to_list() for name in ("label", "label_other", "prompt_id"))
        found = estimate_agreement(one, other_, prompts, weights, self.settings.statistics.level)
        return defined(found.by_label[self.behaviour].value)

    def sweep_rows(self, name: str) -> pl.DataFrame:
        """Return the measurements of one sweep; none where the study has no such sweep."""
        return self.measurements.filter(pl.col("sweep") == name)

    def resampling(self, rows: pl.DataFrame) -> Resampling:
        """Return the resampling of the prompts in some rows."""
        prompts, statistics = tuple(sorted(rows["prompt_id"].unique())), self.settings.statistics
        weights = draw_weights(len(prompts), statistics.bootstrap, self.settings.seed)
        return Resampling(prompts, weights, statistics.level)


def read_study_data(settings: StepSettings, paths: dict[str, Any]) -> StudyData:
    """Read every input, by its field of StudyData; a TableError where vectors or cosines lack the selection's site."""
    selection = read_selected(paths["selection"])
    empty = {name: schema.empty_table() for name, schema in (("others", LABELS), ("steered", STEERED_LABELS))}
    maybe = {name: read_table(paths[name]) if paths.get(name) else pl.DataFrame(empty[name]) for name in empty}
    data = StudyData(
        settings,
        selection,
        measurements=read_table(paths["measurements"]).with_columns(pl.col("reader").fill_null("")),
        vectors=read_table(paths["vectors"]),
        cosines=read_table(paths["cosines"]),
        permutations=read_table(paths["permutations"]),
        rollouts=read_table(paths["rollouts"], ["prompt_id", "sample", "split", "category"]),
        sentences=read_table(paths["labels"]),
        logodds=read_table(paths["logodds"]).with_columns(pl.col("reader").fill_null("")),
        lens=read_table(paths["lens"]),
        projections=read_table(paths["projections"]).filter(
            (pl.col("layer") == selection.layer) | (pl.col("direction") != settings.vectors.behaviour)
        ),
        **maybe,
    )
    for name, table in (("vector", data.vectors), ("cosine", data.cosines)):
        if at_selected_site(table, selection).is_empty():
            where = f"the selected layer {selection.layer} and window {selection.window_start}"
            raise TableError(f"no {name} at {where}")
    return data


def at_selected_site(table: pl.DataFrame, selection: Selected) -> pl.DataFrame:
    """Keep the rows at the selected layer and window."""
    return table.filter(pl.col("layer") == selection.layer, pl.col("window_start") == selection.window_start)
