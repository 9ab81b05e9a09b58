"""Records of published files: what they say of a problem and an answer to it, and which are left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from repurpose.study.prompt_counts import count_prompts
from repurpose.study.published import PublishedError, Task, is_published, read_prompts, read_task
from repurpose.study.settings import SettingsError

WARD = {"task_id": "t1", "problem": "How many?", "reasoning_chain": "Okay. So 7.", "annotated_chain": None}
VENHOFF = {
    "original_message": {"role": "user", "content": "How many?"},
    "full_response": "<think>\nOkay. So 7.\n</think>\n\nIt is 7.",
    "thinking_process": "Okay. So 7.",
    "annotated_thinking": None,
}
ASKED = {"role": "user", "content": "How many?"}


def without(record: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in keys}


def test_a_record_of_ward() -> None:
    assert read_task(WARD) == Task("t1", ASKED, "published", None, "Okay. So 7.", "")
    known = {**WARD, "task_id": 12, "category": "plums", "answer": 7}
    assert read_task(known) == Task("12", ASKED, "plums", "7", "Okay. So 7.", "")
    assert read_task({**WARD, "answer": True, "category": 3})[2:4] == ("published", None)


@pytest.mark.parametrize(
    ("record", "thinking", "rest"),
    [
        (VENHOFF, "\nOkay. So 7.\n", "</think>\n\nIt is 7."),
        (without(VENHOFF, "thinking_process"), "\nOkay. So 7.\n", "</think>\n\nIt is 7."),
        (without(VENHOFF, "full_response"), "Okay. So 7.", ""),
        ({**VENHOFF, "full_response": "<think>\nOkay. So 7."}, "\nOkay. So 7.", ""),
        ({**VENHOFF, "full_response": "Okay. So 7.\n</think>It."}, "Okay. So 7.", "</think>It."),
        ({**VENHOFF, "full_response": "<think>Another.</think>It."}, "Okay. So 7.", "</think>It."),
        ({**VENHOFF, "full_response": None}, "Okay. So 7.", ""),
    ],
)
def test_a_record_of_venhoff(record: dict[str, Any], thinking: str, rest: str) -> None:
    """The whole response has the space around the thinking, and what comes after it."""
    assert read_task(record) == Task("", ASKED, "published", None, thinking, rest)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (without(WARD, "problem"), "field problem is missing"),
        ({**WARD, "problem": 7}, "field problem is a JSON number, not a text"),
        ({**WARD, "problem": " "}, "the problem is empty"),
        ({**WARD, "reasoning_chain": "\n"}, "the chain is empty"),
        ({**VENHOFF, "original_message": "How many?"}, "field original_message is a JSON text; an object with role"),
        (without(VENHOFF, "original_message"), "field original_message is missing; an object"),
        ({**VENHOFF, "original_message": {"role": "user"}}, "field content is missing"),
        (without(VENHOFF, "thinking_process", "full_response"), "field thinking_process is missing, and there is no"),
        (
            {"text": "So 7."},
            "has neither annotated_chain nor annotated_thinking nor annotated_response; its fields are",
        ),
    ],
)
def test_what_is_wrong_with_a_record_is_said(record: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as problem:
        read_task(record)
    assert str(problem.value).startswith(said)


def write(folder: Path, *records: Any) -> Path:
    (folder / "chains.json").write_text(json.dumps(records))
    return folder / "chains.json"


def test_what_several_records_put_is_one_prompt(tmp_path: Path) -> None:
    """No split may part them, and each of them is an answer; names are the records' own where they tell apart."""
    other = {**WARD, "problem": "And now?"}
    records = [WARD, {**WARD, "task_id": "t9"}, other, without({**other, "problem": "Why?"}, "task_id"), VENHOFF]
    tasks, left_out = read_prompts(write(tmp_path, *records, "no record", {**WARD, "problem": None}))
    assert {name: [task.message["content"] for task in found] for name, found in tasks.items()} == {
        "t1": ["How many?"] * 3,
        "t1-3": ["And now?"],
        "record-0004": ["Why?"],
    }
    assert left_out == [
        "record 6: is a JSON text, not an object",
        "record 7 (task_id 't1'): field problem is a JSON null, not a text",
    ]
    assert count_prompts("chains.json", str(tmp_path / "chains.json")) == 3


def test_a_file_of_nothing_else_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path, without(WARD, "problem"), 3)
    said = "chains.json: none of 2 records can be read; record 1 (task_id 't1'): field problem is missing"
    with pytest.raises(PublishedError) as problem:
        read_prompts(file)
    assert str(problem.value) == said
    with pytest.raises(SettingsError) as named:
        count_prompts("chains.json", str(file))
    assert str(named.value) == f"prompts.source: {said}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"[]", True), (b"\xef\xbb\xbf\n [1]", True), (b'{"category": "a"}\n[]', False), (b"", False)],
)
def test_a_list_is_told_from_lines(tmp_path: Path, content: bytes, expected: bool) -> None:
    (tmp_path / "file").write_bytes(content)
    assert is_published(tmp_path / "file") == expected


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "chains.json").write_text(json.dumps([{**WARD, "reasoning_chain": "So \ud800.", "answer": "\udc00"}]))
    (task,) = read_prompts(tmp_path / "chains.json").tasks["t1"]
    assert (task.thinking, task.answer) == ("So \ufffd.", "\ufffd")
