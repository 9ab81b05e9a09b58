"""Directions that should NOT work: what a behaviour's vector is judged against.

`random`: fixed unit Gaussian directions, the same for every reader, layer and window. `shuffle`: as many
windows as the behaviour has, whatever their labels. `same-offset`: the same of windows that are not the
behaviour's. `mean`: the overall mean. Noise and self-amplification are made at each token, in the hooks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def random_direction(seed: int, number: int, width: int) -> NDArray[np.float64]:
    """Unit Gaussian direction (width,), a function of its three arguments alone."""
    direction = _generator(seed, "random", number).standard_normal(width)
    return direction / np.linalg.norm(direction)


def shuffled_members(positives: Mask, seed: int, number: int) -> Mask:
    """The behaviour's label dealt anew over all windows (n,): as many members, drawn from all."""
    return _subset(np.ones_like(positives), int(positives.sum()), _generator(seed, "shuffle", number))


def same_offset_members(positives: Mask, seed: int) -> Mask:
    """As many windows (n,) as the behaviour has, drawn from the starts of all other sentences.

    Where fewer others exist, all of them.
    """
    others = ~positives
    return _subset(others, min(int(positives.sum()), int(others.sum())), _generator(seed, "same-offset", 0))


def _subset(pool: Mask, count: int, generator: np.random.Generator) -> Mask:
    members = np.zeros_like(pool)
    members[generator.choice(np.flatnonzero(pool), count, replace=False)] = True
    return members


def _generator(seed: int, kind: str, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, number, *kind.encode()])
