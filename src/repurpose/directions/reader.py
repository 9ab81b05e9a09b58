"""Reading the residual stream before sentences: windows pooled inside the hook, many layers in one pass.

Rollouts are batched by length and padded on the right. No mask is passed: attention is causal, so what stands after a
row's end cannot change what stands before it. The forward pass ends at the last layer that is asked for.

A window [start, start + length - 1] counts from a sentence's first token; it is read where all of it lies in the
generated ids, and dropped (and counted) where it reaches into the prompt or past the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from repurpose.model.batches import batches_by_tokens
from repurpose.model.hooks import read_layers

QUANTILES = 1001
"""Points at which the distribution of a layer's single-token norms is kept."""


@dataclass(frozen=True)
class TokenSequence:
    """One rollout's ids: the first `prompt` of them are the prompt."""

    ids: list[int]
    prompt: int


@dataclass(frozen=True)
class Windows:
    """Windows of a shard, in stored order: one entry of each array for each window."""

    rollout: NDArray[np.int64]
    """Index of the rollout."""
    position: NDArray[np.int64]
    """Index of the window's first token in prompt + generated ids."""
    length: int


def plan_windows(
    sentences: Sequence[Mapping[str, Any]],
    rollouts: Mapping[tuple[str, int], tuple[int, TokenSequence]],
    starts: Sequence[int],
    length: int,
) -> tuple[Windows, list[dict[str, Any]], dict[str, dict[str, int]]]:
    """Place the windows of SENTENCES rows, `length` tokens each; `rollouts` has index and ids by (prompt_id, sample).

    Returns the windows, their keys, and the dropped ones counted by start and reason.
    """
    rows, positions, keys = [], [], []
    dropped: dict[str, dict[str, int]] = {}
    for start in sorted(starts):
        reasons = Counter({"before_generated": 0, "past_end": 0})
        for sentence in sentences:
            index, sequence = rollouts[sentence["prompt_id"], sentence["sample"]]
            offset = sentence["token_start"] + start
            if offset < 0:
                reasons["before_generated"] += 1
            elif sequence.prompt + offset + length > len(sequence.ids):
                reasons["past_end"] += 1
            else:
                rows.append(index)
                positions.append(sequence.prompt + offset)
                keys.append({**{k: sentence[k] for k in ("prompt_id", "sample", "sentence")}, "window_start": start})
        dropped[str(start)] = dict(reasons)
    return Windows(np.array(rows, np.int64), np.array(positions, np.int64), length), keys, dropped


def read_windows(
    model: PreTrainedModel,
    sequences: Sequence[TokenSequence],
    windows: Windows,
    layers: Sequence[int],
    batch_tokens: int,
    out: NDArray[Any],
    progress: Callable[[int], object],
) -> NDArray[np.float64]:
    """Fill `out` (layers, windows, d), float32 or float16, with each window's mean residual stream.

    Layers ascend; a batch has `batch_tokens` padded tokens at most; `progress` is told the number of tokens read.
    Returns the quantiles (layers, QUANTILES) of the L2 norms of single generated tokens.
    """
    norms: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    places = {layer: place for place, layer in enumerate(layers)}
    by_rollout = np.argsort(windows.rollout, kind="stable")
    bounds = np.searchsorted(windows.rollout[by_rollout], np.arange(len(sequences) + 1))

    def read_batch(batch: list[int]) -> None:
        slots = [by_rollout[bounds[i] : bounds[i + 1]] for i in batch]
        chosen, counts = np.concatenate(slots), [len(own) for own in slots]
        rows = torch.from_numpy(np.repeat(np.arange(len(batch)), counts))
        positions = torch.from_numpy(windows.position[chosen])
        ids = pad_sequence([torch.tensor(sequences[i].ids) for i in batch], batch_first=True)
        starts = torch.tensor([sequences[i].prompt for i in batch])[:, None]
        ends = torch.tensor([len(sequences[i].ids) for i in batch])[:, None]
        generated = (torch.arange(ids.shape[1]) >= starts) & (torch.arange(ids.shape[1]) < ends)

        def on_layer(layer: int, hidden: Tensor) -> None:
            norms[layer].append(hidden[generated.to(hidden.device)].float().norm(dim=-1).cpu())
            means = window_means(hidden, rows.to(hidden.device), positions.to(hidden.device), windows.length)
            out[places[layer], chosen] = means.cpu().numpy()

        read_layers(model, layers, on_layer, input_ids=ids.to(model.device))

    for batch in batches_by_tokens([len(s.ids) for s in sequences], batch_tokens):
        read_batch(batch)
        progress(sum(len(sequences[i].ids) for i in batch))
    return np.stack([_quantiles(norms[layer]) for layer in layers])


def window_means(hidden: Tensor, rows: Tensor, positions: Tensor, length: int) -> Tensor:
    """Mean (w, d) in float32 of `length` consecutive positions of hidden (b, s, d), from each (row, position)."""
    total = torch.zeros(len(rows), hidden.shape[-1], dtype=torch.float32, device=hidden.device)
    for offset in range(length):
        total += hidden[rows, positions + offset]
    return total / length


def _quantiles(norms: Sequence[Tensor]) -> NDArray[np.float64]:
    values = torch.cat([torch.empty(0), *norms]).double().numpy()
    return np.quantile(values, np.linspace(0, 1, QUANTILES)) if len(values) else np.full(QUANTILES, np.nan)
