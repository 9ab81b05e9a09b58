"""repeng: a control on one layer, set anew for each condition, while transformers generates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from repeng import ControlModel

from benchmarks.inputs import Generation
from benchmarks.peers.transformers import load, write_by_condition
from benchmarks.worker import Runs


def generation(folder: Path) -> Runs:
    """`ControlModel.set_raw_control`, one condition after another."""
    inputs = Generation.load(folder)
    model = load(folder)
    controlled = ControlModel(model, [inputs.layer])

    @contextmanager
    def steered(number: int) -> Iterator[None]:
        controlled.set_raw_control({inputs.layer: torch.tensor(inputs.vectors[number])})
        yield
        controlled.reset()

    return {"steered": partial(write_by_condition, model, inputs, steered)}
