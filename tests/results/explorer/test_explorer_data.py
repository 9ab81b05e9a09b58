"""What the page holds: tokens of steered texts told without a tokenizer, whole prompts, a limit on its size."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from looked_at import read_made_up

from repurpose.results.explorer.__main__ import Inputs, fit_page, make_page
from repurpose.results.explorer.blocks import Vocabulary, pack_json
from repurpose.results.explorer.pieces import Pieces, learn_pieces
from repurpose.results.explorer.rollout_texts import judge_answer, order_rollouts, show_axes
from repurpose.results.explorer.steered_texts import (
    CELL,
    LABELLED,
    add_distance,
    choose_prompts,
    labeller,
    show_cells,
    units_of,
)
from repurpose.results.explorer.words import ANNOTATORS, describe_direction
from repurpose.steering.metrics import is_correct
from repurpose.study.settings import BEHAVIOURS, CONTROLS, VARIANTS, Annotator

WORDS = {1: "So", 2: " the", 3: " sum", 4: ".", 5: " Wait", 6: "\n", 7: ""}


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return read_made_up()


def text_of(ids: list[int]) -> str:
    return "".join(WORDS[token] for token in ids)


@given(ids=st.lists(st.sampled_from(sorted(WORDS)), max_size=30), known=st.sets(st.sampled_from(sorted(WORDS))))
def test_pieces_joined_are_the_text(ids: list[int], known: set[int]) -> None:
    pieces = learn_pieces([(ids, text_of(ids))], {token: WORDS[token] for token in known})
    cut = pieces.cut(ids, text_of(ids))
    assert "".join(cut) == text_of(ids) and len(cut) == len(ids)


def test_a_lone_unknown_token_is_what_the_others_leave() -> None:
    """And what it teaches tells the next one."""
    texts = [([1, 2, 3, 4], "So the sum."), ([1, 5, 3, 4], "So Wait sum.")]
    pieces = learn_pieces(texts, {1: "So", 4: ".", 2: " the"})
    assert pieces.known == {1: "So", 4: ".", 2: " the", 3: " sum", 5: " Wait"}
    assert pieces.cut([5, 3], " Wait sum") == [" Wait", " sum"]


def test_texts_that_known_tokens_do_not_fit_stay_whole() -> None:
    pieces = Pieces()
    pieces.learn([1, 2], ["a", "b"])
    assert pieces.cut([1, 2], "xyz") == ["xyz", ""]
    assert pieces.cut([], "") == []


def test_a_text_is_a_row_of_numbers_of_the_vocabulary() -> None:
    vocabulary = Vocabulary()
    assert vocabulary.add([1, 2, 1], ["a", "b", "a"]) == 3
    assert vocabulary.add([1, 2], ["a", "B"]) == 2
    assert vocabulary.numbers == [0, 1, 0, 0, 2]


@pytest.mark.faults
@pytest.mark.parametrize("text", ["</script><!--", "\ud800 alone", "\u202e\x00", "é\U0001f600"])
def test_a_block_holds_any_text_and_no_markup(text: str) -> None:
    block = pack_json([text])
    assert re.fullmatch("[A-Za-z0-9+/=]+", block)
    assert json.loads(gzip.decompress(base64.b64decode(block))) == [text]


def test_projections_keep_four_figures(inputs: Inputs) -> None:
    shown = order_rollouts(inputs.rollouts, inputs.traces, 5)
    axis, _ = next(show_axes(inputs.traces, shown))
    rows = inputs.traces.filter(direction=axis["direction"], reader=axis["reader"])
    values = np.concatenate([np.frombuffer(raw, np.float32) for raw in rows["projections"][:5]])
    assert axis["step"] == pytest.approx(np.abs(values).max() / 32_767)
    assert axis["deviation"] == pytest.approx(values.std(), rel=1e-3)


@pytest.mark.parametrize("most", [1, 100, 200, 10_000])
def test_whole_prompts_are_left_out_of_every_sweep(most: int, inputs: Inputs) -> None:
    kept = choose_prompts(inputs.sweeps, most)
    assert kept.height <= most or kept.height == inputs.sweeps.height
    by_prompt = ["sweep", "prompt_id"]
    counts = inputs.sweeps.group_by(by_prompt).len()
    assert kept.group_by(by_prompt).len().join(counts, on=[*by_prompt, "len"]).height == kept[by_prompt].n_unique()


def test_a_cell_pools_its_counts(inputs: Inputs) -> None:
    cells = show_cells(inputs.measured, inputs.sweeps, tagged=True)
    (cell,) = [
        cell for cell in cells if (cell["sweep"], cell["target"], cell["direction"]) == ("two_by_two", "base", "none")
    ]
    rows = inputs.measured.filter(sweep="two_by_two", target="base", direction="none")
    assert cell["keyword_share"] == pytest.approx(rows["keyword_words"].sum() / rows["words"].sum())
    assert cell["texts"] == rows.height and len(cells) == inputs.measured.select(CELL).unique().height


def test_a_measure_that_is_not_known_is_shown_by_its_mean(inputs: Inputs) -> None:
    """Another version of the tables may have further columns."""
    measured = inputs.measured.with_columns(nats=pl.lit(1.5), note=pl.lit("x"))
    assert {cell["nats"] for cell in show_cells(measured, inputs.sweeps, tagged=True)} == {1.5}
    assert "note" not in show_cells(measured, inputs.sweeps, tagged=True)[0]
    assert make_page(replace(inputs, measured=measured, sweeps=inputs.sweeps.with_columns(more=pl.lit(1))), 5, 500)


def test_the_typical_text_is_near_its_cells_mean(inputs: Inputs) -> None:
    """Of three texts that differ in length alone the middle one is typical."""
    three = pl.concat([inputs.measured[:1]] * 3).with_columns(length=pl.Series([10, 20, 40]))
    assert add_distance(three)["distance"].to_list() == pytest.approx([0.873, 0.218, 1.091], abs=0.001)
    assert add_distance(inputs.measured)["distance"].is_finite().all()


def test_a_page_that_would_be_too_large_shows_less(inputs: Inputs) -> None:
    whole = len(fit_page(inputs))
    smaller = fit_page(inputs, whole - 30_000)
    assert len(smaller) <= whole - 30_000


def test_rollouts_keep_the_order_of_their_traces(inputs: Inputs) -> None:
    order = inputs.traces["prompt_id"].unique(maintain_order=True).to_list()
    assert [row["prompt_id"] for row in order_rollouts(inputs.rollouts, inputs.traces, 4)] == order[:4]


def test_steered_texts_are_marked_by_whoever_they_are_measured_by(inputs: Inputs) -> None:
    """The lexicon as it renames its labels; another annotator's labels as they are given; nobody's, none."""
    row = inputs.sweeps.row(0, named=True) | {"text": "So 9 minus 2 is 6. Wait, that is not right."}
    given = pl.DataFrame([{**{name: row[name] for name in LABELLED}, "annotator": "judge", "status": "ok"}] * 2)
    given = given.with_columns(sentence=pl.Series([1, 0]), label=pl.Series(["deduction", None], dtype=pl.String))
    label = labeller({"lexicon": {"backtracking": "deduction"}, "plain": {}}, given)
    assert label({**row, "annotator": "plain"})[1] == "backtracking"
    assert label({**row, "annotator": "lexicon"})[1] == "deduction"
    assert label({**row, "annotator": "judge"}) == [None, "deduction"]
    assert label({**row, "annotator": "judge", "sample": 999}) == [] == label({**row, "annotator": None})


def test_the_unit_of_a_sweep_is_told_from_its_norms() -> None:
    """Of norms 4 and 8, where 8 is selected; the base model's doses are not those of the study file."""
    cell = {"sweep": "one", "operation": "add", "target": "reasoning", "layer": 3}
    cells = {
        "l2": [{**cell, "multiple": 8.0, "magnitude": 8.0, "dose": 0.2}],
        "dose": [
            {**cell, "multiple": 0.2, "magnitude": 8.0, "dose": 0.2},
            {**cell, "multiple": 0.2, "magnitude": 8.0, "dose": 0.25, "target": "base"},
        ],
        "selected": [
            {**cell, "multiple": 1.0, "magnitude": 8.0, "dose": 0.2},
            {**cell, "multiple": 1.0, "magnitude": 7.0, "dose": 0.2, "layer": 2},
        ],
    }
    assert {unit: units_of(own, 8.0) for unit, own in cells.items()} == {unit: {"one": unit} for unit in cells}
    assert units_of([{**cells["dose"][1]}], 8.0) == {"one": "dose"}


