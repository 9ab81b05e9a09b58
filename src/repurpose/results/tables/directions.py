"""Tables of the directions themselves: cosines, logit lens, and what they do to the base model's log-odds."""

import math
from typing import Any

import numpy as np
import polars as pl
from scipy.special import betaincinv

from repurpose.data.statistics import UNDEFINED, Array, spread
from repurpose.results.names import bounded
from repurpose.results.tables.cells import Resampling, conform, is_near, split_cells
from repurpose.results.tables.data import StudyData, at_selected_site
from repurpose.results.tables.steering import with_family

COSINE_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("name", "kind", "family"), pl.String),
    **dict.fromkeys(("positives", "prompts"), pl.Int64),
    **dict.fromkeys(("cosine", *bounded("cross_half")), pl.Float64),
    **dict.fromkeys(("reliability_base", "reliability_base_low"), pl.Float64),
    **dict.fromkeys(("reliability_reasoning", "reliability_reasoning_low"), pl.Float64),
    **dict.fromkeys((*bounded("disattenuated"), "random_high", "cosine_with_behaviour"), pl.Float64),
    **dict.fromkeys(("norm_base", "norm_reasoning"), pl.Float64),
    "dimensions": pl.Int64,
}
LENS_VALUES = ("score", "rank", "best_score", "best_rank")
LENS_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("direction", "reader", "unembedding"), pl.String),
    "layer": pl.Int64,
    "word": pl.String,
    **dict.fromkeys(LENS_VALUES, pl.Float64),
    "best_entry": pl.String,
    "entries": pl.Int64,
    **{f"other_{column}_{end}": pl.Float64 for column in LENS_VALUES for end in ("low", "high")},
    "selected": pl.Boolean,
}
BEST_ENTRY = ("best_score", "best_rank", "best_entry", "entries")
"""Columns that are empty where the lens was applied before it looked at single entries."""
LOG_ODDS_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("target", "context", "direction", "family", "reader"), pl.String),
    **dict.fromkeys(("multiple", "magnitude", "dose"), pl.Float64),
    "selected": pl.Boolean,
    **dict.fromkeys(("prompts", "positions"), pl.Int64),
    **dict.fromkeys(("log_odds", "change", "low", "high", *bounded("more_than_base")), pl.Float64),
}
PERMUTATION_COLUMNS: dict[str, Any] = {
    "kind": pl.String,
    "n": pl.Int64,
    **dict.fromkeys(("ours", "highest", "p"), pl.Float64),
    **dict.fromkeys(("passages", "positions", "rivals"), pl.Int64),
}


def unpack(vector: bytes) -> Array:
    """Return a stored vector as float64 (d)."""
    return np.frombuffer(vector, dtype=np.float32).astype(np.float64)


