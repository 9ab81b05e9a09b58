"""Teacher forcing: read a model's logits on given tokens, with or without steering.

Rows of one call are padded on the right, so that positions count from each row's start. Steering and its proof are
those of generation: the same hooks, the same counts.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from repurpose.model.batches import batches_by_tokens
from repurpose.model.hooks import BatchSteering, check_counts, steer
from repurpose.model.shared_layers import last_shared_layer, number_texts, read_stream, start_above, unembed_only
from repurpose.model.steer import Steer, expected_positions


class Passage(NamedTuple):
    """A text, and the positions at which a choice between two sets of tokens is read."""

    prompt_id: str
    token_ids: list[int]
    positions: list[int]
    sample: int = 0


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


def log_odds(logits: Tensor, ids: Sequence[int], others: Sequence[int] | None = None) -> Tensor:
    """Log-odds (nats) of `ids` against `others`, or against all other tokens, from logits (positions, v)."""
    wanted = logits[:, list(ids)].double().logsumexp(-1)
    if others is not None:
        return wanted - logits[:, list(others)].double().logsumexp(-1)
    probability = wanted - logits.double().logsumexp(-1)  # its logarithm
    return probability - torch.log(-torch.expm1(probability))


def read_logits(
    model: PreTrainedModel, rows: Sequence[ForcedRow], batch_tokens: int = 8192
) -> Iterator[tuple[int, Read]]:
    """Yield (row's index, what was read) by batch, longest first; a SteeringError for a row not steered as asked.

    Rows of one text stand together, and the layers below the first steered one run once for all of them.
    """
    order = sorted(range(len(rows)), key=lambda i: rows[i].token_ids)
    for places in batches_by_tokens([len(rows[i].token_ids) for i in order], batch_tokens):
        indices = [order[place] for place in places]
        yield from zip(indices, _read_batch(model, [rows[i] for i in indices]), strict=True)


@torch.inference_mode()
def _read_batch(model: PreTrainedModel, rows: Sequence[ForcedRow]) -> list[Read]:
    steers = [row.steer for row in rows]
    logits, counted = _forward(model, rows, BatchSteering(steers, [row.seed for row in rows], model))
    expected = [expected_positions(row.steer, row.prompt, len(row.token_ids) - row.prompt) for row in rows]
    check_counts(steers, counted, expected)
    read = logits.float().cpu().split([len(row.positions) for row in rows])
    return [Read(*parts) for parts in zip(read, counted, expected, strict=True)]


def _forward(model: PreTrainedModel, rows: Sequence[ForcedRow], steering: BatchSteering) -> tuple[Tensor, list[int]]:
    """Logits (n, v) at all rows' positions, one row after the other, and each row's steered positions."""
    lengths = torch.tensor([len(row.token_ids) for row in rows], device=model.device)
    prompts = torch.tensor([row.prompt for row in rows], device=model.device)
    ids = pad_sequence([torch.tensor(row.token_ids) for row in rows], batch_first=True).to(model.device)
    columns = torch.arange(ids.shape[1], device=model.device)
    real = columns < lengths[:, None]
    steering.positions(real, columns >= prompts[:, None])
    inputs = {"input_ids": ids, "attention_mask": real.long()}
    wanted = [(place, position) for place, row in enumerate(rows) for position in row.positions]
    with ExitStack() as stack:
        texts, number = number_texts([row.token_ids for row in rows])
        shared = last_shared_layer(steering.steers, steering.layers)
        if shared is not None and len(texts) < len(rows):
            stream = read_stream(model, shared, **{name: value[texts] for name, value in inputs.items()})
            stack.enter_context(start_above(model, shared, stream[number]))
        stack.enter_context(steer(model, steering))
        stack.enter_context(unembed_only(model, *torch.tensor(wanted, device=model.device).reshape(-1, 2).T))
        logits = model(**inputs, use_cache=False).logits[0]
    return logits, steering.counted()
