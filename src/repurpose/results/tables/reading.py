"""Tables of what is read on rollouts: example rollouts, projections on tokens, detection of open mistakes."""

from collections.abc import Iterable
from typing import Any

import polars as pl

from repurpose.data.categories import by_category, deal
from repurpose.data.statistics import Estimate, estimate_auroc, interval, spread
from repurpose.results.tables.cells import Resampling, conform, split_cells
from repurpose.results.tables.data import StudyData
from repurpose.results.tables.steering import with_family

EXAMPLES = 4
"""Rollouts that are shown."""
LEAD, TAIL = 55, 30
"""Tokens shown before the first backtracking sentence and after its start."""
OFFSETS = range(-24, 9)
"""Tokens around a sentence's start in the profile of projections."""
BINS = ((0, 3), (4, 7), (8, 12), (13, 19), (20, 10**6))
"""Tokens since the end of the last calculation."""
Z = pl.col("z")
IS_READ = Z.is_not_null()

ROLLOUT_COLUMNS: dict[str, Any] = {
    "example": pl.Int64,
    "prompt_id": pl.String,
    "sample": pl.Int64,
    "category": pl.String,
    "position": pl.Int64,
    "token": pl.String,
    "sentence": pl.Int64,
    **dict.fromkeys(("label", "mark"), pl.String),
}
PROJECTION_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("part", "direction", "family", "reader", "group"), pl.String),
    "position": pl.Int64,
    "token": pl.String,
    "keyword": pl.Boolean,
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
    **dict.fromkeys(("prompts", "count"), pl.Int64),
}
DETECTION_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("direction", "family", "reader", "tokens"), pl.String),
    **dict.fromkeys(("since_low", "since_high"), pl.Int64),
    **dict.fromkeys(("auroc", "low", "high"), pl.Float64),
    **dict.fromkeys(("mistake_tokens", "correct_tokens", "mistakes", "prompts"), pl.Int64),
}


def make_rollout(data: StudyData) -> pl.DataFrame:
    """Fig. 1: tokens of some held-out rollouts; the read window and the backtracking start are marked.

    `mark` is `window` (the tokens that are read before a backtracking sentence), `start` (its first token),
    `behaviour` (the rest of it) or empty; a token in a window stays `window`.
    """
    starts = data.sentences.filter(
        pl.col("split") == "heldout",
        pl.col("label") == data.behaviour,
        pl.col("token_start") + data.selection.window_start >= 0,
    )
    first = starts.sort("token_start").unique(["prompt_id", "sample"], keep="first", maintain_order=True)
    found = first.join(data.rollouts, on=["prompt_id", "sample", "split"], how="left")
    found = found.sort("category", "sample", "prompt_id")
    examples = deal(by_category(found.iter_rows(named=True)).values())[:EXAMPLES]
    tokens = [_tokens_of(data, number, example) for number, example in enumerate(examples)]
    return pl.concat([pl.DataFrame(schema=ROLLOUT_COLUMNS), *tokens])


def _tokens_of(data: StudyData, number: int, example: dict[str, Any]) -> pl.DataFrame:
    same = [pl.col(name) == example[name] for name in ("prompt_id", "sample")]
    start = example["token_start"]
    shown = data.projections.filter(
        *same,
        pl.col("direction") == data.behaviour,
        pl.col("reader") == "base",
        pl.col("position").is_between(start - LEAD, start + TAIL - 1),
    ).sort("position")
    labelled = data.sentences.filter(*same, pl.col("label") == data.behaviour, pl.col("token_start") < start + TAIL)
    starts = labelled["token_start"].to_list()  # a window whose sentence is not shown would only puzzle
    marks = [_mark(row, starts, data) for row in shown.iter_rows(named=True)]
    constants = {"example": pl.lit(number), "category": pl.lit(example["category"])}
    marked = shown.with_columns(pl.Series("mark", marks, dtype=pl.String), **constants)
    return conform(marked, ROLLOUT_COLUMNS)


def _mark(token: dict[str, Any], starts: list[int], data: StudyData) -> str:
    first = data.selection.window_start
    offsets = [token["position"] - start for start in starts]
    if any(first <= offset < first + data.selection.window_length for offset in offsets):
        return "window"
    if 0 in offsets:
        return "start"
    return "behaviour" if token["label"] == data.behaviour else ""


