"""Layers below the steered one, run once for all rows of the same tokens.

Rows of one text that are steered differently are alike up to the layer where the first of them is steered: what that
layer gave before any steering is read once, and each row's forward pass starts from there.

Legend: b rows, u texts that differ, s positions, d width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from repurpose.model.hooks import decoder_layers, read_layers
from repurpose.model.steer import Steer


def last_shared_layer(steers: Sequence[Steer | None], layers: int, prompt_only: bool = False) -> int | None:
    """The last layer whose output, before steering, is the same for rows of one text; None where none is.

    Of a prompt alone, what is done to generated tokens only does not count.
    """
    met = [s for s in steers if s is not None and not (prompt_only and s.positions == "generated")]
    lowest = min((min(steer.layers(layers)) for steer in met), default=layers - 1)
    return None if any(steer.operation == "ablate" for steer in met) else lowest


def number_texts(texts: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """The first row (u,) of each text that differs, and which of these each row (b,) has."""
    first: dict[tuple[int, ...], int] = {}
    for row, text in enumerate(texts):
        first.setdefault(tuple(text), row)
    numbers = {text: number for number, text in enumerate(first)}
    return list(first.values()), [numbers[tuple(text)] for text in texts]


def read_stream(model: PreTrainedModel, layer: int, **inputs: Any) -> Tensor:
    """The output (u, s, d) of one layer, from a forward pass that ends there."""
    found: list[Tensor] = []
    read_layers(model, [layer], lambda _, hidden: found.append(hidden.clone()), **inputs)
    return found[0]


@contextmanager
def start_above(model: nn.Module, layer: int, stream: Tensor) -> Iterator[None]:
    """Let forward passes inside the block take `stream` (b, s, d) for what a layer gives, and run none up to it.

    Hooks on the layer see the stream as if the layer had made it.
    """
    skipped = decoder_layers(model)[: layer + 1]
    try:
        for module in skipped:
            module.forward = lambda *_args, **_kwargs: stream
        yield
    finally:
        for module in skipped:
            del module.forward


@contextmanager
def unembed_only(model: PreTrainedModel, rows: Tensor, positions: Tensor) -> Iterator[None]:
    """Let the unembedding run at some positions alone: logits (1, n, v) of n pairs of a row and a position.

    What a model does to its logits afterwards, such as a soft cap, it does to these.
    """
    head = model.get_output_embeddings()
    assert head is not None  # a causal model has one

    def choose(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][rows, positions][None], *inputs[1:])

    handle = head.register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()
