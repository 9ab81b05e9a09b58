"""Steered rollouts for Table C.1: which are chosen, how they are cut, and what the table makes of them."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from tests.tiny import StepMaker

from repurpose.data.schemas import STEERED_LABELS
from repurpose.labels.annotation import Outcome, account_of, by_rollout, label_rows
from repurpose.labels.steered_labels import choose_rollouts, cut_rollouts
from repurpose.study.settings import SettingsError

TEXT = "So it is 3. Wait, that cannot be right. </think> It is 4."


def rollout(prompt: str, direction: str, reader: str | None, multiple: float) -> dict[str, Any]:
    site = {"layer": 1, "window_start": -3} if reader else {"layer": None, "window_start": None}
    condition = {"sweep": "two_by_two", "target": "reasoning", "direction": direction, "reader": reader, **site}
    rest = {"kind": "x", "operation": "add", "multiple": multiple, "magnitude": multiple * 5.0}
    return {**condition, **rest, "prompt_id": prompt, "category": "sums", "sample": 0, "text": TEXT}


@pytest.fixture
def sweep() -> pl.DataFrame:
    conditions = [("none", None, 0.0), ("backtracking", "base", 0.5), ("backtracking", "base", 1.0)]
    conditions += [("backtracking", "reasoning", 1.0), ("deduction", "base", 1.0)]
    rows = [rollout(f"p{prompt}", *condition) for condition in conditions for prompt in range(4)]
    return pl.DataFrame(rows, infer_schema_length=None)


def test_every_magnitude_of_the_base_derived_vector_on_the_first_prompts(sweep: pl.DataFrame) -> None:
    chosen = choose_rollouts(sweep, "backtracking", 2)
    assert {row["prompt_id"] for row in chosen} == {"p0", "p1"}
    found = [(row["direction"], row["multiple"]) for row in chosen]
    assert sorted(set(found)) == [("backtracking", 0.5), ("backtracking", 1.0), ("none", 0.0)]
    assert len(found) == 6 and {row["reader"] for row in chosen} == {None, "base"}


def test_a_sweep_without_the_vector_is_refused(sweep: pl.DataFrame) -> None:
    with pytest.raises(SettingsError, match=r"labels\.steered_sweep: no rollout is steered with the base-derived"):
        choose_rollouts(sweep.filter(pl.col("direction") != "backtracking"), "backtracking", 2)


def test_rollouts_of_one_prompt_are_told_apart(sweep: pl.DataFrame) -> None:
    rows = cut_rollouts(choose_rollouts(sweep, "backtracking", 2))
    groups = by_rollout(rows)
    assert len(groups) == 6 and all(len(group) == 2 for _, group in groups)
    outcomes = [Outcome("deduction", "ok"), Outcome("backtracking", "ok")] * 6
    labelled = label_rows(rows, outcomes, "someone", {})
    assert set(labelled[0]) == set(STEERED_LABELS.names)
    wait = [row["label"] for row in labelled if row["text"].startswith("Wait")]
    assert wait == ["backtracking"] * 6


def test_steered_text_is_paid_from_the_account_of_the_rollouts(make_step: StepMaker) -> None:
    """So `max_cost` limits both together, and every run of the study."""
    model = {"kind": "llm", "llm": {"endpoint": {"model": "m"}}}
    labels = {"annotator": "m", "annotators": {"m": model}, "steered_sweep": "grid", "steered_prompts": 1}
    steps = [
        make_step(step, sections={"labels": labels}, annotator="m")
        for step in ("labels.labelling", "labels.steered_labels")
    ]
    assert [account_of(step) for step in steps] == ["small/m"] * 2
