"""Teacher forcing: read a model's logits on given tokens, with or without steering.

Rows of one call are padded on the right, so that positions count from each row's start. Steering and its proof are
those of generation: the same hooks, the same counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from repurpose.model.batches import batches_by_tokens
from repurpose.model.hooks import BatchSteering, check_counts, steer
from repurpose.model.steer import Steer, expected_positions


@dataclass(frozen=True)
class ForcedRow:
    """One row: its tokens, the positions whose next-token logits are wanted, and how it is steered, if at all."""

    token_ids: list[int]
    positions: list[int]
    """Position p gives the logits that predict token p + 1."""
    steer: Steer | None = None
    seed: int = 0
    """Of the row's noise."""
    prompt_tokens: int | None = None
    """How many of the tokens are the prompt's, for steering at generated positions; null: all."""

    @property
    def prompt(self) -> int:
        """How many of the tokens are the prompt's."""
        return len(self.token_ids) if self.prompt_tokens is None else self.prompt_tokens


@dataclass(frozen=True)
class Read:
    """What was read on one row."""

    logits: Tensor
    """(positions, v) float32."""
    steered_positions: int
    expected_positions: int


def read_logits(
    model: PreTrainedModel, rows: Sequence[ForcedRow], batch_tokens: int = 8192
) -> Iterator[tuple[int, Read]]:
    """Yield (index of the row, what was read on it), batch by batch, longest rows first.

    A row that was not steered at each of the tokens that its policy names is a SteeringError.
    """
    for indices in batches_by_tokens([len(row.token_ids) for row in rows], batch_tokens):
        batch = [rows[i] for i in indices]
        yield from zip(indices, _read_batch(model, batch), strict=True)


@torch.inference_mode()
def _read_batch(model: PreTrainedModel, rows: Sequence[ForcedRow]) -> list[Read]:
    lengths = torch.tensor([len(row.token_ids) for row in rows], device=model.device)
    prompts = torch.tensor([row.prompt for row in rows], device=model.device)
    ids = pad_sequence([torch.tensor(row.token_ids) for row in rows], batch_first=True).to(model.device)
    positions = torch.arange(ids.shape[1], device=model.device)
    real = positions < lengths[:, None]
    steers = [row.steer for row in rows]
    steering = BatchSteering(steers, [row.seed for row in rows], model)
    steering.positions(real, positions >= prompts[:, None])
    with steer(model, steering):
        logits = model(input_ids=ids, attention_mask=real.long(), use_cache=False).logits
    counted = steering.counted()
    expected = [expected_positions(row.steer, row.prompt, len(row.token_ids) - row.prompt) for row in rows]
    check_counts(steers, counted, expected)
    read = [logits[place, row.positions].float().cpu() for place, row in enumerate(rows)]
    return [Read(*parts) for parts in zip(read, counted, expected, strict=True)]
