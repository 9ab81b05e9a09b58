"""The base model's own mistakes, and what a trace makes of them."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from organism_training.smollm2.__main__ import draw_problems
from organism_training.smollm2.mistakes import draw_steps, own_results, write_script
from repurpose.organism.word_problems import LARGEST
from repurpose.organism.word_traces import right_step

PROBLEMS = draw_problems(60, seed=1)


class Certain(torch.nn.Module):
    """A head that is sure of one token, whatever it sees."""

    def __init__(self, token: int, vocabulary: int) -> None:
        super().__init__()
        self.logits = torch.full((vocabulary,), -100.0)
        self.logits[token] = 100.0

    def forward(self, hidden: Tensor) -> Tensor:
        return self.logits.expand(*hidden.shape[:-1], -1)


def certain_results(base: Path, text: str) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    model.lm_head = Certain(tokenizer.encode(text, add_special_tokens=False)[0], len(tokenizer))
    return own_results(model, tokenizer, PROBLEMS, seed=0)


def test_a_script_says_where_its_results_stand() -> None:
    for problem in PROBLEMS:
        script = write_script(random.Random(0), problem)
        assert [int(script.text[slice(*place)]) for place in script.results] == list(problem.values[1:])


def test_the_first_digit_that_differs_is_the_models(base: Path) -> None:
    for problem, found in zip(PROBLEMS, certain_results(base, "7"), strict=True):
        for right, own in zip(problem.values[1:], found, strict=True):
            digits, told = str(right), str(own).zfill(len(str(right)))
            assert own == right if set(digits) <= {"7"} else told != digits
            first = next((place for place, digit in enumerate(digits) if digit != "7"), len(digits))
            assert told == digits[:first] + "7" * (first < len(digits)) + digits[first + 1 :]


def test_a_token_that_is_no_digit_is_no_mistake(base: Path) -> None:
    assert certain_results(base, "W") == [list(problem.values[1:]) for problem in PROBLEMS]


def test_most_of_the_models_mistakes_are_written_and_every_step_starts_from_the_truth() -> None:
    rng, own_wrong, written = random.Random(0), 0, 0
    for problem in draw_problems(400, seed=2):
        own = [value + 1 for value in problem.values[1:]]
        for value, change, number, step in zip(
            problem.values, problem.changes, own, draw_steps(rng, problem, own), strict=False
        ):
            assert (step.value, step.amount) == (value, change.amount) and step.result > 0
            own_wrong += number <= LARGEST
            written += step.result == number
            assert step.operation == change.operation or step != right_step(value, change)
    assert 0.45 < written / own_wrong < 0.6
