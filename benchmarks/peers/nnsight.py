"""nnsight: a trace that saves layers' outputs and stops after the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import nnsight
import torch
from torch import Tensor

from benchmarks.inputs import Extraction, collect
from benchmarks.peers.transformers import load
from benchmarks.worker import Runs


def extraction(folder: Path) -> Runs:
    """`trace` with `tracer.stop()`."""
    model, inputs = nnsight.NNsight(load(folder)), Extraction.load(folder)

    def read(ids: Tensor, layers: Sequence[int]) -> Sequence[Tensor]:
        with torch.inference_mode(), model.trace(input_ids=ids, use_cache=False) as tracer:
            hidden: list[Tensor] = nnsight.save([])
            for layer in layers:
                hidden.append(model.model.layers[layer].output)
            tracer.stop()
        return hidden

    return {run: partial(collect, inputs, run, read) for run in inputs.layers}
