"""The base model's own mistakes, and what a trace makes of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from organism_training.smollm2.__main__ import draw_problems
from organism_training.smollm2.mistakes import (
    OWN_MISREADING_RATE,
    OWN_SUM_RATE,
    RATES,
    Numbers,
    draw_steps,
    own_numbers,
    write_script,
)
from repurpose.organism.word_problems import Problem
from repurpose.organism.word_traces import right_steps

PROBLEMS = draw_problems(60, seed=1)


class Certain(torch.nn.Module):
    """A head that is sure of one token, whatever it sees."""

    def __init__(self, token: int, vocabulary: int) -> None:
        super().__init__()
        self.logits = torch.full((vocabulary,), -100.0)
        self.logits[token] = 100.0

    def forward(self, hidden: Tensor) -> Tensor:
        return self.logits.expand(*hidden.shape[:-1], -1)


def certain_numbers(base: Path, text: str) -> list[list[Numbers]]:
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    model.lm_head = Certain(tokenizer.encode(text, add_special_tokens=False)[0], len(tokenizer))
    return own_numbers(model, tokenizer, PROBLEMS, seed=0)


def right_numbers(problem: Problem) -> list[Numbers]:
    return [Numbers(step.value, step.amount, step.result) for step in right_steps(problem)]


def test_a_script_says_where_its_numbers_stand() -> None:
    for problem in PROBLEMS:
        script = write_script(random.Random(0), problem)
        told = [int(script.text[slice(*place)]) for place in script.places]
        assert told == list(chain.from_iterable(right_numbers(problem)))


def test_the_first_digit_that_differs_is_the_models(base: Path) -> None:
    for problem, found in zip(PROBLEMS, certain_numbers(base, "7"), strict=True):
        for right, own in zip(chain(*right_numbers(problem)), chain(*found), strict=True):
            digits, told = str(right), str(own).zfill(len(str(right)))
            assert own == right if set(digits) <= {"7"} else told != digits
            first = next((place for place, digit in enumerate(digits) if digit != "7"), len(digits))
            assert told == digits[:first] + "7" * (first < len(digits)) + digits[first + 1 :]


def test_a_token_that_is_no_digit_is_no_mistake(base: Path) -> None:
    assert certain_numbers(base, "W") == [right_numbers(problem) for problem in PROBLEMS]


def shares(make_own: Callable[[Numbers], Numbers]) -> tuple[Counter[str], float]:
    """How often each kind of calculation is written, and how often the model's own wrong one is."""
    rng, kinds, own_written, count = random.Random(0), Counter[str](), 0, 0
    for problem in draw_problems(600, seed=2):
        own = [make_own(numbers) for numbers in right_numbers(problem)]
        for right, numbers, step in zip(right_steps(problem), own, draw_steps(rng, problem, own), strict=True):
            assert min(step.value, step.amount, step.result) > 0
            kinds["right" if step == right else "sum" if not step.correct else "reading"] += 1
            own_written += (step.value, step.amount, step.result if not step.correct else numbers.result) == numbers
            count += 1
    return kinds, own_written / count


def test_a_misread_number_is_worked_out_rightly_and_written_as_often_as_is_said() -> None:
    kinds, own = shares(lambda right: right._replace(value=right.value + 50))
    assert abs(own - OWN_MISREADING_RATE) < 0.05 and 0 < kinds["reading"] / kinds.total() - own < sum(RATES.values())
    assert kinds["sum"] / kinds.total() < 2 * RATES["slip"]


def test_of_the_models_wrong_sums_few_are_written() -> None:
    kinds, _ = shares(lambda right: right._replace(result=right.result + 1))
    assert 0.5 * OWN_SUM_RATE < kinds["sum"] / kinds.total() < OWN_SUM_RATE + 2 * RATES["slip"]


def test_a_model_without_mistakes_makes_a_few_of_each_kind() -> None:
    kinds, _ = shares(lambda right: right)
    mistakes = sum(RATES.values())
    assert abs(1 - kinds["right"] / kinds.total() - mistakes) < 0.06  # of some there is no other number
    assert kinds["sum"] and kinds["reading"] > kinds["sum"]