def make_projections(data: StudyData) -> pl.DataFrame:
    """Fig. 6: projections in units of their standard deviation over all held-out tokens of the reader.

    On the behaviour's direction, on those from outside and on controls, of which there is a `summary` alone. Parts:
    `token` (tokens of the examples), `profile` (mean around the starts of backtracking and of other sentences, interval
    over prompts), `summary` (is it dense, does it track keywords). `participation_above` is in times a normal
    distribution's, `largest_token` the share of the squares above the mean that one token has.
    """
    rows: list[dict[str, Any]] = []
    keys = ["prompt_id", "sample", "position"]
    examples = make_rollout(data).select(*keys, group=pl.format("example {}", "example"))
    for tokens in split_cells(data.projections, ["direction", "reader"]):
        scale = tokens["projection"].std()
        scaled = tokens.with_columns(z=pl.col("projection") / (scale if isinstance(scale, float) else 1.0))
        resampling = data.resampling(scaled)
        shown = examples.join(scaled, on=keys, how="inner", maintain_order="left")
        parts: dict[str, Iterable[dict[str, Any]]] = {"summary": _summary(scaled, data.behaviour, resampling)}
        if tokens["direction"][0] in (data.behaviour, *data.outside):
            parts["token"] = shown.select("position", "token", "keyword", "group", value="z").iter_rows(named=True)
            parts["profile"] = _profile(scaled, data, resampling)
        which = {name: tokens[name][0] for name in ("direction", "reader")}
        rows += [{"part": part, **which, **row} for part, made in parts.items() for row in made]
    table = pl.DataFrame(rows, schema={name: kind for name, kind in PROJECTION_COLUMNS.items() if name != "family"})
    return conform(with_family(table, data.behaviour, outside=data.outside), PROJECTION_COLUMNS)


def _profile(tokens: pl.DataFrame, data: StudyData, resampling: Resampling) -> Iterable[dict[str, Any]]:
    labelled = data.sentences.filter(pl.col("split") == "heldout", pl.col("label").is_not_null())
    is_behaviour = pl.col("label") == data.behaviour
    group = pl.when(is_behaviour).then(pl.lit("behaviour")).otherwise(pl.lit("other"))
    starts = labelled.select("prompt_id", "sample", "token_start", group=group)
    around = starts.join(pl.DataFrame({"offset": list(OFFSETS)}), how="cross").with_columns(
        position=pl.col("token_start") + pl.col("offset")
    )
    values = around.join(tokens, on=["prompt_id", "sample", "position"], how="inner")
    for cell in split_cells(values, ["group", "offset"]):
        yield {
            "group": cell["group"][0],
            "position": cell["offset"][0],
            "prompts": cell["prompt_id"].n_unique(),
            "count": cell.height,
            **spread("value", resampling.ratio(resampling.sums(cell, "z"), resampling.sums(cell, IS_READ)), ""),
        }


def _summary(tokens: pl.DataFrame, behaviour: str, resampling: Resampling) -> Iterable[dict[str, Any]]:
    tokens = tokens.sort("prompt_id", "sample", "position").with_columns(pl.col("keyword").fill_null(False))
    inside = resampling.sums(tokens, pl.col("label") == behaviour)
    z, keyword, prompt = tokens["z"].to_numpy(), tokens["keyword"].to_numpy(), resampling.numbers(tokens)
    top = tokens.sort("z", descending=True, maintain_order=True).head(int(keyword.sum()))  # as many as keywords
    following = pl.col("keyword").shift(-1, fill_value=False).over("prompt_id", "sample")
    before = tokens.with_columns(before=following).filter(~pl.col("keyword"))
    measures = {
        "participation": estimate_participation(tokens, resampling),
        "participation_above": participation_above(tokens, resampling),
        "behaviour_tokens": resampling.share(inside, resampling.sums(tokens, IS_READ)),
        "keyword_precision": resampling.share(resampling.sums(top, "keyword"), resampling.sums(top, IS_READ)),
        "keyword_auroc": estimate_auroc(z, keyword, prompt, resampling.weights, resampling.level),
        "before_keyword_auroc": _auroc(before, "before", resampling),
    }
    counts = {"keyword": int(keyword.sum()), "before": int(before["before"].sum())}
    for name, estimate in measures.items():
        count = counts.get(name.split("_")[0], tokens.height)
        yield {"group": name, "prompts": len(resampling.prompts), "count": count, **spread("value", estimate, "")}
    yield from _largest_token(tokens)


