"""Stability: how often each cell would have been chosen, had the training prompts been others.

The training prompts are resampled whole, and each time the rule of `selection` chooses anew: the unsteered text, what
is coherent and what is highest are those of the resample.

Shapes: b resamples, p prompts, c cells; weights are (b, p), sums by prompt (p, c), or (p, 1) of the unsteered text.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from repurpose.data.statistics import Array, resample_ratio
from repurpose.steering.coherence import NATS, READ_TOKENS
from repurpose.steering.selection import KEYS, METRICS, candidates
from repurpose.study.settings import Selection

RATIOS: Mapping[str, tuple[pl.Expr, pl.Expr]] = {
    "nll": (NATS, READ_TOKENS),
    "distinct_2": (pl.col("distinct_2"), pl.lit(1.0)),
    "longest_run": (pl.col("longest_run"), pl.lit(1.0)),
    "grammatical": (pl.col("grammatical_sentences"), pl.col("judged_sentences")),
}
"""What coherence is judged by, as sums over sums."""


def count_choices(
    rows: pl.DataFrame, rules: Selection, behaviour: str, window_length: int, weights: Array
) -> pl.DataFrame:
    """Return a row a cell that may be chosen: KEYS, dose, the share of resamples in which it is `coherent`, `chosen`.

    `weights` are those of `statistics.draw_weights` for the rows' prompts in sorted order.
    """
    prompts = sorted(rows["prompt_id"].unique())
    early = candidates(rows, rules, behaviour, window_length).sort("magnitude", *KEYS[:2])
    cells = early.select(*KEYS, "dose").unique(KEYS, maintain_order=True)
    steered, unsteered = (_resample(part, prompts, weights) for part in (early, rows.filter(direction="none")))
    _, above, below = METRICS[rules.metric]
    numerator, denominator = (_sums(early, prompts, pl.col(name)) for name in (above, below))
    value = resample_ratio(numerator, denominator, weights)
    coherent = are_coherent(rules, steered, unsteered) & np.isfinite(value)
    best = np.where(coherent, value, -np.inf).argmax(axis=1)  # of equals the first: the smallest magnitude
    chosen = np.bincount(best[coherent.any(axis=1)], minlength=cells.height) / len(weights)
    return cells.with_columns(coherent=pl.Series(coherent.mean(axis=0)), chosen=pl.Series(chosen))


def are_coherent(
    rules: Selection, steered: Mapping[str, Array], unsteered: Mapping[str, Array]
) -> npt.NDArray[np.bool_]:
    """The rule of `coherence.is_coherent`, for each resample and cell (b, c)."""
    found = steered["nll"] <= unsteered["nll"] + rules.max_nats
    found &= steered["distinct_2"] >= rules.min_distinct_2 * unsteered["distinct_2"]
    found &= steered["longest_run"] <= rules.max_longest_run
    known = np.isfinite(unsteered["grammatical"])
    return found & (~known | (steered["grammatical"] >= rules.min_grammatical * unsteered["grammatical"]))


def _resample(rows: pl.DataFrame, prompts: list[str], weights: Array) -> dict[str, Array]:
    pairs = {name: [_sums(rows, prompts, column) for column in columns] for name, columns in RATIOS.items()}
    return {name: resample_ratio(above, below, weights) for name, (above, below) in pairs.items()}


def _sums(rows: pl.DataFrame, prompts: list[str], column: pl.Expr) -> Array:
    """Sum a column by prompt and cell (p, c); cells in the order of their first rows."""
    keys = rows.select(*KEYS).unique(maintain_order=True).with_row_index("cell")
    placed = rows.select(*KEYS, "prompt_id", value=column.cast(pl.Float64).fill_null(0.0))
    placed = placed.join(keys, on=KEYS, how="left", nulls_equal=True, maintain_order="left")
    found = np.zeros((len(prompts), keys.height))
    numbers = {prompt: number for number, prompt in enumerate(prompts)}
    places = placed["prompt_id"].replace_strict(numbers, return_dtype=pl.Int64).to_numpy()
    np.add.at(found, (places, placed["cell"].to_numpy()), placed["value"].to_numpy())
    return found
