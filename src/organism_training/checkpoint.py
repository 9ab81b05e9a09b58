"""Checkpoints of training: weights, optimiser states, losses; a killed run goes on from the last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from repurpose.data.files import atomic_write

Optimisers = Sequence[torch.optim.Optimizer]


def save_checkpoint(path: Path, model: nn.Module, optimisers: Optimisers, losses: list[float], key: str) -> None:
    """Write everything that the rest of a stage depends on, whole or not at all."""
    states = [optimiser.state_dict() for optimiser in optimisers]
    with atomic_write(path) as temporary:
        torch.save({"key": key, "losses": losses, "model": model.state_dict(), "optimisers": states}, temporary)


def load_checkpoint(path: Path, model: nn.Module, optimisers: Optimisers, key: str) -> list[float]:
    """Load a checkpoint of the same settings into model and optimisers.

    Returns:
        The losses so far, one for each batch; empty where there is no checkpoint or its key differs.
    """
    if not path.is_file():
        return []
    found = torch.load(path, weights_only=True)
    if found["key"] != key:
        return []
    model.load_state_dict(found["model"])
    for optimiser, state in zip(optimisers, found["optimisers"], strict=True):
        optimiser.load_state_dict(state)
    return list(found["losses"])
