"""Tables of the directions themselves: cosines, logit lens, and what they do to the base model's log-odds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from scipy.special import betaincinv

from repurpose.statistics import Array, Estimate, estimate_difference, estimate_ratio
from repurpose.summaries.cells import Resampling, conform, is_near, split_cells, spread
from repurpose.summaries.data import StudyData, at_selected_site
from repurpose.summaries.steering import family_of, with_family

COSINE_COLUMNS: dict[str, Any] = {
    "name": pl.String,
    "kind": pl.String,
    "family": pl.String,
    "positives": pl.Int64,
    "cosine": pl.Float64,
    "split_half_base": pl.Float64,
    "split_half_base_low": pl.Float64,
    "split_half_base_high": pl.Float64,
    "split_half_reasoning": pl.Float64,
    "split_half_reasoning_low": pl.Float64,
    "split_half_reasoning_high": pl.Float64,
    "ceiling": pl.Float64,
    "ceiling_low": pl.Float64,
    "ceiling_high": pl.Float64,
    "corrected": pl.Float64,
    "corrected_low": pl.Float64,
    "corrected_high": pl.Float64,
    "random_high": pl.Float64,
    "cosine_with_behaviour": pl.Float64,
    "norm_base": pl.Float64,
    "norm_reasoning": pl.Float64,
    "dimensions": pl.Int64,
}
LENS_COLUMNS: dict[str, Any] = {
    "direction": pl.String,
    "reader": pl.String,
    "unembedding": pl.String,
    "layer": pl.Int64,
    "word": pl.String,
    "score": pl.Float64,
    "rank": pl.Float64,
    "other_score_low": pl.Float64,
    "other_score_high": pl.Float64,
    "other_rank_low": pl.Float64,
    "other_rank_high": pl.Float64,
    "selected": pl.Boolean,
}
BASE_ZERO_COLUMNS: dict[str, Any] = {
    "target": pl.String,
    "context": pl.String,
    "direction": pl.String,
    "family": pl.String,
    "reader": pl.String,
    "multiple": pl.Float64,
    "magnitude": pl.Float64,
    "dose": pl.Float64,
    "selected": pl.Boolean,
    "prompts": pl.Int64,
    "positions": pl.Int64,
    "log_odds": pl.Float64,
    "change": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "more_than_base": pl.Float64,
    "more_than_base_low": pl.Float64,
    "more_than_base_high": pl.Float64,
}


def unpack(vector: bytes) -> Array:
    """Return a stored vector as float64 (d)."""
    return np.frombuffer(vector, dtype=np.float32).astype(np.float64)


def cosine(one: Array, other: Array) -> float:
    """Return the cosine of two vectors; NaN where one has no length."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else math.nan


def full_reliability(split_half: float | None) -> float:
    """Return the cosine expected of two vectors of ALL data, from that of two halves (Spearman-Brown)."""
    if split_half is None or not 0 < split_half <= 1:
        return math.nan
    return 2 * split_half / (1 + split_half)


def random_level(dimensions: int) -> float:
    """Return the 97.5 % point of the cosine of two random directions in d dimensions (its square is Beta)."""
    if dimensions < 2:
        return 1.0
    return math.sqrt(float(betaincinv(0.5, (dimensions - 1) / 2, 0.95)))


def make_cosines(data: StudyData) -> pl.DataFrame:
    """Base-against-reasoning cosine of every vector at the selected site, beside its split-half ceiling.

    `ceiling` is what two readers with the SAME true direction would show given the noise of each (the
    geometric mean of their reliabilities); `corrected` is the cosine over it, its range that of the halves.
    """
    here = at_selected_site(data.vectors, data.selection).unique(["name", "reader"], maintain_order=True)
    by_name = {
        name: {row["reader"]: row for row in group.iter_rows(named=True)}
        for (name,), group in here.filter(pl.col("kind") != "none").group_by(["name"], maintain_order=True)
    }
    reference = by_name.get(data.behaviour, {}).get("base")
    pairs = [pair for name, pair in by_name.items() if not name.startswith("random-") and len(pair) == 2]
    found = [_compare_readers(pair["base"], pair["reasoning"], reference, data.behaviour) for pair in pairs]
    return pl.DataFrame(found, schema=COSINE_COLUMNS)


def _compare_readers(
    base: dict[str, Any], reasoning: dict[str, Any], reference: dict[str, Any] | None, behaviour: str
) -> dict[str, Any]:
    one, other = unpack(base["vector"]), unpack(reasoning["vector"])
    value = cosine(one, other)
    ceiling, low, high = (_ceiling(base, reasoning, column) for column in ("cosine", "low", "high"))
    halves = {
        f"split_half_{reader}{end}": row[f"split_half_{column}"]
        for reader, row in (("base", base), ("reasoning", reasoning))
        for end, column in (("", "cosine"), ("_low", "low"), ("_high", "high"))
    }
    row = {
        **{name: base[name] for name in ("name", "kind", "positives")},
        **halves,
        "family": family_of(base["name"], behaviour),
        "cosine": value,
        "ceiling": ceiling,
        "ceiling_low": low,
        "ceiling_high": high,
        "corrected": _at_most_one(value / ceiling),
        "corrected_low": _at_most_one(value / high),
        "corrected_high": _at_most_one(value / low),
        "random_high": random_level(len(one)),
        "cosine_with_behaviour": cosine(one, unpack(reference["vector"])) if reference else None,
        "norm_base": base["norm"],
        "norm_reasoning": reasoning["norm"],
        "dimensions": len(one),
    }
    return {key: _null_if_undefined(cell) for key, cell in row.items()}


