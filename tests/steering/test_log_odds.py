"""Log-odds are what probabilities say they are, read where sentences and marks begin."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from tests.tiny import SELECTED
from transformers import PreTrainedTokenizerFast

from organism_training.tokenizer import train_tokenizer
from repurpose.directions.unit_directions import Directions
from repurpose.model.teacher_forcing import Read
from repurpose.model.tokens import keyword_ids
from repurpose.steering.conditions import make_steer
from repurpose.steering.log_odds import (
    Passage,
    Reading,
    homework_passages,
    log_odds,
    make_rows,
    mark_ids,
    rollout_passages,
    treatments,
)
from repurpose.study.conditions import UNSTEERED, Condition
from repurpose.study.settings import SettingsError


def test_log_odds_of_known_probabilities() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log() + 3.0
    assert float(log_odds(logits, [1])) == pytest.approx(math.log(0.25 / 0.75))
    assert float(log_odds(logits, [0, 1])) == pytest.approx(math.log(0.75 / 0.25))
    assert float(log_odds(logits, [2], [0])) == pytest.approx(math.log(0.125 / 0.5))


def test_keyword_tokens_are_whole_words(tokenizer: PreTrainedTokenizerFast) -> None:
    assert {tokenizer.decode([i]).strip() for i in keyword_ids(tokenizer, ["wait", "hmm"])} == {"Wait", "Hmm"}
    with pytest.raises(SettingsError, match=r"^keywords: no token of the model is one of await; give one"):
        keyword_ids(tokenizer, ["await"])


def test_passages_are_read_before_sentences_of_held_out_rollouts() -> None:
    common = {"sample": 0, "category": "c", "prompt_token_ids": [1, 2, 3], "token_ids": [4, 5, 6, 7, 8]}
    rollouts = pl.DataFrame([{"prompt_id": p, "split": s, **common} for p, s in (("a", "train"), ("b", "heldout"))])
    spans = [("b", 0, "ok"), ("b", 2, "ok"), ("b", 4, "skipped"), ("a", 2, "ok")]
    sentences = pl.DataFrame([{"prompt_id": p, "sample": 0, "token_start": t, "status": s} for p, t, s in spans])
    assert list(rollout_passages(rollouts, sentences, 5)) == [Passage("b", [1, 2, 3, 4, 5, 6, 7, 8], [4])]


def test_passages_are_dealt_over_categories_and_samples() -> None:
    """The first few by name would all be of one category."""
    names = [("a0", "sums"), ("a1", "sums"), ("a2", "sums"), ("b0", "steps")]
    common = {"split": "heldout", "prompt_token_ids": [1], "token_ids": [4, 5, 6]}
    rollouts = pl.DataFrame([{"prompt_id": p, "category": c, "sample": s, **common} for p, c in names for s in (0, 1)])
    sentences = rollouts.select("prompt_id", "sample", token_start=pl.lit(1), status=pl.lit("ok"))
    found = [(p.prompt_id, p.sample) for p in rollout_passages(rollouts, sentences, 4)]
    assert found == [("b0", 0), ("a0", 0), ("b0", 1), ("a0", 1)]


def test_homework_is_read_before_its_marks() -> None:
    tokenizer = train_tokenizer(seed=0, documents=300)
    passages = list(homework_passages(tokenizer, seed=0))
    assert passages == list(homework_passages(tokenizer, seed=0))
    for passage in passages:
        assert all(tokenizer.decode([passage.token_ids[p]]) == " [" for p in passage.positions)
        assert {passage.token_ids[p + 1] for p in passage.positions} <= set(mark_ids(tokenizer))


def test_the_plan_holds_every_control_at_the_same_norm() -> None:
    unit = np.eye(4, dtype=np.float32)[0]
    names = ["backtracking", "deduction", "mean", "same-offset", "shuffle-00", "random-00", "random-01"]
    units = {(name, reader, 2, -6): unit for name in names for reader in ("base", "reasoning")}
    directions, site = Directions(units, {("base", 2): 2.0}), replace(SELECTED, layer=2, window_start=-6, magnitude=3.0)
    plan = treatments(directions, "backtracking", site, "base")
    assert [make_steer(one, directions) is None for one in plan] == [True] + [False] * (len(plan) - 1)
    assert {t.direction for t in plan} == {"none", *names}
    strongest = [t for t in plan if t.multiple == 1.0]
    steers = [make_steer(one, directions) for one in strongest]
    assert all(steer is not None and steer.magnitude == 3.0 for steer in steers)
    assert {t.dose for t in strongest} == {1.5}
    assert sum(t.direction == "backtracking" for t in plan) == 6


def test_changes_are_against_the_same_passage() -> None:
    def measured(condition: Condition, name: str, value: float) -> Reading:
        return Reading(condition, Passage(name, [1], [0]), Read(torch.zeros(0), 0, 0), value)

    steered = Condition("backtracking", "behaviour", "base", 2, -6, "add", "all", 3.0, 1.5, 1.0)
    found = [measured(UNSTEERED, "a", 1.0), measured(UNSTEERED, "b", 2.0), measured(steered, "b", 2.5)]
    rows = list(make_rows(found, {"target": "base"}))
    assert [row["change"] for row in rows] == [0.0, 0.0, 0.5]
    assert (rows[2]["dose"], rows[2]["positions"]) == (1.5, 1)
