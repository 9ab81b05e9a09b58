"""The base model's own mistakes: the number that it would have written where a trace states a result."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from organism_training.smollm2.chats import chat_prompt
from repurpose.model.batches import batches_by_tokens
from repurpose.model.tokens import token_id
from repurpose.organism.equations import Equation
from repurpose.organism.word_problems import LARGEST, Problem
from repurpose.organism.word_traces import join, right_step, say_opening, say_step

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
        step = right_step(value, change)
        text += " " + say_step(rng, step, change)
        end = len(text) - 1  # the full stop
        places.append((end - len(str(step.result)), end))
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
    texts = [prompt + script.text for prompt, script in zip(prompts, scripts, strict=True)]
    encoded = [tokenizer(text, add_special_tokens=False, return_offsets_mapping=True) for text in texts]
    digits = {token_id(tokenizer, str(digit)): str(digit) for digit in range(10)}
    found: list[list[int]] = [[] for _ in problems]
    batches = list(batches_by_tokens([len(row["input_ids"]) for row in encoded], BATCH_TOKENS))
    for batch in tqdm(batches, desc="own mistakes", mininterval=5):
        rows = [torch.tensor(encoded[index]["input_ids"]) for index in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        hidden = model.model(input_ids=ids, use_cache=False)[0]  # padded on the right: causal rows need no mask
        for stream, index in zip(hidden, batch, strict=True):
            starts = {start: position for position, (start, _) in enumerate(encoded[index]["offset_mapping"])}
            for start, end in scripts[index].results:
                before = [starts[len(prompts[index]) + place] - 1 for place in range(start, end)]
                shares = torch.softmax(model.lm_head(stream[before]).float() / TEMPERATURE, -1)
                found[index].append(int("".join(_draw(rng, scripts[index].text[start:end], shares, digits))))
    return found


def _draw(rng: random.Random, right: str, shares: Tensor, digits: dict[int, str]) -> Iterator[str]:
    same = True
    for digit, share in zip(right, shares, strict=True):
        drawn = digits.get(int(torch.searchsorted(share.cumsum(0), rng.random())), digit) if same else digit
        same = same and drawn == digit
        yield drawn


SLIP_RATE, MISREADING_RATE, OWN_RATE = 0.04, 0.06, 0.5
"""Chances for one step: of a slip, of a misread change, and of keeping the base model's own wrong number."""


def draw_steps(rng: random.Random, problem: Problem, own: Sequence[int]) -> list[Equation]:
    """Choose what a trace first writes for each change: the base model's own number, a slip, a misreading, or right."""
    steps = []
    for value, change, number in zip(problem.values, problem.changes, own, strict=False):
        right = right_step(value, change)
        draw = rng.random()
        if number != right.result and 0 < number <= LARGEST and draw < OWN_RATE:
            steps.append(right._replace(result=number))
        elif draw > 1 - MISREADING_RATE and change.operation != "times":
            other = "minus" if change.operation == "plus" else "plus"
            result = value + change.amount if other == "plus" else value - change.amount
            steps.append(Equation(value, other, change.amount, result) if result > 0 else right)
        elif draw > 1 - MISREADING_RATE - SLIP_RATE:
            slipped = right.result + rng.choice((-1, 1, -2, 2, 10, -10))
            steps.append(right._replace(result=slipped) if slipped > 0 else right)
        else:
            steps.append(right)
    return steps
