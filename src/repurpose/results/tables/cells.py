"""Cells: the rows of one condition, summed by prompt, with their estimates; nothing of figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from repurpose.data.statistics import (
    Array,
    Estimate,
    estimate_difference,
    estimate_interaction,
    estimate_ratio,
    estimate_share,
    spread,
)
from repurpose.steering.coherence import NATS, READ_TOKENS, is_coherent
from repurpose.study.settings import Selection

CONDITION = ("target", "direction", "kind", "reader", "layer", "window_start", "operation", "multiple")
"""What tells one cell of a sweep from another; magnitude and dose follow from it."""

BACKTRACKED = pl.col("wrong_calculations_backtracked").is_not_null()
"""Somebody says which sentences of the row backtrack."""
RATIOS: Mapping[str, tuple[str | pl.Expr, str | pl.Expr]] = {
    "share": ("keyword_words", "words"),
    "backtracking_share": ("backtracking_sentences", "sentences"),
    "valid_backtracking": ("valid_backtracking_sentences", "judged_sentences"),
    "after_wrong": ("wrong_calculations_backtracked", pl.when(BACKTRACKED).then("wrong_calculations")),
    "after_right": ("right_calculations_backtracked", pl.when(BACKTRACKED).then("right_calculations")),
    "keyword_precision": ("keyword_backtracking_sentences", "keyword_sentences"),
    "keyword_recall": ("keyword_backtracking_sentences", "backtracking_sentences"),
    "grammatical": ("grammatical_sentences", "judged_sentences"),
    "nll": (NATS, READ_TOKENS),
}
"""Metrics that are sums over sums: shares of counts, and nats per token."""

MEANS = ("distinct_2", "longest_run", "compression_ratio", "length", "finished", "correct")
"""Metrics that are means over the rows where they are defined."""

STEMS: Mapping[str, str] = {
    "share": "",
    "backtracking_share": "backtracking_",
    "after_wrong": "after_wrong_",
    "after_right": "after_right_",
    "valid_backtracking": "valid_backtracking_",
    "grammatical": "grammatical_",
    "nll": "nll_",
}
"""Metrics that an effects table gives with an interval and a change, and how the columns of those begin."""

COUNTS = ("events", "trials")
"""What such a metric is counted from: keywords of words, labelled ones of sentences, and so on."""

EFFECT_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("target", "direction", "kind", "reader"), pl.String),
    **dict.fromkeys(("layer", "window_start"), pl.Int64),
    "operation": pl.String,
    **dict.fromkeys(("multiple", "magnitude", "dose"), pl.Float64),
    **dict.fromkeys(("selected", "coherent"), pl.Boolean),
    **dict.fromkeys(("prompts", "rows"), pl.Int64),
    **{
        column: pl.Float64
        for metric, stem in STEMS.items()
        for column in (metric, *(f"{stem}{end}" for end in ("low", "high", "change", "change_low", "change_high")))
    },
    **{f"{stem}{count}": pl.Int64 for stem in STEMS.values() for count in COUNTS},
    **dict.fromkeys(MEANS, pl.Float64),
    **dict.fromkeys(("wrong_calculations", "right_calculations"), pl.Int64),
    "annotator": pl.String,
    "kappa": pl.Float64,
}
"""An effects table: the keyword share with its interval, its change from unsteered, coherence beside it.
`after_wrong` and `after_right`: share of wrong and of right calculations that are backtracked from, where known;
`valid_backtracking` and `grammatical`: of sentences that the embedded pair's grammar produces as backtracking, and at
all; `nll`: nats per token under the unsteered target. `annotator` labelled the sentences of
`backtracking_share` and, but for the embedded pair, says what backtracks from calculations; `kappa` is how far it
agrees with the study's own on the behaviour in natural text, where it is another one."""


@dataclass(frozen=True)
class Resampling:
    """Prompts in a fixed order and how often each occurs in every resample."""

    prompts: tuple[str, ...]
    weights: Array
    level: float

    def sums(self, rows: pl.DataFrame, column: str | pl.Expr) -> Array:
        """Sum a column by prompt, or count where it is true; nulls count nothing."""
        values = rows.select(column).to_series().cast(pl.Float64).fill_null(0.0).to_numpy()
        return np.bincount(self.numbers(rows), values, len(self.prompts)).astype(np.float64)

    def numbers(self, rows: pl.DataFrame) -> npt.NDArray[np.int64]:
        """Return the number of each row's prompt."""
        numbers = {prompt: number for number, prompt in enumerate(self.prompts)}
        return rows["prompt_id"].replace_strict(numbers, return_dtype=pl.Int64).to_numpy()

    def ratio(self, numerator: Array, denominator: Array) -> Estimate:
        """Estimate a ratio of sums by prompt."""
        return estimate_ratio(numerator, denominator, self.weights, self.level)

    def share(self, events: Array, trials: Array) -> Estimate:
        """Estimate a share of counts by prompt."""
        return estimate_share(events, trials, self.weights, self.level)

    def difference(self, one: tuple[Array, Array], other: tuple[Array, Array]) -> Estimate:
        """Estimate the difference of two ratios of sums by prompt, paired."""
        return estimate_difference(one, other, self.weights, self.level)

    def interaction(self, *ratios: tuple[Array, Array]) -> Estimate:
        """Estimate (first - second) - (third - fourth) of four ratios of sums by prompt, paired."""
        return estimate_interaction(ratios, self.weights, self.level)


