"""What the page shows of sweeps: cells with their effect and coherence, texts with their marks."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import isclose
from typing import Any

import polars as pl

from repurpose.results.explorer.blocks import Vocabulary
from repurpose.results.explorer.pieces import Pieces
from repurpose.results.explorer.rollout_texts import judge_answer
from repurpose.steering.marks import mark_sentences
from repurpose.steering.sentences import cut_thinking, label_by_lexicon

Row = dict[str, Any]
Labeller = Callable[[Row], list[str | None]]
"""Labels of a steered text's sentences, of those that annotators are asked for."""
CONDITION = ["sweep", "target", "direction", "kind", "reader", "layer", "window_start", "operation", "positions"]
CELL = [*CONDITION, "magnitude", "dose", "multiple"]
TEXT = [*CELL, "prompt_id", "sample"]
LABELLED = [name for name in TEXT if name not in ("positions", "dose")]
"""What tells a steered text from another in STEERED_LABELS: all rows of a sweep have the same positions."""
SHARES = {
    "keyword_share": ("keyword_words", "words"),
    "backtracking_share": ("backtracking_sentences", "sentences"),
    "wrong_backtracked": ("wrong_calculations_backtracked", "wrong_calculations"),
    "right_backtracked": ("right_calculations_backtracked", "right_calculations"),
}
"""Measures of a cell that are ratios of sums."""
MEANS = ("distinct_2", "longest_run", "compression_ratio", "length", "finished", "correct")
"""Measures of a cell that are means over its texts."""
COUNTED = {column for pair in SHARES.values() for column in pair}
NOT_MEASURES = {*TEXT, *COUNTED, *SHARES, *MEANS, "seed", "prompt_tokens", "steered_positions", "expected_positions"}
ALIKE = 1e-3
"""Of two numbers that were written as float32 and may be the same: their relative difference."""
TYPICAL_BY = ("keyword_share", "backtracking_share", "distinct_2", "length")
"""What tells a typical text of a cell from an untypical one."""


def measures_of(measured: pl.DataFrame) -> dict[str, pl.Expr]:
    """Each measure of a cell; a real column that is not known here counts as one, by its mean."""
    numbers = [name for name, kind in measured.schema.items() if kind.is_float() and name not in NOT_MEASURES]
    shares = {name: pl.col(part).sum() / pl.col(whole).sum() for name, (part, whole) in SHARES.items()}
    means = {name: pl.col(name).cast(pl.Float64).mean() for name in (*MEANS, *numbers) if name in measured.columns}
    return {name: how.cast(pl.Float64) for name, how in (shares | means).items()}


def show_cells(measured: pl.DataFrame, sweeps: pl.DataFrame, tagged: bool) -> list[Row]:
    """Each cell of the sweeps with its measures, null where nothing was counted.

    `texts` are its texts, `unanswered` those of them that were cut off before an answer that could be judged.
    """
    cells = measured.group_by(CELL, maintain_order=True).agg(texts=pl.len(), **measures_of(measured))
    cut = count_unanswered(measured, sweeps, tagged)
    listed = cells.with_columns(pl.col(pl.Float64).fill_nan(None)).to_dicts()
    return [{**cell, "unanswered": cut[_key(cell)]} for cell in listed]


def count_unanswered(measured: pl.DataFrame, sweeps: pl.DataFrame, tagged: bool) -> Counter[tuple[Any, ...]]:
    """How many texts of each cell were cut off before an answer that could be judged."""
    ended = sweeps.filter(finish_reason="length").select(*TEXT, "text", "finish_reason")
    judged = ended.join(measured.select(*TEXT, "correct"), on=TEXT, how="inner", nulls_equal=True)
    rows = judged.iter_rows(named=True)
    return Counter(_key(row) for row in rows if judge_answer(row, row["correct"], tagged) == "cut")


def unit_of(cells: Sequence[Row], selected: float) -> str:
    """Which unit the multiples of a sweep are in, as a study file calls it, told from its norms and doses.

    Args:
        selected: the magnitude that was selected, an L2 norm.

    Doses are those of the reasoning model. Where multiples of the selected norm are doses, too, both words are true.
    """
    added = [cell for cell in cells if cell["operation"] == "add" and cell["magnitude"]]
    own = [cell for cell in added if cell["target"] == "reasoning"]
    if all(isclose(cell["magnitude"], cell["multiple"], rel_tol=ALIKE) for cell in added):
        return "l2"
    if own and all(isclose(cell["dose"], cell["multiple"], rel_tol=ALIKE) for cell in own):
        return "dose"
    some = any(isclose(cell["magnitude"], cell["multiple"] * selected, rel_tol=ALIKE) for cell in added)
    return "selected" if some else "dose"


