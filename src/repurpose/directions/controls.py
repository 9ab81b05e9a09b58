"""Controls of the vectors: directions that should NOT work, each a function of the study's seed and of its number.

`random`: isotropic, the same for every reader, layer and window. `covariance-random`: a Gaussian weighting of a site's
centred windows, which has their covariance, so that it lies where activations vary, as the vector does; no matrix
(d, d) is made. `shuffle`: for each prompt as many windows as the behaviour has there, whatever their labels.
`same-offset`: the same of windows that are not the behaviour's; where a prompt has fewer of those, all of them.

Legend: n windows, d width, k directions.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from repurpose.data.statistics import Array

Mask = NDArray[np.bool_]
BLOCK = 4096
"""Windows that are made float64 at once."""


def random_direction(seed: int, number: int, width: int) -> Array:
    """Unit Gaussian direction (width,), a function of its three arguments alone."""
    direction = _generator(seed, "random", number).standard_normal(width)
    return direction / np.linalg.norm(direction)


def covariance_directions(windows: Iterable[NDArray[np.floating]], total: int, seed: int, count: int) -> Array:
    """Unit directions (k, d) with the covariance of the windows; NaN where all windows are alike.

    A window has the same weights under every reader and layer.

    Args:
        windows: some (n, d) at a time, `total` in all.
    """
    weights = np.stack([_generator(seed, "covariance-random", i).standard_normal(total) for i in range(count)])
    weights -= weights.mean(1, keepdims=True)  # the same as centring the windows
    sums = weigh(weights, windows)
    with np.errstate(invalid="ignore"):
        directions: Array = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return directions


def weigh(weights: Array, windows: Iterable[NDArray[np.floating]]) -> Array:
    """Sums (k, d) of windows, some (n, d) at a time, under weights (k, all of them) of which each row sums to 0."""
    origin, total, start = np.zeros(0), np.zeros(0), 0
    for block in (vectors[i : i + BLOCK] for vectors in windows for i in range(0, len(vectors), BLOCK)):
        if not start:
            origin, total = block[0].astype(np.float64), np.zeros((len(weights), block.shape[1]))
        total += weights[:, start : start + len(block)] @ (block - origin)  # so that equal windows give exact zeros
        start += len(block)
    return total


def shuffled_members(positives: Mask, prompts: NDArray[np.int64], seed: int, number: int) -> Mask:
    """The behaviour's labels dealt anew among each prompt's windows (n,): in each prompt as many members."""
    return _draw_within(np.ones_like(positives), positives, prompts, _generator(seed, "shuffle", number))


def same_offset_members(positives: Mask, prompts: NDArray[np.int64], seed: int) -> Mask:
    """In each prompt as many windows (n,) as the behaviour has, drawn from the starts of its other sentences.

    Where a prompt has fewer others, all of them.
    """
    return _draw_within(~positives, positives, prompts, _generator(seed, "same-offset", 0))


def _draw_within(pool: Mask, wanted: Mask, prompts: NDArray[np.int64], generator: np.random.Generator) -> Mask:
    """From each prompt's part of the pool (n,) as many as are wanted there; all where that is fewer."""
    keys = np.where(pool, generator.random(len(pool)), 2.0)  # what is not in the pool comes last
    order = np.lexsort((keys, prompts))
    sorted_prompts = prompts[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_prompts, sorted_prompts)
    members = np.zeros_like(pool)
    members[order] = rank < np.bincount(prompts, wanted)[sorted_prompts]
    return members & pool


def _generator(seed: int, kind: str, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, number, *kind.encode()])