def _auroc(tokens: pl.DataFrame, positive: str, resampling: Resampling) -> Estimate:
    """How well the projection tells the tokens with a mark from the others."""
    scores, marked = tokens["z"].to_numpy(), tokens[positive].to_numpy()
    return estimate_auroc(scores, marked, resampling.numbers(tokens), resampling.weights, resampling.level)


def _largest_token(tokens: pl.DataFrame) -> Iterable[dict[str, Any]]:
    """Which token, whatever it stands after, has the largest share of the squares above the mean."""
    squares = tokens.select(token=pl.col("token").str.strip_chars(), square=pl.col("z").clip(lower_bound=0) ** 2)
    total = squares["square"].sum()
    summed = squares.group_by("token").agg(pl.col("square").sum(), count=pl.len()).sort("square", "token")
    for row in summed.tail(1).iter_rows(named=True) if total else ():
        yield {"group": "largest_token", "token": row["token"], "value": row["square"] / total, "count": row["count"]}


def estimate_participation(tokens: pl.DataFrame, resampling: Resampling, z: pl.Expr = Z) -> Estimate:
    """Estimate the share of tokens that carry the projection: (sum of squares)^2 / (n x sum of 4th powers).

    1 where all tokens carry it equally, 1/3 for a normal distribution, 1/n where a single token carries it.
    """
    sums = [resampling.sums(tokens, value) for value in (z**2, z**4, IS_READ)]
    drawn = [resampling.weights @ column for column in sums]
    low, high = interval(drawn[0] ** 2 / (drawn[1] * drawn[2]), resampling.level, len(resampling.prompts))
    second, fourth, count = (column.sum() for column in sums)
    return Estimate(float(second**2 / (fourth * count)), float(low), float(high))


def participation_above(tokens: pl.DataFrame, resampling: Resampling) -> Estimate:
    """The same of the part above the mean, on the behaviour's side, in times that of a normal distribution (1/6)."""
    return Estimate(*(6 * value for value in estimate_participation(tokens, resampling, Z.clip(lower_bound=0))))


def make_detection(data: StudyData) -> pl.DataFrame:
    """AUROC of the projection for an open mistake, by tokens since the last calculation's end.

    Tokens of the backtracking sentences themselves are left out: there the mistake has already been named.
    `tokens` is `all`, or `unhedged`: without uncertainty-estimation sentences, likelier after mistakes. `mistakes`
    counts the calculations that the mistake tokens come after.
    """
    known = data.projections.filter(
        pl.col("correct_calculation").is_not_null(),
        pl.col("since_calculation") >= 0,
        pl.col("label") != data.behaviour,  # null, and so left out, where no sentence of the thinking is
    ).with_columns(end=pl.col("position") - pl.col("since_calculation"))
    kinds = {"all": pl.lit(True), "unhedged": pl.col("label") != "uncertainty-estimation"}
    found = [
        {
            **{key: tokens[key][0] for key in ("direction", "reader")},
            "tokens": name,
            **_detect(tokens.filter(kept), low, high, data.resampling(tokens)),
        }
        for tokens in split_cells(known, ["direction", "reader"])
        for name, kept in kinds.items()
        for low, high in ((BINS[0][0], BINS[-1][1]), *BINS)
    ]
    table = pl.DataFrame(found, schema={name: kind for name, kind in DETECTION_COLUMNS.items() if name != "family"})
    return conform(with_family(table, data.behaviour, outside=data.outside), DETECTION_COLUMNS)


def _detect(kept: pl.DataFrame, low: int, high: int, resampling: Resampling) -> dict[str, Any]:
    tokens = kept.filter(pl.col("since_calculation").is_between(low, high))
    mistake = (~tokens["correct_calculation"]).to_numpy()
    scores, prompt = tokens["projection"].to_numpy(), resampling.numbers(tokens)
    return {
        "since_low": low,
        "since_high": None if high == BINS[-1][1] else high,
        **spread("auroc", estimate_auroc(scores, mistake, prompt, resampling.weights, resampling.level), ""),
        "mistake_tokens": int(mistake.sum()),
        "correct_tokens": int((~mistake).sum()),
        "mistakes": tokens.filter(~pl.col("correct_calculation")).n_unique(["prompt_id", "sample", "end"]),
        "prompts": tokens["prompt_id"].n_unique(),
    }
