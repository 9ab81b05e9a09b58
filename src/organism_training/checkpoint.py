"""Checkpoints of training as safetensors: weights, optimiser states, losses; a killed run goes on from the last."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from repurpose.data.files import whole_file


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimisers: Sequence[torch.optim.Optimizer],
    losses: Sequence[float],
    key: str,
) -> None:
    """Write everything that the rest of a stage depends on, whole or not at all."""
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for number, optimiser in enumerate(optimisers):
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{number}/{index}/{name}": value for name, value in state.items()}
    contiguous = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as temporary:
        save_file(contiguous, temporary, {"key": key, "losses": json.dumps(list(losses))})


def load_checkpoint(path: Path, model: nn.Module, optimisers: Sequence[torch.optim.Optimizer], key: str) -> list[float]:
    """Load a checkpoint of the same settings into model and optimisers.

    Returns:
        The losses so far, one a step; empty where there is no checkpoint or its key differs.
    """
    if not path.is_file():
        return []
    with safe_open(path, "pt") as file:
        notes = file.metadata()
        if notes["key"] != key:
            return []
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    model.load_state_dict({n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")})
    for number, optimiser in enumerate(optimisers):
        _restore(optimiser, {n: t for n, t in tensors.items() if n.startswith(f"optimiser/{number}/")})
    return list(json.loads(notes["losses"]))


def _restore(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        _, _, index, key = name.split("/")
        state.setdefault(int(index), {})[key] = tensor
    whole = optimiser.state_dict()
    whole["state"] = state
    optimiser.load_state_dict(whole)
