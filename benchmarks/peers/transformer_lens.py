"""TransformerLens: hooks on blocks, and `stop_at_layer`. Its attention is eager, so that hooks can see the pattern."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from benchmarks.inputs import Extraction, collect
from benchmarks.worker import Runs


def extraction(folder: Path) -> Runs:
    """`run_with_hooks` up to the last layer that is read; the weights are as they are, neither folded nor centred."""
    model = TransformerBridge.boot_transformers(str(folder / "model"), device="cpu", dtype=torch.float32)
    inputs = Extraction.load(folder)

    def read(ids: Tensor, layers: Sequence[int]) -> Sequence[Tensor]:
        found: dict[int, Tensor] = {}

        def keep(layer: int, stream: Tensor, **_: object) -> None:
            found[layer] = stream

        hooks = [(f"blocks.{layer}.hook_out", partial(keep, layer)) for layer in layers]
        with torch.inference_mode():
            model.run_with_hooks(ids, fwd_hooks=hooks, stop_at_layer=max(layers) + 1, return_type=None)
        return [found[layer] for layer in layers]

    return {run: partial(collect, inputs, run, read) for run in inputs.layers}
