"""Labels: every sentence once, in order, and nothing invalid ever becomes a label."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import StepMaker, from_source

from repurpose.data.files import TableError, read_provenance, read_table, write_table
from repurpose.data.schemas import SENTENCES
from repurpose.labels.annotation import Outcome, by_rollout, label_rows
from repurpose.labels.labelling import annotate, main
from repurpose.rollouts.sentences import split_sentences
from repurpose.study.settings import Annotator, canonical_json


def sentence(number: int, text: str, labelled: bool = True, prompt: str = "p") -> dict[str, Any]:
    offsets = {"char_start": number, "char_end": number + 1, "token_start": number, "token_end": number + 1}
    row = {"prompt_id": prompt, "sample": 0, "split": "train", "sentence": number, "text": text}
    return {**row, **offsets, "labelled": labelled}


ROWS = [sentence(0, "<think>", labelled=False), sentence(1, "That cannot be right."), sentence(2, "So it is 3.")]


def test_outcomes_go_to_the_sentences_that_were_asked_for() -> None:
    rows = label_rows(ROWS, [Outcome("backtracking", "ok"), Outcome(None, "refused", "No.")], "someone", {})
    assert [row["label"] for row in rows] == [None, "backtracking", None]
    assert [row["status"] for row in rows] == ["skipped", "ok", "refused"]
    assert [row["reply"] for row in rows] == [None, None, "No."]
    assert [row["sentence"] for row in rows] == [0, 1, 2]
    assert {row["annotator"] for row in rows} == {"someone"}


@pytest.mark.parametrize("count", [1, 3])
def test_a_lost_outcome_is_an_error(count: int) -> None:
    with pytest.raises(ValueError, match="for 2 sentences"):
        label_rows(ROWS, [Outcome("deduction", "ok")] * count, "someone", {})


def test_a_mapping_renames_labels_alone() -> None:
    outcomes = [Outcome("example-testing", "ok"), Outcome(None, "missing")]
    rows = label_rows(ROWS, outcomes, "someone", {"example-testing": "deduction"})
    assert [row["label"] for row in rows] == [None, "deduction", None]


def test_rollouts_come_one_by_one() -> None:
    rows = [*ROWS, sentence(0, "Other.", prompt="q")]
    assert [(key, len(group)) for key, group in by_rollout(rows)] == [(("p", 0), 2), (("q", 0), 1)]


def test_the_command_writes_each_shard(tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, targets = ([str(tmp_path / f"{kind}{n}.parquet") for n in range(2)] for kind in ("s", "l"))
    for number, path in enumerate(sources):
        write_table(path, ROWS[number:], SENTENCES, {})
    settings = canonical_json(make_step("labels.labelling", annotator="lexicon").values)
    arguments = ["labels", "--settings", settings, "--sentences", *sources, "--output", *targets]
    monkeypatch.setattr("sys.argv", arguments)
    main()
    tables = [read_table(path) for path in targets]
    assert [table["label"].to_list() for table in tables] == [
        [None, "backtracking", "deduction"],
        ["backtracking", "deduction"],
    ]
    assert read_provenance(targets[0])["statuses"] == {"ok": 2, "skipped": 1}


@pytest.mark.parametrize(
    ("shard", "behaviour", "said"),
    [
        (0, "backtracking", ""),
        (2, "backtracking", "none of 1 labelled training sentences is backtracking (1 deduction); take another"),
        (3, "backtracking", "none of 0 labelled training sentences is backtracking (there is none); take another"),
        (0, "example-testing", "is example-testing (1 backtracking, 1 deduction); take another annotator"),
    ],
)
def test_labels_that_leave_nothing_to_study_are_told_at_once(
    tmp_path: Path,
    make_step: StepMaker,
    monkeypatch: pytest.MonkeyPatch,
    shard: int,
    behaviour: str,
    said: str,
) -> None:
    """Before activations are read, and whatever held-out sentences bear the behaviour."""
    write_table(tmp_path / "s", [*ROWS[shard:], {**ROWS[1], "split": "heldout"}], SENTENCES, {})
    settings = canonical_json(make_step("labels.labelling", annotator="lexicon").values)
    arguments = ["labels", "--settings", settings, "--behaviour", behaviour, "--sentences", str(tmp_path / "s")]
    monkeypatch.setattr("sys.argv", [*arguments, "--output", str(tmp_path / "l")])
    if said:
        with pytest.raises(SystemExit, match=re.escape(said)):
            main()
    else:
        main()
    assert (tmp_path / "l").exists() == (not said)


LEXICON = """
from repurpose.labels.labelling import annotate
from repurpose.study.settings import Annotator
annotate(Annotator("lexicon"), [{"text": "So.", "labelled": True}], {}, "study/x")
"""
CODE = {
    "lexicon": LEXICON,
    "published": "import repurpose.labels.labelling, repurpose.labels.published.annotator",
    "llm": "import repurpose.labels.labelling, repurpose.labels.llm.annotator",
}


@pytest.mark.parametrize("kind", CODE)
def test_no_kind_of_annotator_needs_the_code_of_another(kind: str) -> None:
    code = f"{CODE[kind]}\nimport sys\nprint(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, env=from_source()).stdout.split()
    parts = {name.split(".")[2] for name in loaded if name.startswith("repurpose.labels.")}
    assert parts == {"labelling", "annotation", kind}


CHAIN = "So it is 3. That cannot be right. The end is near."
ANNOTATED = '["deduction"]So it is 3.["end-section"]["backtracking"]That cannot be right.["end-section"]'


@pytest.fixture
def published_file(tmp_path: Path) -> str:
    record = {"task_id": "1", "problem": "What is it?", "reasoning_chain": CHAIN, "annotated_chain": ANNOTATED}
    path = tmp_path / "published.json"
    path.write_text(json.dumps([record]))
    return str(path)


def chain_rows(prompt: str) -> list[dict[str, Any]]:
    return [
        {**sentence(number, CHAIN[slice(*span)], prompt=prompt), "char_start": span.start, "char_end": span.end}
        for number, span in enumerate(split_sentences(CHAIN))
    ]


def test_published_labels_come_to_the_rollout_that_they_are_of(published_file: str) -> None:
    rows = [*chain_rows("p"), *chain_rows("q")]
    texts = {("p", 0): f"{CHAIN}</think>", ("q", 0): "Another text."}
    found = annotate(Annotator("published", file=published_file), rows, texts, "study/x")
    assert [outcome.label for outcome in found.outcomes[:3]] == ["deduction", "backtracking", None]
    assert [outcome.status for outcome in found.outcomes] == ["ok", "ok", "unmatched", *["no-chain"] * 3]
    assert found.notes["published"]["sections"] == found.notes["published"]["exact"] == 2


def test_published_labels_of_other_rollouts_are_refused(published_file: str) -> None:
    with pytest.raises(TableError, match="none of its chains is the text of one of 1 rollouts"):
        annotate(Annotator("published", file=published_file), chain_rows("p"), {("p", 0): "Another text."}, "study/x")
