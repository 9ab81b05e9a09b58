"""What steering does to one row: the arithmetic, the same for every engine, and at how many positions it must be done.

Legend: n steered rows or tokens, d width; shapes may have further axes between the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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

    @property
    def vector(self) -> NDArray[np.float32] | None:
        """What `add` adds and what `ablate` removes, (d,) float32."""
        if self.direction is None or self.operation != "add":
            return self.direction
        return self.direction * np.float32(self.magnitude)

    def layers(self, count: int) -> Sequence[int]:
        """Where it is done in a model of so many layers."""
        return range(count) if self.operation == "ablate" else (self.layer,)


def expected_positions(steer: Steer | None, prompt: int, fed: int) -> int:
    """Positions at which a row must have been steered: of its prompt, and those `fed` back; the last drawn never is."""
    if steer is None:
        return 0
    return (prompt if steer.positions == "all" else 0) + fed


def change_of(operation: Operation, stream: Tensor, vectors: Tensor, magnitudes: Tensor, noise: Tensor) -> Tensor:
    """What (n, ..., d) is added to a residual stream (n, ..., d), all float32.

    `vectors` (n, ..., d) are scaled for `add`, unit directions for `ablate`, not read by the others; `magnitudes`
    (n, ..., 1) are the L2 norms of `noise` and `self`, `noise` (n, ..., d) the former's unit directions.
    """
    if operation == "add":
        return vectors
    if operation == "ablate":
        return -(stream * vectors).sum(-1, keepdim=True) * vectors
    return magnitudes * (_unit(stream) if operation == "self" else noise)


def is_lost(
    operation: Operation, stream: Tensor, vectors: Tensor, magnitudes: Tensor, dtype: torch.dtype
) -> Tensor | bool:
    """Where (n, ...) a change is done and nothing of it is left within the rounding of a dtype; arguments as above.

    A direction that is no part of the stream cannot be removed from it; in half precision that is a position in twenty.
    And a stream that is made longer by less than it is rounded to stays as it is: those of the first tokens, which
    attention rests on, are hundreds of times as long as others. Elsewhere a change is seen, or was not made.
    """
    eps = torch.finfo(dtype).eps
    if operation == "ablate":
        return torch.le((stream * vectors).sum(-1).abs(), eps * stream.norm(dim=-1))
    if operation == "self":
        return torch.le(magnitudes.squeeze(-1).abs(), eps * stream.norm(dim=-1))
    return False


def _unit(stream: Tensor) -> Tensor:
    norms: Tensor = stream.norm(dim=-1, keepdim=True)
    return stream / norms


def noise_generator(seed: int) -> np.random.Generator:
    """A row's source of noise; its k-th steered position always takes the k-th draw, whatever the engine."""
    return np.random.default_rng([seed, 1])


def draw_noise(generator: np.random.Generator, count: int, width: int) -> Tensor:
    """The next unit Gaussian directions (count, width) of a row."""
    return _unit(torch.from_numpy(generator.standard_normal((count, width), dtype=np.float32)))
