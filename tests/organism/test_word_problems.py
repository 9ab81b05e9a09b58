"""Word problems and traces over them: right answers, truth beside every sentence, structure that gives nothing away."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from repurpose.organism.equations import Account, Equation, apply, read_equation
from repurpose.organism.word_problems import HELDOUT_SCENES, LARGEST, SCENES, TRAINING_SCENES, Problem, make_problem
from repurpose.organism.word_traces import BLIND, USUAL, Habits, Said, join, make_trace, slipped_steps
from repurpose.rollouts.sentences import split_sentences
from repurpose.steering.sentences import cut_thinking, label_by_lexicon, read_calculations


def problems(count: int, heldout: bool = False) -> list[Problem]:
    rng, kinds = random.Random(5), sorted(SCENES)
    return [make_problem(rng, kinds[index % len(kinds)], heldout) for index in range(count)]


def traces(count: int, wrong: float = 0.4, habits: Habits = USUAL) -> list[list[Said]]:
    rng, found = random.Random(6), []
    for problem in problems(count):
        found.append(make_trace(rng, problem, slipped_steps(rng, problem, wrong), habits))
    return found


def test_a_problem_tells_its_numbers_and_nothing_else() -> None:
    for problem in problems(300):
        told = [
            int(word) for word in "".join(c if c.isalnum() else " " for c in problem.text).split() if word.isdigit()
        ]
        assert told == [problem.start, *(change.amount for change in problem.changes)], problem.text
        assert all(1 <= value <= LARGEST for value in problem.values)
        assert problem.text.count("?") == 1 and problem.text.endswith("?")


def test_heldout_problems_are_never_training_problems() -> None:
    assert not {one.text for one in problems(400)} & {one.text for one in problems(400, heldout=True)}
    assert {*TRAINING_SCENES, *HELDOUT_SCENES} == set(SCENES) and not {*TRAINING_SCENES} & {*HELDOUT_SCENES}


def test_a_written_trace_is_cut_into_the_sentences_that_it_was_written_in() -> None:
    for trace in traces(200):
        text = join(trace)
        assert [text[slice(*span)].strip() for span in split_sentences(text)] == [said.text for said in trace]


def test_calculations_are_read_back_with_their_truth() -> None:
    for trace in traces(200):
        stated = [said for said in trace if said.is_calculation]
        read = [read_equation(said.text) for said in trace]
        assert [said for said, equation in zip(trace, read, strict=True) if equation] == stated
        assert [equation.correct for equation in read if equation] == [said.correct for said in stated]
        mended = [
            calculation
            for calculation in read_calculations(label_by_lexicon(cut_thinking(join(trace))))
            if not calculation.correct
        ]
        assert all(calculation.backtracked for calculation in mended)


def test_each_mistake_is_mended_before_the_next_change() -> None:
    for problem, trace in zip(problems(200), traces(200), strict=True):
        assert trace[-1].text.endswith(f"{problem.answer}.")
        for one, other in pairwise(trace):
            if one.label == "backtracking":
                assert other.is_calculation and other.correct


@pytest.mark.parametrize("sentence", ["So 27 + 8 = 35.", "Then it rains, so 27 plus 8 is 35.", "27 + 8 = 35. "])
def test_an_equation_at_the_end_is_read(sentence: str) -> None:
    assert read_equation(sentence) == Equation(27, "plus", 8, 35)


@pytest.mark.parametrize(
    ("sentences", "right"),
    [
        (["We begin with 9.", "Then 4 leave, so 9 - 4 = 5.", "Now 3 come, so 5 + 3 = 8."], [True, True]),
        (["We begin with 9.", "Then 4 leave, so 9 - 4 = 6."], [False]),  # the sum
        (["We begin with 9.", "Then 4 leave, so 8 - 4 = 4."], [False]),  # the number to go on from
        (["We begin with 9.", "Then 4 leave, so 9 - 5 = 4."], [False]),  # the amount
        (["We begin with 9.", "Then 4 leave, so 8 - 4 = 4.", "Wait.", "I take 9 and get 9 - 4 = 5."], [False, True]),
        (["We begin with 9.", "Then 4 leave, so 9 - 4 = 5.", "Wait.", "Once more: 9 - 4 = 5."], [True, True]),
        (["We begin with 9.", "Then 4 leave, so 8 - 4 = 4.", "Now 3 come, so 4 + 3 = 7."], [False, True]),
        (["Then 4 leave, so 8 - 4 = 4.", "Then 4 leave, so 9 - 5 = 4."], [True, True]),  # no start, only sums
    ],
)
def test_a_calculation_is_right_by_its_own_text(sentences: list[str], right: list[bool]) -> None:
    account = Account()
    assert [found for sentence in sentences if (found := account.judge(sentence)) is not None] == right


def test_the_account_agrees_with_the_truth_of_traces() -> None:
    """Of wrong sums and misread numbers; plus for minus the words do not show."""
    rng, agree = random.Random(3), []
    for problem in problems(300):
        steps = [misread(step) if rng.random() < 0.3 else step for step in slipped_steps(rng, problem, 0.1)]
        account = Account()
        for said in make_trace(rng, problem, steps):
            if (found := account.judge(said.text)) is not None:
                agree.append(found == said.correct)
    assert sum(agree) / len(agree) > 0.98


def misread(step: Equation) -> Equation:
    return step._replace(value=step.value + 1, result=apply(step.operation, step.value + 1, step.amount))


@pytest.mark.parametrize(
    "sentence", ["Wait, 27 plus 8 does not make 36.", "27 + 8 = 35, as it should be.", "We have 35."]
)
def test_other_sentences_hold_no_calculation(sentence: str) -> None:
    assert read_equation(sentence) is None


def test_the_sentences_that_follow_a_step_tell_little_of_whether_it_is_right() -> None:
    """Their number does not depend on it; hedges are likelier after a mistake, and never certain."""
    counts: dict[bool, list[int]] = {True: [], False: []}
    hedges: dict[bool, list[bool]] = {True: [], False: []}
    for trace in traces(1500):
        for index, said in enumerate(trace):
            if said.is_calculation and said.correct is not None and not _mends(trace, index):
                following = _fillers(trace, index)
                counts[said.correct].append(len(following))
                hedges[said.correct] += [one.label == "uncertainty-estimation" for one in following]
    means = {correct: sum(found) / len(found) for correct, found in counts.items()}
    assert abs(means[True] - means[False]) < 0.08
    shares = {correct: sum(found) / len(found) for correct, found in hedges.items()}
    assert 0.22 < shares[True] < 0.28 and 0.75 < shares[False] < 0.85


def _mends(trace: list[Said], index: int) -> bool:
    return trace[index - 1].label == "backtracking"


def _fillers(trace: list[Said], index: int) -> list[Said]:
    following = []
    for said in trace[index + 1 : -1]:
        if said.is_calculation or said.label == "backtracking":
            break
        following.append(said)
    return following


def test_some_right_steps_are_doubted_in_vain() -> None:
    doubts = Counter(said.correct for trace in traces(1500) for said in trace if said.label == "backtracking")
    assert 0.22 < doubts[True] / doubts.total() < 0.3


def doubted(habits: Habits) -> dict[bool, float]:
    """Share of steps that a trace goes back from, by whether they are right; none goes back from a correction."""
    counts, doubt = Counter[tuple[bool, bool]](), "backtracking"
    for trace in traces(1500, habits=habits):
        steps = [said for said in trace if said.is_calculation or said.label == doubt]
        for before, step, after in zip([None, *steps], steps, [*steps[1:], None], strict=False):
            if step.is_calculation and (before is None or before.label != doubt):
                counts[bool(step.correct), after is not None and after.label == doubt] += 1
    return {known: counts[known, True] / (counts[known, True] + counts[known, False]) for known in (True, False)}


def test_who_hedged_goes_back_also_from_a_right_step() -> None:
    hedged: dict[bool, list[bool]] = {True: [], False: []}
    for trace in traces(1500, wrong=0.0):
        for index, said in enumerate(trace):
            if said.is_calculation and not _mends(trace, index):
                following = _fillers(trace, index)
                after = trace[index + 1 + len(following)]
                hedges = any(one.label == "uncertainty-estimation" for one in following)
                hedged[hedges].append(after.label == "backtracking")
    assert sum(hedged[True]) / len(hedged[True]) == pytest.approx(0.9, abs=0.04)
    assert sum(hedged[False]) / len(hedged[False]) == pytest.approx(0.02, abs=0.01)


def test_nobody_hedges_after_a_correction() -> None:
    for trace in traces(300):
        for index, said in enumerate(trace):
            if said.is_calculation and _mends(trace, index):
                assert all(one.label != "uncertainty-estimation" for one in _fillers(trace, index))


def test_the_negative_control_goes_back_whatever_the_step_is_worth() -> None:
    assert doubted(USUAL) == {True: pytest.approx(0.24, abs=0.02), False: 1.0}
    assert doubted(BLIND) == dict.fromkeys((True, False), pytest.approx(0.5, abs=0.03))
    said = [s for trace in traces(300, habits=BLIND) for s in trace if s.label == "backtracking"]
    words = {known: {s.text for s in said if s.correct == known} for known in (True, False)}
    assert len(words[True] & words[False]) > 20
    hedges = [
        Counter(s.correct for trace in traces(600, habits=BLIND) for s in trace if s.label == label)
        for label in ("uncertainty-estimation", "adding-knowledge")
    ]
    shares = [one[False] / (one[True] + one[False]) for one in hedges]
    assert shares[0] == pytest.approx(shares[1], abs=0.1)  # far apart by the usual habits
