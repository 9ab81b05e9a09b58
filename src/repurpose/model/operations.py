"""What each operation adds to the residual stream: the arithmetic, the same for every engine.

Legend: n steered rows or tokens, d width; shapes may have further axes between the two.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from repurpose.model.steer import Operation


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
    return magnitudes * (unit(stream) if operation == "self" else noise)


def is_removed(stream: Tensor, units: Tensor, dtype: torch.dtype) -> Tensor:
    """Where (n, ...) a direction is no part of the stream within the rounding of a dtype.

    Ablation changes nothing there, in half precision at a position in twenty, and is done all the same.
    """
    return torch.le((stream * units).sum(-1).abs(), torch.finfo(dtype).eps * stream.norm(dim=-1))


def unit(stream: Tensor) -> Tensor:
    """The stream with an L2 norm of 1 at each position."""
    norms: Tensor = stream.norm(dim=-1, keepdim=True)
    return stream / norms


def noise_generator(seed: int) -> np.random.Generator:
    """A row's source of noise; its k-th steered position always takes the k-th draw, whatever the engine."""
    return np.random.default_rng([seed, 1])


def draw_noise(generator: np.random.Generator, count: int, width: int) -> Tensor:
    """The next unit Gaussian directions (count, width) of a row."""
    return unit(torch.from_numpy(generator.standard_normal((count, width), dtype=np.float32)))