def split_cells(rows: pl.DataFrame, keys: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield the rows of each cell, cells in the order of their keys."""
    yield from rows.sort(keys, maintain_order=True).partition_by(keys, maintain_order=True)


def parts(cell: pl.DataFrame, metric: str, resampling: Resampling) -> tuple[Array, Array]:
    """Return a metric's numerator and denominator by prompt."""
    numerator, denominator = RATIOS.get(metric, (metric, pl.col(metric).is_not_null()))
    return resampling.sums(cell, numerator), resampling.sums(cell, denominator)


def estimate_metric(cell: pl.DataFrame, metric: str, resampling: Resampling) -> Estimate:
    """Estimate one metric of a cell."""
    estimate = resampling.share if metric in RATIOS and metric != "nll" else resampling.ratio
    return estimate(*parts(cell, metric, resampling))


def estimate_change(one: pl.DataFrame, other: pl.DataFrame, metric: str, resampling: Resampling) -> Estimate:
    """Estimate how much more one cell has of a metric than the other, paired by prompt."""
    return resampling.difference(parts(one, metric, resampling), parts(other, metric, resampling))


def describe_effect(cell: pl.DataFrame, unsteered: pl.DataFrame, resampling: Resampling) -> dict[str, Any]:
    """Return one row of an effects table, without `selected`, `coherent` and `kappa`."""
    row: dict[str, Any] = {name: cell[name][0] for name in CONDITION}
    row |= {name: cell[name].mean() for name in ("magnitude", "dose", *MEANS)}
    row |= {"prompts": cell["prompt_id"].n_unique(), "rows": cell.height, "annotator": cell["annotator"][0]}
    row |= {name: int(cell[name].sum()) for name in ("wrong_calculations", "right_calculations")}
    for metric, stem in STEMS.items():
        row |= spread(metric, estimate_metric(cell, metric, resampling), stem)
        row |= spread(f"{stem}change", estimate_change(cell, unsteered, metric, resampling))
        counted = zip(COUNTS, parts(cell, metric, resampling), strict=True)
        row |= {f"{stem}{name}": int(counts.sum()) for name, counts in counted}
    return row


def summarise_effects(
    rows: pl.DataFrame, resampling: Resampling, rules: Selection, magnitude: float, kappas: Mapping[str, float | None]
) -> pl.DataFrame:
    """The effects table of a sweep's rows, one row a cell; the selected `magnitude`, or the nearest, is marked.

    `kappas`: how far each annotator but the study's own agrees with that.
    """
    tables = [pl.DataFrame(schema=EFFECT_COLUMNS)]
    for target in split_cells(rows, ["target"]):
        unsteered = target.filter(pl.col("direction") == "none")
        found = [describe_effect(cell, unsteered, resampling) for cell in split_cells(target, CONDITION)]
        table = pl.DataFrame(found, schema=EFFECT_COLUMNS)
        reference = table.filter(direction="none").to_dicts()
        steered = table.filter(pl.col("magnitude") > 0)["magnitude"]
        nearest = min(steered, key=lambda value: abs(value - magnitude), default=magnitude)
        coherent = is_coherent(rules, reference[0]) if reference else pl.lit(False)
        kappa = pl.col("annotator").replace_strict(kappas, default=None, return_dtype=pl.Float64)
        tables.append(table.with_columns(coherent=coherent, selected=is_near(nearest), kappa=kappa))
    return pl.concat(tables)


def is_near(magnitude: float) -> pl.Expr:
    """Expression: the magnitude is this one, rounding apart; false where there is none."""
    distance: pl.Expr = (pl.col("magnitude") - magnitude).abs()
    return (distance < 1e-6 * max(1.0, abs(magnitude))).fill_null(False)


def conform(table: pl.DataFrame, columns: dict[str, Any]) -> pl.DataFrame:
    """Return the columns of a table in their order and types."""
    return table.select(list(columns)).cast(pl.Schema(columns))
