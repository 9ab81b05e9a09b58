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
    """Positions at which a row must have been steered.

    Args:
        prompt: tokens of its prompt. fed: drawn tokens that were fed back; the last one drawn never is.
    """
    if steer is None:
        return 0
    return (prompt if steer.positions == "all" else 0) + fed


def change_of(operation: Operation, stream: Tensor, vectors: Tensor, magnitudes: Tensor, noise: Tensor) -> Tensor:
    """What is added to a residual stream.

    Args:
        operation: see `Steer`.
        stream: (n, ..., d) float32.
        vectors: (n, ..., d) float32, scaled for `add`, unit directions for `ablate`; not read by the others.
        magnitudes: (n, ..., 1) float32, L2 norms; read by `noise` and `self`.
        noise: (n, ..., d) unit directions; read by `noise`.

    Returns:
        (n, ..., d) float32.
    """
    if operation == "add":
        return vectors
    if operation == "ablate":
        return -(stream * vectors).sum(-1, keepdim=True) * vectors
    return magnitudes * (_unit(stream) if operation == "self" else noise)


def is_removed(stream: Tensor, units: Tensor, dtype: torch.dtype) -> Tensor:
    """Where (n, ...) a direction is no part of the stream within the rounding of a dtype.

    Ablation changes nothing there, in half precision at a position in twenty, and is done all the same.
    """
    return torch.le((stream * units).sum(-1).abs(), torch.finfo(dtype).eps * stream.norm(dim=-1))


def _unit(stream: Tensor) -> Tensor:
    norms: Tensor = stream.norm(dim=-1, keepdim=True)
    return stream / norms


def noise_generator(seed: int) -> np.random.Generator:
    """A row's source of noise; its k-th steered position always takes the k-th draw, whatever the engine."""
    return np.random.default_rng([seed, 1])


def draw_noise(generator: np.random.Generator, count: int, width: int) -> Tensor:
    """The next unit Gaussian directions (count, width) of a row."""
    return _unit(torch.from_numpy(generator.standard_normal((count, width), dtype=np.float32)))
