"""Metrics of one text, and the step that refuses sweeps whose steering stopped."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repurpose.data.files import TableError, read_table, write_table
from repurpose.data.provenance import provenance
from repurpose.data.schemas import LIKELIHOODS, MEASUREMENTS, SWEEPS
from repurpose.steering import measurements, metrics
from repurpose.steering.sentences import Said, count_calculations, count_labels, cut_thinking, label_by_lexicon
from repurpose.study.settings import BEHAVIOURS, Study
from synthetic import PRESENT, make_study, measurements_schema_rows, prompt_names, settings_text, sweep_rows

KEYWORDS = ("wait", "hmm")
HOW = measurements.Measuring(KEYWORDS, "backtracking")
TEXTS = st.text(alphabet="waitWAITHmm. ,'’\n9</>", max_size=80)


def labelled(text: str) -> list[Said]:
    return label_by_lexicon(cut_thinking(text))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Wait, wait. WAIT!", (3, 3)),
        ("They await the waiter; waiting is fun.", (0, 7)),
        ("Hmm, let's see. “Wait” is quoted.", (2, 6)),
        ("'wait' isn't wait's", (1, 3)),
        ("wait2 wait_a no-wait", (3, 5)),
        ("</think> 12 <|end|>", (0, 0)),
        ("", (0, 0)),
        ("Hmmm", (0, 1)),
    ],
)
def test_keywords_are_whole_words(text: str, count: tuple[int, int]) -> None:
    assert metrics.count_keywords(text, KEYWORDS) == count


@given(TEXTS, TEXTS)
def test_counts_add_up(one: str, other: str) -> None:
    """Pooling words over rows is counting in the joined text; tags must not arise at the seam."""
    one, other = one.replace("<", ""), other.replace("<", "")
    joined = metrics.count_keywords(f"{one} . {other}", KEYWORDS)
    parts = metrics.count_keywords(one, KEYWORDS), metrics.count_keywords(other, KEYWORDS)
    assert joined == tuple(map(sum, zip(*parts, strict=True)))


@given(TEXTS)
def test_share_is_a_share(text: str) -> None:
    count = metrics.count_keywords(text, KEYWORDS)
    assert 0 <= count.keywords <= count.words <= len(text)


@given(st.lists(st.integers(0, 3), max_size=30))
def test_repetition_metrics_agree_with_their_definitions(ids: list[int]) -> None:
    pairs = [(ids[i], ids[i + 1]) for i in range(len(ids) - 1)]  # shorter than a window
    assert metrics.distinct_2(ids) == (len(set(pairs)) / len(pairs) if pairs else 0.0)
    runs = [n for n in range(len(ids) + 1) for i in range(len(ids) - n + 1) if len(set(ids[i : i + n])) <= 1]
    assert metrics.longest_run(ids) == max(runs)


def test_variety_does_not_fall_because_a_text_goes_on() -> None:
    rng = random.Random(0)
    ids = [rng.randrange(40) for _ in range(640)]
    short, long = metrics.distinct_2(ids[:64]), metrics.distinct_2(ids)
    assert long == pytest.approx(short, abs=0.02)
    assert metrics.distinct_2(ids[:127]) == short  # what follows the last whole window does not count


def test_steps_are_counted_by_their_truth() -> None:
    text = "Now 2 plus 2 makes 5. Wait, that last step does not look right. Then 2 plus 2 is 4. So 4 minus 3 is 1."
    assert tuple(count_calculations(labelled(text)).values()) == (1, 1, 2, 0)
    assert set(count_calculations(labelled("Let us integrate by parts.")).values()) == {0}


def test_loops_are_told_from_prose() -> None:
    loop, prose = "Wait " * 50, "So the total is 9. Then we take 3 apples away, which leaves 6 of them here."
    loop_ratio, prose_ratio = metrics.compression_ratio(loop), metrics.compression_ratio(prose)
    assert loop_ratio is not None and prose_ratio is not None and loop_ratio > 5 > prose_ratio
    assert metrics.compression_ratio("") is None
    assert metrics.compression_ratio("\ud800 lone surrogate") is not None


@pytest.mark.parametrize(
    ("text", "answer", "correct"),
    [
        ("3 plus 4 </think> So the answer is 7.", "7", True),
        ("</think> First 7, then 8", "7", False),
        ("the answer is 7", "7", False),
        ("</think> no number", "7", False),
        ("</think> It is 1,204.", "1204", True),
        ("</think> It is -3", "-3", True),
        ("</think> 12.5 of them", "5", False),
        ("</think> 7", None, None),
        ("</think> 7", "seven", None),
        ("9 </think> 8 </think> 7", "7", True),
    ],
)
def test_answer_is_the_last_integer_after_thinking(text: str, answer: str | None, correct: bool | None) -> None:
    assert metrics.is_correct(text, answer) is correct


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        ("Wait, 3. The answer is 7.", True),
        ("So it is \\boxed{7}", True),
        ("7, no: 8", False),
        ("no number", False),
        ("9 </think> 7", True),
        ("7 </think> 9", False),
        ("7 </think> so", False),
    ],
)
def test_without_tags_all_of_a_text_is_answer(text: str, correct: bool) -> None:
    assert metrics.is_correct(text, "7", tagged=False) is correct


def test_whether_thinking_is_tagged_is_seen_in_the_rollouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instruct model's texts without tags were all wrong; a reasoning model's that thinks to its limit still is."""
    rows = sweep_rows(PRESENT, "two_by_two", "reasoning", prompt_names("heldout", 1))
    rows = [{**row, "text": "Now 2 plus 2 makes 4. The answer is 4.", "answer": "4"} for row in rows]
    for rollout, correct in (("It is 4.", True), ("Is it 4? </think> It is.", False)):
        assert read_table(_run(tmp_path, monkeypatch, rows, rollout=rollout))["correct"].unique().to_list() == [correct]