@pytest.mark.parametrize(
    ("text", "reason", "answer"),
    [
        ("9 minus 2 is 7. </think> 7", "stop", "right"),
        ("9 minus 2 is 7. </think> 8", "length", "wrong"),
        ("9 minus 2 is 7. </think>", "stop", "wrong"),
        ("9 minus 2 is 7. So", "length", "cut"),
    ],
)
def test_an_answer_that_had_no_room_is_not_called_wrong(text: str, reason: str, answer: str) -> None:
    row = {"text": text, "finish_reason": reason}
    assert judge_answer(row, is_correct(text, "7"), tagged=True) == answer
    assert judge_answer(row, None, tagged=True) is None


def test_every_direction_and_kind_of_annotator_has_words() -> None:
    names = [*BEHAVIOURS, *CONTROLS, "shuffle-01", "random-12", *(f"backtracking-{name}" for name in VARIANTS), "none"]
    told = {name: describe_direction(name, "backtracking") for name in names}
    assert all("from a file" not in words for words in told.values())
    assert "from a file" in describe_direction("mine", "backtracking")
    assert len({told[name] for name in CONTROLS}) == len(CONTROLS) and told["random-12"] == told["random"]
    assert set(ANNOTATORS) == set(get_args(get_type_hints(Annotator)["kind"]))
