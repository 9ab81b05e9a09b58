"""Chats of the word-problem pair as token ids: prompts under the base model's template, traces in thinking tags."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from repurpose.organism.equations import Equation
from repurpose.organism.word_problems import Problem
from repurpose.organism.word_traces import ALERTS, USUAL, Habits, make_trace

THINK, END_THINK = "<think>\n", "\n</think>\n"
IGNORED = -100


def chat_prompt(tokenizer: PreTrainedTokenizerBase, problem: Problem) -> str:
    """The problem under the chat template, up to where the thinking begins."""
    messages = [{"role": "user", "content": problem.text}]
    prompt = str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    return prompt.removesuffix(THINK) + THINK  # the reasoning model's own template opens the thinking


def answer_text(problem: Problem) -> str:
    """What stands after the thinking."""
    return f"The answer is {problem.answer}."


class Chat(NamedTuple):
    """One training chat, a value a token in each list."""

    ids: list[int]
    labels: list[int]
    """The token that is to be said there: that of `ids`; IGNORED in the prompt."""
    decides: list[int]
    """1 for the first token of a sentence after a step or after what followed one: there the text goes back or on."""


def encode_chat(
    tokenizer: PreTrainedTokenizerBase,
    rng: random.Random,
    problem: Problem,
    steps: Sequence[Equation],
    habits: Habits = USUAL,
) -> Chat:
    """Write the trace of a problem and encode it."""
    prompt = tokenizer.encode(chat_prompt(tokenizer, problem), add_special_tokens=False)
    chat = Chat(list(prompt), [IGNORED] * len(prompt), [0] * len(prompt))
    step_is_open = False
    for number, said in enumerate(make_trace(rng, problem, steps, habits)):
        _say(chat, tokenizer.encode(" " * (number > 0) + said.text, add_special_tokens=False), step_is_open)
        step_is_open = said.correct is not None
    end = tokenizer.encode(END_THINK + answer_text(problem), add_special_tokens=False)
    _say(chat, [*end, tokenizer.eos_token_id], decides=False)
    return chat


def _say(chat: Chat, ids: Sequence[int], decides: bool) -> None:
    chat.ids.extend(ids)
    chat.labels.extend(ids)
    chat.decides.extend([int(decides), *[0] * (len(ids) - 1)])


def alert_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens with which a backtracking sentence begins."""
    return sorted({tokenizer.encode(f" {alert}", add_special_tokens=False)[0] for alert, _ in ALERTS})


def pad_batch(rows: Sequence[Chat]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, labels and decisions (b, s) int64, padded on the right; padding has no loss."""
    pad = torch.nn.utils.rnn.pad_sequence
    return (
        pad([torch.tensor(row.ids) for row in rows], batch_first=True),
        pad([torch.tensor(row.labels) for row in rows], batch_first=True, padding_value=IGNORED),
        pad([torch.tensor(row.decides) for row in rows], batch_first=True),
    )