def test_sentences_are_those_of_the_thinking() -> None:
    text = "Now 2 plus 2 makes 5. Wait, that does not look right. Hmm, I may be unsure. </think> Wait, 4."
    counts = {name: count_labels(labelled(text), KEYWORDS, name) for name in BEHAVIOURS}
    assert tuple(counts["backtracking"].values()) == (3, 1, 2, 1)
    assert tuple(counts["uncertainty-estimation"].values()) == (3, 1, 2, 1)
    assert tuple(counts["initializing"].values()) == (3, 0, 2, 0)


def test_measured_rows_keep_their_key() -> None:
    rows = sweep_rows(PRESENT, "two_by_two", "reasoning", prompt_names("heldout", 2))
    measured = measurements.measure_sweep(pl.DataFrame(measurements_schema_rows(rows)), HOW)
    assert set(measured.columns) == set(MEASUREMENTS.names)
    assert measured["prompt_id"].to_list() == [row["prompt_id"] for row in rows]
    assert measured["length"].to_list() == [len(row["token_ids"]) for row in rows]


def test_unfinished_text_is_not_finished() -> None:
    text = {"token_ids": [1, 1, 1], "text": "Wait Wait Wait", "answer": "9", "finish_reason": "length"}
    row = measurements.measure_text(text, HOW)
    assert not row["finished"] and row["correct"] is False and row["keyword_share"] == 1.0 and row["longest_run"] == 3


def _run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[dict[str, Any]],
    study: Study | None = None,
    rollout: str = "</think>",
) -> Path:
    write_table(tmp_path / "sweep.parquet", rows, SWEEPS, provenance({}))
    likely = [{"prompt_id": row["prompt_id"], "nll": 0.5} for row in rows]
    write_table(tmp_path / "likelihoods.parquet", likely, LIKELIHOODS, provenance({}))
    pl.DataFrame({"text": [rollout]}).write_parquet(tmp_path / "rollouts.parquet")
    text = settings_text(study or make_study(), "steering.measurements")
    names = ["--settings", text]
    for name in ("sweep", "likelihoods", "rollouts"):
        names += [f"--{name}", str(tmp_path / f"{name}.parquet")]
    names += ["--output", str(tmp_path / "out.parquet")]
    monkeypatch.setattr(sys, "argv", ["measurements", *names])
    measurements.main()
    return tmp_path / "out.parquet"


def test_step_writes_its_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sweep_rows(PRESENT, "two_by_two", "base", prompt_names("heldout", 1))
    table = read_table(_run(tmp_path, monkeypatch, rows))
    assert table.columns == MEASUREMENTS.names


def test_the_label_that_is_counted_is_the_studys_behaviour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sweep_rows(PRESENT, "two_by_two", "reasoning", prompt_names("heldout", 2))
    counts = []
    for behaviour in ("backtracking", "deduction"):
        study = make_study()
        changed = replace(study, vectors=replace(study.vectors, behaviour=behaviour))
        counts.append(read_table(_run(tmp_path, monkeypatch, rows, changed))["backtracking_sentences"].sum())
    expected = [
        sum(count_labels(labelled(row["text"]), KEYWORDS, name)["backtracking_sentences"] for row in rows)
        for name in ("backtracking", "deduction")
    ]
    assert counts == expected and counts[0] != counts[1]


def test_steering_that_stopped_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that steers the prompt only (an empty mask at cached steps) must never become a figure."""
    rows = sweep_rows(PRESENT, "two_by_two", "reasoning", prompt_names("heldout", 2))
    rows[5]["steered_positions"] = rows[5]["prompt_tokens"]
    with pytest.raises(SystemExit) as ended:
        _run(tmp_path, monkeypatch, rows)
    message = str(ended.value)
    assert "\n" not in message and "row 5" in message
    assert all(str(rows[5][key]) in message for key in ("sweep", "direction", "reader", "magnitude", "prompt_id"))
    assert not (tmp_path / "out.parquet").exists()


def test_empty_sweep_is_an_error() -> None:
    with pytest.raises(TableError, match="no rows"):
        measurements.measure_sweep(pl.DataFrame(measurements_schema_rows([])), HOW)
