"""What steering does to one row, and at how many positions it must have been done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
