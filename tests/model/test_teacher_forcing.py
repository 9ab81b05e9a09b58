"""Teacher forcing reads what a plain forward pass gives, row by row, steered or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from repurpose.model.hooks import decoder_layers
from repurpose.model.steer import Steer
from repurpose.model.teacher_forcing import ForcedRow, read_logits


def plain(model: LlamaForCausalLM, ids: list[int], delta: torch.Tensor | None = None, layer: int = 1) -> torch.Tensor:
    """One row through the model by itself, with a hook of our own."""

    def add(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output + delta

    handle = decoder_layers(model)[layer].register_forward_hook(add) if delta is not None else None
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    if handle is not None:
        handle.remove()
    return logits


def test_rows_in_a_batch_equal_rows_alone(model: LlamaForCausalLM) -> None:
    direction = np.ones(32, dtype=np.float32) / np.sqrt(32, dtype=np.float32)
    steer = Steer("test", "add", 1, 2.5, direction)
    rows = [
        ForcedRow([3, 4, 5, 6, 7, 8, 9], [0, 6], None),
        ForcedRow([3, 4, 5], [1, 2], steer),
        ForcedRow([9, 8, 7, 6, 5], [4], steer),
    ]
    read = dict(read_logits(model, rows, batch_tokens=64))
    assert sorted(read) == [0, 1, 2]
    for index, row in enumerate(rows):
        delta = None if row.steer is None else torch.from_numpy(2.5 * direction)
        wanted = plain(model, row.token_ids, delta)[row.positions]
        torch.testing.assert_close(read[index].logits, wanted, atol=1e-4, rtol=1e-4)
    assert [(read[i].steered_positions, read[i].expected_positions) for i in range(3)] == [(0, 0), (3, 3), (5, 5)]


@pytest.mark.parametrize("batch_tokens", [1, 10, 1000])
def test_batches_change_nothing(model: LlamaForCausalLM, batch_tokens: int) -> None:
    rows = [ForcedRow(list(range(3, 3 + n)), [n - 1]) for n in (2, 9, 4, 4)]
    one = dict(read_logits(model, rows, batch_tokens=1))
    many = dict(read_logits(model, rows, batch_tokens))
    for index in range(4):
        torch.testing.assert_close(one[index].logits, many[index].logits, atol=1e-4, rtol=1e-4)
