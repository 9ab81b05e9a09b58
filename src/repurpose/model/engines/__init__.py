"""Engines write rollouts: one interface, whatever runs the model, and what all engines do with a finished row.

Baseline and steered rows go through the same call, in the same batches, with seeds of their own: what differs
between two rows of one prompt is the steering and nothing else.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from repurpose.model.hooks import check_counts
from repurpose.model.steer import Steer, expected_positions


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
    """Prompt tokens (where the policy has them) plus generated tokens that were fed back; the last one never is."""


@dataclass(frozen=True)
class Scored:
    """What an engine drew for a request, and how likely it was."""

    token_ids: list[int]
    """Drawn ids, the one that ended the text included."""
    logprobs: list[float]
    """Of each drawn token, in nats."""


Batch = Sequence[tuple[int, Generated]]
"""(Index of the request, outcome) of rows that are done."""
Finished = Callable[[Batch], None]
"""Called with each batch that is done."""


class Engine(ABC):
    """Anything that turns requests into rollouts."""

    name: str

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, finished: Finished | None = None
    ) -> list[Generated]:
        """Hand over each batch as it is done; return one outcome for each request, in the order of the requests.

        Where `finished` raises, the engine puts itself in order before the error goes on.

        Raises:
            SteeringError: where a row was not steered at exactly the positions that its policy names.
            ModelError: where a text would be longer than the engine was opened for.
        """
        outcomes: dict[int, Generated] = {}
        with closing(self._run(requests, sampling)) as batches:
            for batch in batches:
                outcomes.update(batch)
                if finished is not None:
                    finished(batch)
        return [outcomes[index] for index in range(len(outcomes))]

    @abstractmethod
    def _run(self, requests: Sequence[Request], sampling: Sampling) -> Generator[Batch, None, None]:
        """Yield batches as they are done."""


def finish_rows(
    requests: Sequence[Request], drawn: Sequence[list[int]], stopped: Sequence[bool], counted: Sequence[int]
) -> list[Generated]:
    """Cut each row at its end; a SteeringError names the first that was not steered where it should have been.

    Args:
        drawn: ids of each row, the one that ended it included. stopped: whether one did.
        counted: positions at which it was steered.
    """
    fed = [len(ids) - 1 for ids in drawn]  # the last one drawn never is
    expected = [expected_positions(r.steer, len(r.prompt_ids), n) for r, n in zip(requests, fed, strict=True)]
    check_counts([request.steer for request in requests], counted, expected)
    return [
        Generated(ids[:-1] if stop else ids, "stop" if stop else "length", seen, wanted)
        for ids, stop, seen, wanted in zip(drawn, stopped, counted, expected, strict=True)
    ]


def row_seed(seed: int, prompt_id: str, sample: int) -> int:
    """Seed of one (prompt, sample): the same in every batch, condition and process; 63 bits."""
    digest = hashlib.blake2b(f"{seed}/{prompt_id}/{sample}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
