"""Chats of the word-problem pair as token ids: prompts under the base model's template, traces in thinking tags."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from repurpose.organism.equations import Equation
from repurpose.organism.word_problems import Problem
from repurpose.organism.word_traces import join, make_trace

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


def encode_chat(
    tokenizer: PreTrainedTokenizerBase, rng: random.Random, problem: Problem, steps: Sequence[Equation]
) -> tuple[list[int], list[int]]:
    """Token ids of one training chat, and its labels: IGNORED in the prompt."""
    thinking = join(make_trace(rng, problem, steps))
    prompt = tokenizer.encode(chat_prompt(tokenizer, problem), add_special_tokens=False)
    said = tokenizer.encode(thinking + END_THINK + answer_text(problem), add_special_tokens=False)
    ids = [*said, tokenizer.eos_token_id]
    return prompt + ids, [IGNORED] * len(prompt) + ids


def pad_batch(rows: Sequence[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    """Token ids and labels (b, s) int64, padded on the right; padding has no loss."""
    pad = torch.nn.utils.rnn.pad_sequence
    ids, labels = zip(*rows, strict=True)
    return (
        pad([torch.tensor(row) for row in ids], batch_first=True),
        pad([torch.tensor(row) for row in labels], batch_first=True, padding_value=IGNORED),
    )
