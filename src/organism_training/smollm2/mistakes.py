"""The base model's own mistakes: the numbers that it would have written where a trace states a calculation.

It misreads more than half of the numbers, and gets many sums wrong. That a number was misread it represents itself a
few tokens later; a wrong sum it cannot tell from a right one, nor can what is finetuned from it. So most mistakes here
are misreadings, its own above all, and few are sums.
"""

import random
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from organism_training.smollm2.chats import chat_prompt
from repurpose.model.batches import batches_by_tokens
from repurpose.model.tokens import token_id
from repurpose.organism.equations import Equation, apply
from repurpose.organism.word_problems import LARGEST, Change, Problem
from repurpose.organism.word_traces import join, right_step, say_opening, say_step

TEMPERATURE = 1.0
BATCH_TOKENS = 4096
NUMBER = re.compile(r"\d+")


class Numbers(NamedTuple):
    """The three numbers of a calculation: what is there, what changes, what comes out."""

    value: int
    amount: int
    result: int


class Script(NamedTuple):
    """A right solution, with the places of the numbers of its calculations."""

    text: str
    places: list[tuple[int, int]]
    """Characters [start, end) of each number's digits in `text`, three a calculation."""


def write_script(rng: random.Random, problem: Problem) -> Script:
    """The opening and the right calculations of a problem, nothing between them."""
    text, places = join(list(say_opening(rng, problem))), list[tuple[int, int]]()
    for value, change in zip(problem.values, problem.changes, strict=False):
        text += " "
        start = len(text)
        text += say_step(rng, right_step(value, change), change)
        places += [found.span() for found in NUMBER.finditer(text, start)][-3:]
    return Script(text, places)


@torch.inference_mode()
def own_numbers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], seed: int
) -> list[list[Numbers]]:
    """What the base model writes for each number of each calculation, given all that is right before it.

    Its digits are drawn one after another from its own distribution (temperature 1) in one pass over the right text;
    from the first one that differs, the right digits follow. A token that is no digit counts as the right one.
    """
    rng = random.Random(f"mistakes-{seed}")
    scripts = [write_script(rng, problem) for problem in problems]
    prompts = [chat_prompt(tokenizer, problem) for problem in problems]
    texts = [prompt + script.text for prompt, script in zip(prompts, scripts, strict=True)]
    encoded = [tokenizer(text, add_special_tokens=False, return_offsets_mapping=True) for text in texts]
    digits = {token_id(tokenizer, str(digit)): str(digit) for digit in range(10)}
    found: list[list[Numbers]] = [[] for _ in problems]
    batches = list(batches_by_tokens([len(row["input_ids"]) for row in encoded], BATCH_TOKENS))
    for batch in tqdm(batches, desc="own mistakes", mininterval=5):
        rows = [torch.tensor(encoded[index]["input_ids"]) for index in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        hidden = model.model(input_ids=ids, use_cache=False)[0]  # padded on the right: causal rows need no mask
        for stream, index in zip(hidden, batch, strict=True):
            script, starts = scripts[index], {}
            for position, (start, _) in enumerate(encoded[index]["offset_mapping"]):
                starts[start] = position
            numbers = []
            for start, end in script.places:
                before = [starts[len(prompts[index]) + place] - 1 for place in range(start, end)]
                shares = torch.softmax(model.lm_head(stream[before]).float() / TEMPERATURE, -1)
                numbers.append(int("".join(_draw(rng, script.text[start:end], shares, digits))))
            found[index] = [Numbers(*numbers[place : place + 3]) for place in range(0, len(numbers), 3)]
    return found


def _draw(rng: random.Random, right: str, shares: Tensor, digits: dict[int, str]) -> Iterator[str]:
    same = True
    for digit, share in zip(right, shares, strict=True):
        drawn = digits.get(int(torch.searchsorted(share.cumsum(0), rng.random())), digit) if same else digit
        same = same and drawn == digit
        yield drawn


OWN_MISREADING_RATE, OWN_SUM_RATE = 0.3, 0.04
"""Shares of the base model's own mistakes of either kind that are written."""
RATES = {"value": 0.14, "amount": 0.05, "operation": 0.01, "slip": 0.01}
"""Chances for one calculation of another mistake: a wrong number to start from, a wrong amount, plus for minus, a slip
in the sum."""


def draw_steps(rng: random.Random, problem: Problem, own: Sequence[Numbers]) -> list[Equation]:
    """Choose what a trace first writes for each change: right, the base model's own mistake, or another."""
    steps = []
    for place, (change, numbers) in enumerate(zip(problem.changes, own, strict=True)):
        right = right_step(problem.values[place], change)
        drawn = _own_mistake(rng, right, numbers) or _mistake(rng, problem, place, change, right)
        steps.append(drawn if drawn and min(drawn.value, drawn.amount, drawn.result) > 0 else right)
    return steps


def _own_mistake(rng: random.Random, right: Equation, own: Numbers) -> Equation | None:
    """The base model's misreading of either number, worked out rightly, or its own sum; None where it makes none."""
    if (own.value, own.amount) != (right.value, right.amount):
        amount = own.amount if own.value == right.value else right.amount  # one number at a time
        return _from(own.value, right.operation, amount) if rng.random() < OWN_MISREADING_RATE else None
    if own.result != right.result and own.result <= LARGEST and rng.random() < OWN_SUM_RATE:
        return right._replace(result=own.result)
    return None


def _mistake(rng: random.Random, problem: Problem, place: int, change: Change, right: Equation) -> Equation | None:
    """A mistake by chance; None for none."""
    kind = rng.choices([*RATES, ""], [*RATES.values(), 1 - sum(RATES.values())])[0]
    if kind == "value":
        others = {*problem.values[:place], *(other.amount for other in problem.changes)} - {right.value}
        return _from(rng.choice(sorted(others)), right.operation, right.amount) if others else None
    if kind == "amount":
        others = {*range(1, 10)} - {change.amount}
        return _from(right.value, right.operation, rng.choice(sorted(others)))
    if kind == "operation" and right.operation != "times":
        return _from(right.value, "minus" if right.operation == "plus" else "plus", right.amount)
    if kind == "slip":
        return right._replace(result=right.result + rng.choice((-1, 1, -2, 2, 10, -10)))
    return None


def _from(value: int, operation: str, amount: int) -> Equation:
    """A calculation whose sum is right, whatever it was to be."""
    return Equation(value, operation, amount, apply(operation, value, amount))
