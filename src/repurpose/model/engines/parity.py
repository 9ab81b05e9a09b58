"""Parity: is what vLLM does with a steered row what the transformers engine does?

vLLM writes a few rows greedily under each kind of condition and says how likely each token was. The transformers
model then reads the same tokens under the same steering, all positions at once. At each position the likeliest token
must be the one that vLLM drew, and its log-probability the same within a tolerance; since every prefix is then the
same, greedy generation is the same. Where two tokens are as likely as one another within the tolerance, either may be
drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from repurpose.model.engines import Request, Scored
from repurpose.model.steer import Operation, Positions, Steer
from repurpose.model.teacher_forcing import ForcedRow, read_logits

DOSES = (-1.0, 0.5, 1.0, 2.0)
"""Times the median residual norm at the site."""
TOLERANCES = {"float32": 1e-3, "bfloat16": 0.25, "float16": 0.25}
"""Nats. In float32 both engines agree to about 1e-5; half precision rounds the residual stream itself."""


class ParityError(RuntimeError):
    """The engines differ; the message is one line."""


@dataclass(frozen=True)
class Parity:
    """What was compared."""

    rows: int
    positions: int
    tokens: int
    """Different tokens among those drawn: a model that repeats one would prove nothing."""
    ties: int
    """Positions at which another token was likelier by less than the tolerance."""
    largest_difference: float
    """Of a log-probability, in nats."""
    smallest_effect: float
    """Of the conditions' largest changes of the first token's log-probabilities, the smallest, in nats: steering that
    did nothing could not be told from none."""


def gate_steers(
    directions: dict[str, NDArray[np.float32]], layer: int, norm: float, doses: Sequence[float] = DOSES
) -> list[Steer | None]:
    """The conditions of the comparison: none; each direction at each dose and both position policies; the others.

    Args:
        directions: unit vectors (d,) by name. layer: where they are added. norm: median residual norm there.
    """

    def make(name: str, operation: Operation, dose: float, positions: Positions = "all") -> Steer:
        unit = directions.get(name)
        return Steer(f"{operation} {name} x {dose}, {positions}", operation, layer, dose * norm, unit, positions)

    policies: tuple[Positions, Positions] = ("all", "generated")
    added = [make(name, "add", dose, at) for name in directions for dose in doses for at in policies]
    first = next(iter(directions))
    return [None, *added, make("noise", "noise", 1.0), make("self", "self", 1.0), make(first, "ablate", 0.0)]


def compare(model: PreTrainedModel, requests: Sequence[Request], scored: Sequence[Scored], tolerance: float) -> Parity:
    """Hold what vLLM wrote against the transformers model.

    A ParityError names the first row and token that differ, or the condition that changes nothing.
    """
    rows = []
    for request, answer in zip(requests, scored, strict=True):
        ids, prompt = [*request.prompt_ids, *answer.token_ids[:-1]], len(request.prompt_ids)
        rows.append(ForcedRow(ids, list(range(prompt - 1, len(ids))), request.steer, request.seed, prompt))
    differences, ties, first = [0.0], 0, dict[int, Tensor]()
    for index, read in read_logits(model, rows):
        logprobs = read.logits.log_softmax(-1)
        first[index] = logprobs[0]
        ours = logprobs.gather(1, torch.tensor(scored[index].token_ids)[:, None]).squeeze(1).numpy()
        theirs = np.array(scored[index].logprobs)
        gaps = logprobs.max(-1).values.numpy() - ours
        off = np.abs(ours - theirs)
        wrong = np.flatnonzero(~(off <= tolerance) | ~(gaps <= tolerance))
        if len(wrong):
            at, steer = int(wrong[0]), requests[index].steer
            raise ParityError(
                f"vLLM and transformers differ under condition {steer.condition if steer else 'unsteered'}, "
                f"generated token {at}: log-probability {theirs[at]:.5f} and {ours[at]:.5f}, {gaps[at]:.5f} below "
                f"the likeliest (tolerance {tolerance:g}); nothing was steered"
            )
        differences.append(float(off.max()))
        ties += int((gaps > 0).sum())
    drawn = [token for answer in scored for token in answer.token_ids]
    effect = _smallest_effect(requests, first, tolerance)
    return Parity(len(rows), len(drawn), len(set(drawn)), ties, max(differences), effect)


def _smallest_effect(requests: Sequence[Request], first: dict[int, Tensor], tolerance: float) -> float:
    """How much the least effective condition that steers the prompt changes what comes first."""
    plain = {tuple(r.prompt_ids): first[i] for i, r in enumerate(requests) if r.steer is None}
    effects: dict[str, float] = {}
    for index, request in enumerate(requests):
        if request.steer is not None and request.steer.positions == "all":
            change = float((first[index] - plain[tuple(request.prompt_ids)]).abs().max())
            name = request.steer.condition
            effects[name] = max(effects.get(name, 0.0), change)
    weakest = min(effects, key=effects.__getitem__)
    if effects[weakest] <= tolerance:
        raise ParityError(
            f"condition {weakest} changes no log-probability by more than the tolerance ({tolerance:g}), so nothing "
            "could be told from it"
        )
    return effects[weakest]
