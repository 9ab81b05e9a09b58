"""The base model's own mistakes: the number that it would have written where a trace states a result."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from repurpose.model.batches import batches_by_tokens
from repurpose.organism.word_problems import LARGEST, Problem
from repurpose.organism.word_traces import Attempt, join, right_attempt, say_attempt, say_opening
from smollm2_training.chats import chat_prompt

TEMPERATURE = 1.0
BATCH_TOKENS = 4096


class Script(NamedTuple):
    """A right solution, with the place of each result."""

    text: str
    results: list[tuple[int, int]]
    """Characters [start, end) of each result's digits in `text`."""


def write_script(rng: random.Random, problem: Problem) -> Script:
    """The opening and the right calculations of a problem, nothing between them."""
    text, places = join(list(say_opening(rng, problem))), list[tuple[int, int]]()
    for value, change in zip(problem.values, problem.changes, strict=False):
        attempt = right_attempt(value, change)
        text += " " + say_attempt(rng, attempt, change)
        end = len(text) - 1  # the full stop
        places.append((end - len(str(attempt.result)), end))
    return Script(text, places)


@torch.inference_mode()
def own_results(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], seed: int
) -> list[list[int]]:
    """What the base model writes for each result of each problem, given all that is right before it.

    Its digits are drawn one after another from its own distribution (temperature 1) in one pass over the right text;
    from the first one that differs, the right digits follow. A token that is no digit counts as the right one.
    """
    rng = random.Random(f"mistakes-{seed}")
    scripts = [write_script(rng, problem) for problem in problems]
    prompts = [chat_prompt(tokenizer, problem) for problem in problems]
    encoded = [tokenizer(p + s.text, add_special_tokens=False, return_offsets_mapping=True)
               for p, s in zip(prompts, scripts, strict=True)]  # fmt: skip
    digits = {
        token: str(digit) for digit in range(10) for token in tokenizer.encode(str(digit), add_special_tokens=False)
    }
    found: list[list[int]] = [[] for _ in problems]
    batches = list(batches_by_tokens([len(e["input_ids"]) for e in encoded], BATCH_TOKENS))
    for batch in tqdm(batches, desc="own mistakes", mininterval=5):
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(encoded[i]["input_ids"]) for i in batch], batch_first=True)
        logits = model(input_ids=ids, use_cache=False).logits  # padding on the right, so causal rows need no mask
        for row, index in zip(logits, batch, strict=True):
            starts = {start: position for position, (start, _) in enumerate(encoded[index]["offset_mapping"])}
            shift, text = len(prompts[index]), scripts[index].text
            for start, end in scripts[index].results:
                rows = [row[starts[shift + place] - 1] for place in range(start, end)]
                found[index].append(int("".join(_draw(rng, text[start:end], rows, digits))))
    return found


def _draw(rng: random.Random, right: str, logits: Sequence[Tensor], digits: dict[int, str]) -> Iterator[str]:
    same = True
    for digit, row in zip(right, logits, strict=True):
        if same:
            share = torch.softmax(row.float() / TEMPERATURE, 0)
            drawn = digits.get(int(torch.searchsorted(share.cumsum(0), rng.random())), digit)
            same = drawn == digit
            yield drawn
        else:
            yield digit


SLIP_RATE, MISREADING_RATE, OWN_RATE = 0.06, 0.1, 0.75
"""Chances for one step: of a slip, of a misread change, and of keeping the base model's own wrong number."""


def draw_attempts(rng: random.Random, problem: Problem, own: Sequence[int]) -> list[Attempt]:
    """Choose what a trace first writes for each change: the base model's own number, a slip, a misreading, or right."""
    attempts = []
    for value, change, number in zip(problem.values, problem.changes, own, strict=False):
        right = right_attempt(value, change)
        draw = rng.random()
        if number != right.result and 0 < number <= LARGEST and draw < OWN_RATE:
            attempts.append(replace(right, result=number))
        elif draw > 1 - MISREADING_RATE and change.operation != "times":
            other = "minus" if change.operation == "plus" else "plus"
            result = value + change.amount if other == "plus" else value - change.amount
            attempts.append(Attempt(value, other, change.amount, result) if result > 0 else right)
        elif draw > 1 - MISREADING_RATE - SLIP_RATE:
            slipped = right.result + rng.choice((-1, 1, -2, 2, 10, -10))
            attempts.append(replace(right, result=slipped) if slipped > 0 else right)
        else:
            attempts.append(right)
    return attempts
