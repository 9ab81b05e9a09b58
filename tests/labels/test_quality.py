"""The lexicon is held to what it reaches on the languages of our own pairs."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from tests.tiny import from_source

from repurpose.labels import lexicon
from repurpose.labels.quality import count_ambiguous, make_sentences, report_lexicon, score_labels
from repurpose.study.settings import BEHAVIOURS

FLOORS = {"organism": 0.99, "word-problems": 0.97}
"""Least F1 of each label in each language."""


def test_scores_worked_out_by_hand() -> None:
    truth = ["backtracking", "backtracking", "deduction", "deduction", None]
    named = ["backtracking", "deduction", "deduction", "backtracking", "backtracking"]
    rows = {row.label: row for row in score_labels(truth, named)}
    assert rows["backtracking"][1:] == pytest.approx((2, 1 / 3, 1 / 2, 2 / 5))
    assert rows["deduction"][1:] == pytest.approx((2, 1 / 2, 1 / 2, 1 / 2))
    assert rows["initializing"].support == 0 and math.isnan(rows["initializing"].f1)
    assert tuple(rows) == BEHAVIOURS
    with pytest.raises(ValueError, match="shorter"):
        score_labels(truth, named[:2])


@pytest.mark.parametrize("language", sorted(FLOORS))
@pytest.mark.parametrize("seed", [0, 1])
def test_the_lexicon_reaches_its_floor(seed: int, language: str) -> None:
    sentences = make_sentences(200, seed, language)
    rows = score_labels([s.label for s in sentences], [lexicon.label_sentence(s.text) for s in sentences])
    assert all(row.support > 50 for row in rows)
    assert {row.label: row.f1 for row in rows if row.f1 < FLOORS[language]} == {}


def test_the_first_of_several_patterns_decides() -> None:
    sentences = make_sentences(100, 0)
    for labels in count_ambiguous(sentences):
        assert len(set(labels)) == len(labels) > 1
    for sentence in sentences:
        matched = lexicon.matching_labels(sentence.text)
        assert lexicon.label_sentence(sentence.text) == (matched[0] if matched else lexicon.FALLBACK)


def test_other_seeds_make_other_traces() -> None:
    assert make_sentences(5, 0) == make_sentences(5, 0) != make_sentences(5, 1)


def test_the_command_prints_the_table() -> None:
    command = [sys.executable, "-m", "repurpose.labels.quality", "--traces", "20", "--seed", "3"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=from_source()).stdout
    assert printed.splitlines() == report_lexicon(make_sentences(20, 3))
    assert [line.split()[0] for line in printed.splitlines()[1:7]] == list(BEHAVIOURS)
    refused = subprocess.run([*command[:-3], "0"], capture_output=True, text=True, env=from_source())
    assert refused.returncode == 2 and "'0' is not a number of 1 or more" in refused.stderr