def units_of(cells: Sequence[Row], selected: float) -> dict[str, str]:
    """The unit of each sweep's multiples."""
    sweeps = dict.fromkeys(cell["sweep"] for cell in cells)
    return {name: unit_of([cell for cell in cells if cell["sweep"] == name], selected) for name in sweeps}


def choose_prompts(sweeps: pl.DataFrame, most: int) -> pl.DataFrame:
    """Rows of whole prompts, the first ones of each sweep, so that all sweeps lose the same share of theirs."""
    if sweeps.height <= most:
        return sweeps
    order = pl.col("prompt_id").rank("dense").over("sweep") - 1
    share = pl.col("prompt_id").n_unique().over("sweep") * most // sweeps.height
    return sweeps.filter(order < share)


def add_distance(measured: pl.DataFrame) -> pl.DataFrame:
    """Say how far each text is from the mean of its cell, in standard deviations of its sweep and target."""
    far = [
        ((pl.col(name) - pl.col(name).mean().over(CELL)) / pl.col(name).std().over("sweep", "target")) ** 2
        for name in TYPICAL_BY
    ]
    squares = [square.fill_nan(None).replace(float("inf"), None).fill_null(0.0) for square in far]
    return measured.with_columns(distance=pl.sum_horizontal(squares).sqrt())


def labeller(lexicons: Mapping[str, Mapping[str, str]], given: pl.DataFrame | None) -> Labeller:
    """Who says what the sentences of a text do: whoever it is measured by.

    Args:
        lexicons: how each annotator that is a lexicon renames its labels; they label here.
        given: STEERED_LABELS of the other annotators.
    """
    kept: dict[tuple[Any, ...], list[str | None]] = {}
    if given is not None:
        asked = given.filter(pl.col("status") != "skipped").sort("sentence", maintain_order=True)
        labels = asked.group_by("annotator", *LABELLED, maintain_order=True).agg("label")
        kept = {tuple(key): names for *key, names in labels.iter_rows()}

    def label(row: Row) -> list[str | None]:
        annotator = row["annotator"]
        if annotator in lexicons:
            said = label_by_lexicon(cut_thinking(row["text"]), lexicons[annotator])
            return [one.label for one in said if one.is_prose]
        return kept.get((annotator, *(row[name] for name in LABELLED)), [])

    return label


def show_texts(
    sweeps: pl.DataFrame,
    measured: pl.DataFrame,
    cells: Sequence[Row],
    pieces: Pieces,
    vocabulary: Vocabulary,
    label: Labeller,
    tagged: bool,
) -> Iterator[list[Any]]:
    """Yield [cell, prompt id, sample, tokens, finish reason, answer, distance, sentences] of each steered text.

    A sentence is [first token, token after the last, label, right calculation].
    """
    numbers = {_key(cell): number for number, cell in enumerate(cells)}
    columns = [*TEXT, "token_ids", "text", "finish_reason"]
    known = add_distance(measured).select(*TEXT, "distance", "correct", "annotator")
    rows = sweeps.select(columns).join(known, on=TEXT, how="left", nulls_equal=True, maintain_order="left")
    for row in rows.iter_rows(named=True):
        cut = pieces.cut(row["token_ids"], row["text"])
        tokens = vocabulary.add(row["token_ids"], cut)
        ends = list(accumulate(map(len, cut)))
        sentences = [list(mark) for mark in mark_sentences(row["text"], ends, label(row))]
        said = [row["finish_reason"], judge_answer(row, row["correct"], tagged)]
        distance = round(row["distance"] or 0.0, 3)
        yield [numbers[_key(row)], row["prompt_id"], row["sample"], tokens, *said, distance, sentences]


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in CELL)


def ids_and_texts(sweeps: pl.DataFrame) -> list[tuple[list[int], str]]:
    """The ids and the text of each row."""
    return list(sweeps.select("token_ids", "text").iter_rows())
