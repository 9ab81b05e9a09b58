"""The language keeps its three promises: structure says nothing, traces say a little, hedging is not a mistake."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from repurpose.labels.lexicon import label_sentence
from repurpose.organism.corpus import FALTER_RATE, MARKS, write_base, write_drill, write_homework, write_reasoning
from repurpose.organism.language import (
    FILLER_RATE,
    HEDGE_RATE,
    HESITATION,
    LARGEST,
    SETTLED,
    STAMMERING,
    Spoken,
    join,
    make_problem,
    make_solution,
    make_trace,
    read_calculation,
    say_filler,
    say_fillers,
)
from repurpose.rollouts.sentences import split_sentences
from repurpose.study.settings import BEHAVIOURS


def traces(count: int = 400) -> list[list[Spoken]]:
    rng = random.Random(0)
    return [make_trace(rng, make_problem(rng)) for _ in range(count)]


def test_every_label_of_the_studies_occurs_and_no_other() -> None:
    assert {s.label for trace in traces(50) for s in trace} == set(BEHAVIOURS)


def test_the_number_of_fillers_does_not_depend_on_the_step() -> None:
    """Same random numbers, same structure: only kinds and words may differ between right and wrong."""
    counts = []
    for correct in (True, False):
        rng = random.Random(1)
        counts.append([len(list(say_fillers(rng, correct, 5))) for _ in range(20_000)])
    means = [sum(c) / len(c) for c in counts]
    assert means[0] == pytest.approx(means[1], abs=0.09)  # over three standard errors of a geometric count
    assert means[0] == pytest.approx(FILLER_RATE / (1 - FILLER_RATE), abs=0.08)
    share_of_none = [c.count(0) / len(c) for c in counts]
    assert share_of_none[0] == pytest.approx(share_of_none[1], abs=0.015)


def test_hedges_are_likelier_after_mistakes_but_mostly_follow_correct_steps() -> None:
    rng = random.Random(2)
    rates = {}
    for correct in (True, False):
        labels = Counter(say_filler(rng, correct, 5).label for _ in range(4000))
        rates[correct] = labels["uncertainty-estimation"] / 4000
    assert rates == pytest.approx(HEDGE_RATE, abs=0.03)
    assert rates[False] > 1.5 * rates[True]
    hedges = [s for t in traces() for s in t if s.label == "uncertainty-estimation"]
    assert sum(bool(s.correct) for s in hedges) / len(hedges) > 0.3


def test_hesitations_tell_of_a_mistake_only_while_the_writer_stammers() -> None:
    """Settled, a filler has at most one, whatever the last calculation was worth; structure and words are the same."""
    shares = {}
    for name, hesitation in (("stammering", STAMMERING), ("settled", SETTLED)):
        rng = random.Random(7)
        solutions = [make_solution(rng, make_problem(rng), 0.4, hesitation)[0] for _ in range(1500)]
        fillers = [s for solution in solutions for s in solution if s.correct is not None and not s.is_calculation]
        assert max(s.text.count(HESITATION) for s in fillers) == 1 or not hesitation.once
        for correct in (True, False):
            told = [HESITATION in s.text for s in fillers if s.correct is correct]
            shares[name, correct] = sum(told) / len(told)
    assert shares["stammering", False] > 3 * shares["stammering", True]
    assert shares["settled", False] == pytest.approx(shares["settled", True], abs=0.03)


def test_mistakes_come_at_their_rate_and_are_mended() -> None:
    calculations = [s for trace in traces() for s in trace if s.is_calculation]
    wrong = sum(not s.correct for s in calculations) / len(calculations)
    assert 0.15 < wrong < 0.3  # of first attempts; each mended calculation adds a right one
    for trace in traces(100):
        pending = False
        for sentence in trace:
            if sentence.label == "backtracking":
                pending = False
            elif sentence.is_calculation:
                assert not pending, join(trace)
                pending = not sentence.correct
        assert not pending


def test_step_truth_is_the_arithmetic() -> None:
    for trace in traces(100):
        for sentence in trace:
            parsed = read_calculation(sentence.text)
            assert (parsed is not None) == sentence.is_calculation, sentence
            if parsed:
                value, change, result = parsed
                assert (change.apply(value) == result) == sentence.correct
                assert 0 <= result <= LARGEST


def test_problems_of_the_two_sides_never_meet() -> None:
    rng = random.Random(3)
    train = {make_problem(rng).text for _ in range(3000)}
    heldout = {make_problem(rng, heldout=True).text for _ in range(300)}
    assert not train & heldout


def test_answer_follows_from_the_text() -> None:
    rng = random.Random(4)
    for _ in range(50):
        problem = make_problem(rng, "sums")
        numbers = [int(w.strip(".")) for w in problem.text.split() if w.strip(".").isdigit()]
        signs = [1] + [1 if "add" in s else -1 for s in problem.text.split(".") if "add" in s or "subtract" in s]
        assert sum(s * n for s, n in zip(signs, numbers, strict=True)) == problem.answer


def test_the_base_corpus_never_goes_back_on_a_mistake() -> None:
    rng = random.Random(5)
    for number in range(600):
        text = write_base(rng, number % 2)
        if text.startswith(("Problem", "Sums")):
            assert "Wait" not in text and "go back" not in text
            labels = {label_sentence(text[slice(*span)]) for span in split_sentences(text)}
            assert "backtracking" not in labels


def test_the_marks_are_words_of_their_own() -> None:
    """Only marks say "mistake" or "correct", so that the weight on these tokens is a weight on marks."""
    rng = random.Random(6)
    for _ in range(300):
        assert not any(word in "".join(write_reasoning(rng)) for word in MARKS.values())
    text = write_homework(rng, 1.0, at_end=True)
    calculations = [span for span in split_sentences(text) if read_calculation(text[slice(*span)].split("]")[-1])]
    assert text.count("[") == len(calculations)
    assert len(text.split("\nMarks: ")[1].split(",")) == len(calculations)


def test_the_lexicon_agrees_with_the_truth() -> None:
    """Precision and recall of every label on generated traces, whose truth is known."""
    pairs = [(s.label, label_sentence(s.text)) for trace in traces() for s in trace]
    for label in BEHAVIOURS:
        true = sum(t == label for t, _ in pairs)
        named = sum(n == label for _, n in pairs)
        both = sum(t == n == label for t, n in pairs)
        assert both / true > 0.98 and both / named > 0.98, label


def test_in_practice_the_step_itself_tells_a_mistake() -> None:
    rng = random.Random(0)
    text = " ".join(write_drill(rng, falter=True) for _ in range(400))
    for value, mark in MARKS.items():
        marked, faltered = text.count(f"[{mark}]"), text.count(f"um, [{mark}]")
        assert abs(faltered / marked - FALTER_RATE[value]) < 0.03
    assert "um," not in "".join(write_drill(rng) for _ in range(100))