def cosine(one: Array, other: Array) -> float:
    """Return the cosine of two vectors; NaN where one has no length."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else math.nan


def random_level(dimensions: int) -> float:
    """Return the 97.5 % point of the cosine of two random directions in d dimensions (its square is Beta)."""
    if dimensions < 2:
        return 1.0
    return math.sqrt(float(betaincinv(0.5, (dimensions - 1) / 2, 0.95)))


def make_cosines(data: StudyData) -> pl.DataFrame:
    """Base-against-reasoning cosine of every vector at the selected site, beside those of disjoint halves.

    `cosine` is that of the stored vectors, both read on the same windows: their noise is shared, and it is no evidence.
    `cross_half` and `disattenuated` are the step's `repurpose.directions.cosines`. Vectors from outside, which have no
    reader, are compared with the behaviour's at their own layer.
    """
    here = at_selected_site(data.vectors, data.selection).unique(["name", "reader"], maintain_order=True)
    here = here.filter(pl.col("kind") != "outside", ~pl.col("name").str.contains("random"))
    base, reasoning = (here.filter(pl.col("reader") == reader) for reader in ("base", "reasoning"))
    reference = base.filter(pl.col("name") == data.behaviour)["vector"].to_list()
    pairs = base.join(reasoning, on="name", suffix="_reasoning", maintain_order="left")
    found = [_compare_readers(pair, *reference) for pair in pairs.iter_rows(named=True)]
    halves = at_selected_site(data.cosines, data.selection).drop("layer", "window_start", "positives")
    found += [_compare_outside(row, data) for row in _outside_rows(data).iter_rows(named=True)]
    table = with_family(pl.DataFrame(found, infer_schema_length=None), data.behaviour, "name", data.outside)
    joined = table.join(halves, on="name", how="left", maintain_order="left")
    return conform(joined, COSINE_COLUMNS).fill_nan(None)


def _compare_readers(pair: dict[str, Any], reference: bytes | None = None) -> dict[str, Any]:
    one, other = unpack(pair["vector"]), unpack(pair["vector_reasoning"])
    return {
        **{name: pair[name] for name in ("name", "kind", "positives")},
        "cosine": cosine(one, other),
        "random_high": random_level(len(one)),
        "cosine_with_behaviour": cosine(one, unpack(reference)) if reference else math.nan,
        "norm_base": pair["norm"],
        "norm_reasoning": pair["norm_reasoning"],
        "dimensions": len(one),
    }


def _outside_rows(data: StudyData) -> pl.DataFrame:
    """Vectors from outside, once each: they are the same for every reader and window."""
    rows = data.vectors.filter(pl.col("kind") == "outside", pl.col("reader") == "base").sort("name")
    return rows.unique("name", keep="first", maintain_order=True)


def _compare_outside(row: dict[str, Any], data: StudyData) -> dict[str, Any]:
    site = {"name": data.behaviour, "reader": "base", "layer": row["layer"]}
    own = data.vectors.filter(**site, window_start=data.selection.window_start)["vector"].to_list()
    compared = _compare_readers({**row, "vector_reasoning": row["vector"], "norm_reasoning": row["norm"]}, *own)
    return {**compared, "cosine": math.nan}


def make_lens(data: StudyData) -> pl.DataFrame:
    """Fig. 5: logit lens of the behaviour's directions by layer, beside the range of all other directions.

    Those from outside stand at their own layer. The ten best tokens (`top:<token>`) are kept there, and for the
    behaviour at the selected layer only. `score` and `rank` are means over the `entries` that hold a word, the `best_`
    columns are those of the entry with the highest logit.
    """
    here = data.lens.filter(pl.col("window_start") == data.selection.window_start)
    unread = [pl.lit(None, LENS_COLUMNS[name]).alias(name) for name in BEST_ENTRY if name not in here.columns]
    here = here.with_columns(unread)
    selected, top = pl.col("layer") == data.selection.layer, pl.col("word").str.starts_with("top:")
    outside = pl.col("direction").is_in(data.outside)
    kept = here.filter(((pl.col("direction") == data.behaviour) & (selected | ~top)) | outside)
    values = pl.col(LENS_VALUES)
    low, high = values.min().name.map("other_{}_low".format), values.max().name.map("other_{}_high".format)
    # labels and controls, of both readers
    others = here.filter(~top, pl.col("direction") != data.behaviour, ~outside)
    others = others.group_by("unembedding", "layer", "word").agg(low, high)
    joined = kept.join(others, on=["unembedding", "layer", "word"], how="left")
    table = conform(joined.with_columns(selected=selected), LENS_COLUMNS)
    word = pl.when(top).then(pl.lit("top")).otherwise("word")
    order = [outside, "direction", "unembedding", "reader", word, "layer", "score"]
    return table.sort(order, descending=[False] * 6 + [True], maintain_order=True)


def make_log_odds(data: StudyData) -> pl.DataFrame:
    """The base model's zero, deconfounded: change of log-odds on the same prefixes, by target and direction.

    `more_than_base` is a reasoning-target row's change minus that of the base target on the same prefixes.
    """
    rows = data.logodds.filter(pl.col("direction") != "none")
    if rows.is_empty():
        return pl.DataFrame(schema=LOG_ODDS_COLUMNS)
    found = [
        _describe_change(cell, context, resampling)
        for context in split_cells(rows, ["context"])
        for resampling in [data.resampling(context)]
        for cell in split_cells(context, ["target", "direction", "reader", "multiple"])
    ]
    table = with_family(pl.DataFrame(found, infer_schema_length=None), data.behaviour, outside=data.outside)
    return conform(table.with_columns(selected=is_near(data.selection.magnitude)), LOG_ODDS_COLUMNS)


def _weighed(cell: pl.DataFrame, column: str, resampling: Resampling) -> tuple[Array, Array]:
    """Return the sum of a per-prompt mean times its positions, and the positions, by prompt."""
    return resampling.sums(cell, pl.col(column) * pl.col("positions")), resampling.sums(cell, "positions")


def _describe_change(cell: pl.DataFrame, context: pl.DataFrame, resampling: Resampling) -> dict[str, Any]:
    keys = {name: cell[name][0] for name in ("target", "context", "direction", "reader", "multiple")}
    change = _weighed(cell, "change", resampling)
    numerator, positions = _weighed(cell, "log_odds", resampling)
    same = [pl.col(name) == keys[name] for name in ("direction", "reader", "multiple")]
    base = context.filter(pl.col("target") == "base", *same)
    compared = keys["target"] == "reasoning" and base.height
    more = resampling.difference(change, _weighed(base, "change", resampling)) if compared else UNDEFINED
    return {
        **keys,
        **{name: cell[name].mean() for name in ("magnitude", "dose")},
        "prompts": cell["prompt_id"].n_unique(),
        "positions": int(positions.sum()),
        "log_odds": float(numerator.sum() / positions.sum()),
        **spread("change", resampling.ratio(*change), ""),
        **spread("more_than_base", more),
    }


def make_permutation(data: StudyData) -> pl.DataFrame:
    """Directions that mean nothing against the vector: change of the keywords' log-odds (nats) on held-out passages.

    A row for each kind: `n` directions, the vector's change (`ours`), the highest of theirs, and p = (1 + number at
    least as high as ours) / (1 + n). `rivals` counts those that sweeps steer with, chosen on training passages.
    """
    rows, positions = data.permutations, pl.col("positions")
    heldout = rows.filter(split="heldout")
    change = (pl.col("change") * positions).sum() / positions.sum()
    changes = heldout.group_by("name", "kind", maintain_order=True).agg(change=change)
    own = changes.filter(kind=data.behaviour)["change"].to_list()
    read = heldout.unique(["prompt_id", "sample"])
    counts = {"passages": read.height, "positions": read["positions"].sum()}
    rivals = rows.filter(pl.col("rival").is_not_null()).unique("name")["kind"].to_list()
    found = [
        {"kind": cell["kind"][0], "rivals": rivals.count(cell["kind"][0]), **counts, **_hold(cell["change"], own[0])}
        for cell in split_cells(changes.filter(pl.col("kind") != data.behaviour), ["kind"])
    ]
    return pl.DataFrame(found, schema=PERMUTATION_COLUMNS)


def _hold(changes: pl.Series, own: float) -> dict[str, Any]:
    as_high = int((changes >= own).sum())
    return {"n": len(changes), "ours": own, "highest": changes.max(), "p": (1 + as_high) / (1 + len(changes))}
