"""Engines write rollouts: one protocol, whatever runs the model.

Baseline and steered rows go through the same call, in the same batches, with seeds of their own: what differs
between two rows of one prompt is the steering and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Operation = Literal["add", "ablate", "noise", "self"]
Positions = Literal["all", "generated"]


@dataclass(frozen=True, eq=False)
class Steer:
    """What is done to one row's residual stream."""

    condition: str
    """Names the condition in errors."""
    operation: Operation
    """`add` a vector at one layer; `ablate` its direction at every layer; per-token `noise` or
    `self`-amplification of a given norm at one layer."""
    layer: int
    """resid_post[layer], 0-based; for `ablate` the layer where the direction was read."""
    magnitude: float = 0.0
    """L2 norm added at each position; negative reverses; not used by `ablate`."""
    direction: NDArray[np.float32] | None = None
    """Unit vector (d,); none for `noise` and `self`."""
    positions: Positions = "all"
    """`all`: prompt and generated. `generated`: only tokens that the model itself wrote and was fed. The
    prompt's last position, which predicts the first generated token, belongs to the prompt."""


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


def expected_positions(steer: Steer | None, prompt: int, fed: int) -> int:
    """Positions at which a row must have been steered.

    Args:
        prompt: tokens of its prompt. fed: drawn tokens that were fed back; the last one drawn never is.
    """
    if steer is None:
        return 0
    return (prompt if steer.positions == "all" else 0) + fed


def row_seed(seed: int, prompt_id: str, sample: int) -> int:
    """Seed of one (prompt, sample): the same in every batch, condition and process; 63 bits."""
    digest = hashlib.blake2b(f"{seed}/{prompt_id}/{sample}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
