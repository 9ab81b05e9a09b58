"""With the unit `span` one row is one annotated span, and every annotator labels those rows."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import StepMaker

from repurpose.data.files import TableError, read_provenance, read_table, write_table
from repurpose.data.schemas import ROLLOUTS
from repurpose.labels import spans
from repurpose.labels.labelling import annotate
from repurpose.labels.published.annotator import Report
from repurpose.labels.spans import cut_rollouts
from repurpose.rollouts.sentences import align
from repurpose.study.settings import Annotator, canonical_json

Row = dict[str, Any]
WARD = str(Path(__file__).parent / "published" / "ward.json")
CHAINS = {record["task_id"]: record["reasoning_chain"] for record in json.loads(Path(WARD).read_text())}


def rollout(prompt: str, text: str) -> Row:
    """A token for each word, with the space before it."""
    words = [len(word) for word in text.replace(" ", " \n").split("\n")] if text else []
    return {
        "prompt_id": prompt,
        "sample": 0,
        "split": "train",
        "category": "plums",
        "text": text,
        "token_ends": list(accumulate(words)),
    }


def units(*rollouts: Row) -> list[list[Row]]:
    return list(cut_rollouts(rollouts, WARD, Report()))


def test_a_span_is_one_unit_however_many_sentences_it_has() -> None:
    (rows,) = units(rollout("p", f"<think>\n{CHAINS['blank-lines']}</think> It is 7."))
    assert [row["text"] for row in rows] == [
        "Okay, I need to count the plums.",
        "There are 9 in the bowl.\n\n\nMia eats   2 of them, so 7 are left.",
    ]
    assert [(row["sentence"], row["labelled"], row["split"]) for row in rows] == [
        (0, True, "train"),
        (1, True, "train"),
    ]


def test_characters_and_tokens_are_the_spans() -> None:
    one = rollout("p", CHAINS["repeated"])
    (rows,) = units(one)
    assert len(rows) == 4  # the fifth is reworded too far
    for row in rows:
        assert one["text"][row["char_start"] : row["char_end"]] == row["text"] == row["text"].strip()
        tokens = align(spans.Span(row["char_start"], row["char_end"]), one["text"], one["token_ends"])
        assert (row["token_start"], row["token_end"]) == tokens
    starts = [row["token_start"] for row in rows]
    assert starts == sorted(set(starts)) and rows[1]["text"] == rows[3]["text"] == "Wait, that is off."


def test_each_unit_has_the_label_that_it_was_given() -> None:
    """Two labels on one span, and labels that no study knows, are statuses and no labels, as with sentences."""
    rollouts = [rollout(prompt, text) for prompt, text in CHAINS.items()]
    rows = [row for unit in units(*rollouts) for row in unit]
    texts = {(one["prompt_id"], 0): one["text"] for one in rollouts}
    found = annotate(Annotator("published", file=WARD), rows, texts, "study/x")
    labelled = {(row["prompt_id"], row["sentence"]): outcome for row, outcome in zip(rows, found.outcomes, strict=True)}
    assert [labelled["repeated", number].label for number in range(4)] == [
        *("deduction", "backtracking", "deduction", "uncertainty-estimation")
    ]
    assert [labelled["spurious", number].status for number in range(3)] == ["ok", "unknown-label", "ok"]
    assert [labelled["several", number].status for number in range(3)] == ["ok", "mixed", "ok"]
    assert labelled["tail", 1].label == "deduction" and ("tail", 2) not in labelled
    lexicon = annotate(Annotator("lexicon"), rows, texts, "study/x")
    assert len(lexicon.outcomes) == len(rows)  # others label the same


def test_a_rollout_that_is_cut_has_the_spans_in_front_of_the_cut() -> None:
    text, report = CHAINS["repeated"][:40], Report()
    (rows,) = cut_rollouts([rollout("p", text)], WARD, report)
    assert [row["text"] for row in rows] == ["So 9 minus 2 is 6.", "Wait, that is off.", "So"]
    assert report.behind == 1 and len(report.unmatched) == 1  # a reworded one may stand on either side


def test_rollouts_that_nobody_annotated_have_none() -> None:
    assert [len(rows) for rows in units(rollout("p", "Another."), rollout("q", CHAINS["tail"]))] == [0, 2]
    with pytest.raises(TableError, match="none of its chains is the text of one of 1 rollouts"):
        units(rollout("p", "Another."))


def run_step(monkeypatch: pytest.MonkeyPatch, make_step: StepMaker, folder: Path, *rollouts: Row, file: str) -> None:
    blank = {"answer": None, "model": "m", "engine": "e", "seed": 0, "prompt_token_ids": [0], "finish_reason": "stop"}
    shards = [str(folder / f"rollouts-{number}") for number in range(len(rollouts))]
    for path, one in zip(shards, rollouts, strict=True):
        write_table(path, [{**blank, "token_ids": [0] * len(one["token_ends"]), **one}], ROLLOUTS, {})
    annotators = {"ward": {"kind": "published", "file": file}, "lexicon": {"kind": "lexicon"}}
    labels = {"unit": "span", "annotator": "ward", "annotators": annotators}
    step = make_step("labels.spans", sections={"labels": labels, "selection": {"metric": "keyword_share"}})
    assert list(step.labels.annotators) == ["ward"]  # another annotator's settings replan no unit
    outputs = [str(folder / f"sentences-{number}") for number in range(len(rollouts))]
    arguments = ["--settings", canonical_json(step.values), "--rollouts", *shards, "--output", *outputs]
    monkeypatch.setattr("sys.argv", ["spans", *arguments])
    spans.main()


def test_the_command_writes_each_shard(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.json").write_text(json.dumps([*json.loads(Path(WARD).read_text()), {"a": 1}]))
    rollouts = rollout("p", CHAINS["tail"]), rollout("q", "Nobody's."), rollout("r", CHAINS["no-end"])
    run_step(monkeypatch, make_step, tmp_path, *rollouts, file=str(tmp_path / "labels.json"))
    tables = [read_table(tmp_path / f"sentences-{number}") for number in range(3)]
    assert [table["prompt_id"].to_list() for table in tables] == [["p"] * 2, [], ["r"] * 3]
    notes = read_provenance(tmp_path / "sentences-0")["published"]
    assert notes["chains"] == 2 and notes["exact"] == 5
    assert notes["left_out"] == [
        "record 7: has neither annotated_chain nor annotated_thinking nor annotated_response; its fields are a"
    ]
    said = capsys.readouterr().err
    assert "labels.json: records that cannot be read and are left out: 1\n" in said and said.endswith(
        "5 spans are the units\n"
    )


def test_no_span_at_all_is_one_line(tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {
        "problem": "?",
        "reasoning_chain": "So it is 7.",
        "annotated_chain": '["deduction"]No such words.["end-section"]',
    }
    other = {**record, "reasoning_chain": "Fine.", "annotated_chain": '["deduction"]Fine.["end-section"]'}
    (tmp_path / "labels.json").write_text(json.dumps([record, other]))
    with pytest.raises(SystemExit, match=r"^repurpose labels.spans: .*none of its spans stands in one of 1 rollouts$"):
        run_step(monkeypatch, make_step, tmp_path, rollout("p", "So it is 7."), file=str(tmp_path / "labels.json"))
