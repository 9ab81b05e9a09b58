"""Engines write rollouts: one protocol, whatever runs the model.

Baseline and steered rows go through the same call, in the same batches, with seeds of their own: what differs
between two rows of one prompt is the steering and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from repurpose.model.steer import Steer


@dataclass(frozen=True)
class Request:
    """One row: the exact ids of a templated prompt, a seed, and how it is steered, if at all."""

    prompt_ids: list[int]
    seed: int
    steer: Steer | None = None


@dataclass(frozen=True)
class Question:
    """One rollout to ask a server for, which speaks messages and not ids; it cannot be steered."""

    name: str
    """Names it in errors."""
    messages: list[dict[str, str]]
    prompt_ids: list[int]
    """What the chat template makes of the messages; stored with the rollout."""
    seed: int


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float
    """0 is greedy."""
    max_new_tokens: int
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have at least this probability."""
    top_k: int | None = None
    """Draw from so many of the likeliest tokens; goes before `top_p`. None: from all."""


@dataclass(frozen=True)
class Generated:
    """One row's outcome."""

    token_ids: list[int]
    """Generated ids; the token that ends a text is not among them (`finish_reason` tells)."""
    finish_reason: Literal["stop", "length"]
    steered_positions: int = 0
    """Counted inside the hook; 0 for an unsteered row."""
    expected_positions: int = 0
    """Prompt tokens (where the policy has them) plus generated tokens that were fed back; the last one never
    is."""


Finished = Callable[[Sequence[tuple[int, Generated]]], None]
"""Called with (index of the request, outcome) for a batch that is done."""


class Engine(Protocol):
    """Anything that turns requests into rollouts."""

    name: str

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, finished: Finished | None = None
    ) -> list[Generated]:
        """Return one outcome for each request, in the order of the requests."""


def row_seed(seed: int, prompt_id: str, sample: int) -> int:
    """Seed of one (prompt, sample): the same in every batch, condition and process; 63 bits."""
    digest = hashlib.blake2b(f"{seed}/{prompt_id}/{sample}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
