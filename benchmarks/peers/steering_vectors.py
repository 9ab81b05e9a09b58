"""steering-vectors: recorded activations, and a vector applied while transformers generates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from steering_vectors import SteeringVector, record_activations
from torch import Tensor

from benchmarks.inputs import Extraction, Generation, collect
from benchmarks.peers.transformers import load, write_by_condition
from benchmarks.worker import Runs


def extraction(folder: Path) -> Runs:
    """`record_activations` of the layers that are asked for; it has no early stop."""
    model, inputs = load(folder), Extraction.load(folder)

    def read(ids: Tensor, layers: Sequence[int]) -> Sequence[Tensor]:
        with torch.inference_mode(), record_activations(model, layer_nums=list(layers)) as recorded:
            model(input_ids=ids, use_cache=False)
        return [recorded[layer][0] for layer in layers]

    return {run: partial(collect, inputs, run, read) for run in inputs.layers}


def generation(folder: Path) -> Runs:
    """`SteeringVector.apply`, one condition after another."""
    model, inputs = load(folder), Generation.load(folder)
    vectors = [SteeringVector({inputs.layer: torch.tensor(one)}, "decoder_block") for one in inputs.vectors]
    return {"steered": partial(write_by_condition, model, inputs, lambda number: vectors[number].apply(model))}