def _ceiling(base: dict[str, Any], reasoning: dict[str, Any], column: str) -> float:
    name = f"split_half_{column}"
    return math.sqrt(full_reliability(base[name]) * full_reliability(reasoning[name]))


def _at_most_one(value: float) -> float:
    return min(1.0, value) if math.isfinite(value) else math.nan


def _null_if_undefined(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def make_lens(data: StudyData) -> pl.DataFrame:
    """Fig. 5: logit lens of the behaviour's directions by layer, beside the range of all other directions.

    The ten best tokens (`top:<token>`) are kept at the selected layer only.
    """
    here = data.lens.filter(pl.col("window_start") == data.selection["window_start"])
    selected, top = pl.col("layer") == data.selection["layer"], pl.col("word").str.starts_with("top:")
    kept = here.filter(pl.col("direction") == data.behaviour, selected | ~top)
    others = _range_of_others(here.filter(~top, pl.col("direction") != data.behaviour))
    joined = kept.join(others, on=["unembedding", "layer", "word"], how="left")
    table = conform(joined.with_columns(selected=selected), LENS_COLUMNS)
    word = pl.when(top).then(pl.lit("top")).otherwise("word")
    order = ["unembedding", "reader", word, "layer", "score"]
    return table.sort(order, descending=[False] * 4 + [True], maintain_order=True)


def _range_of_others(lens: pl.DataFrame) -> pl.DataFrame:
    """Return the lowest and highest value of the other labels' and controls' directions, of both readers."""
    columns = ("score", "rank")
    return lens.group_by(["unembedding", "layer", "word"]).agg(
        *(pl.col(column).min().alias(f"other_{column}_low") for column in columns),
        *(pl.col(column).max().alias(f"other_{column}_high") for column in columns),
    )


def make_base_zero(data: StudyData) -> pl.DataFrame:
    """The base model's zero, deconfounded: change of log-odds on the same prefixes, by target and direction.

    `more_than_base` is a reasoning-target row's change minus that of the base target on the same prefixes.
    """
    rows = data.logodds.filter(pl.col("direction") != "none")
    if rows.is_empty():
        return pl.DataFrame(schema=BASE_ZERO_COLUMNS)
    found: list[dict[str, Any]] = []
    for context in split_cells(rows, ["context"]):
        resampling = data.resampling(context)
        found += [
            _describe_change(cell, context, resampling)
            for cell in split_cells(context, ["target", "direction", "reader", "multiple"])
        ]
    table = with_family(pl.DataFrame(found, infer_schema_length=None), data.behaviour)
    return conform(table.with_columns(selected=is_near(data.selection["magnitude"])), BASE_ZERO_COLUMNS)


def _weighed(cell: pl.DataFrame, column: str, resampling: Resampling) -> tuple[Array, Array]:
    """Return the sum of a per-prompt mean times its positions, and the positions, by prompt."""
    total = cell.with_columns(total=pl.col(column) * pl.col("positions"))
    return resampling.sums(total, "total"), resampling.sums(cell, "positions")


def _describe_change(cell: pl.DataFrame, context: pl.DataFrame, resampling: Resampling) -> dict[str, Any]:
    keys = {name: cell[name][0] for name in ("target", "context", "direction", "reader", "multiple")}
    change = _weighed(cell, "change", resampling)
    numerator, positions = _weighed(cell, "log_odds", resampling)
    return {
        **keys,
        **{name: cell[name].mean() for name in ("magnitude", "dose")},
        "prompts": cell["prompt_id"].n_unique(),
        "positions": int(positions.sum()),
        "log_odds": float(numerator.sum() / positions.sum()),
        **spread("change", "", estimate_ratio(*change, resampling.weights, resampling.level)),
        **spread("more_than_base", "more_than_base_", _more_than_base(keys, change, context, resampling)),
    }


def _more_than_base(
    keys: dict[str, Any], change: tuple[Array, Array], context: pl.DataFrame, resampling: Resampling
) -> Estimate:
    same = [pl.col(name) == keys[name] for name in ("direction", "reader", "multiple")]
    base = context.filter(pl.col("target") == "base", *same)
    if keys["target"] != "reasoning" or base.is_empty():
        return Estimate(math.nan, math.nan, math.nan)
    other = _weighed(base, "change", resampling)
    return estimate_difference(change, other, resampling.weights, resampling.level)
