"""Activations: one reader's residual stream before every sentence of a shard, many layers in one pass.

Rollouts are batched by length and padded on the right. No mask is passed: attention is causal, so what stands after a
row's end cannot change what stands before it. The forward pass ends at the last layer that is asked for.

A window [start, start + length - 1] counts from a sentence's first token; it is pooled inside the hook where all of it
lies in the generated ids, and dropped (and counted) where it reaches into the prompt or past the end.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import PreTrainedModel

from repurpose.data.command import run_step
from repurpose.data.provenance import provenance
from repurpose.directions.store import spool, write_activations
from repurpose.model.batches import batches_by_tokens
from repurpose.model.hooks import read_layers
from repurpose.model.loading import ModelError, load_model, load_shape, made_with
from repurpose.model.tokens import check_ids_fit, check_same_ids, load_tokenizer
from repurpose.study.settings import StepSettings

Row = dict[str, Any]
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


def read_shard(settings: StepSettings, rollouts: Sequence[Row], sentences: Sequence[Row], output: Path) -> None:
    """Read all windows of a shard and write its ACTIVATIONS file."""
    chosen, reader = settings.activations, settings.reader
    check_same_ids(load_tokenizer(settings.pair, "base"), load_tokenizer(settings.pair, "reasoning"))
    layers = asked_layers(chosen.layers, load_shape(settings.pair, reader)["num_hidden_layers"])
    sequences = [TokenSequence(r["prompt_token_ids"] + r["token_ids"], len(r["prompt_token_ids"])) for r in rollouts]
    check_ids_fit([max(s.ids) for s in sequences], settings.pair, reader)
    index = {(r["prompt_id"], r["sample"]): (i, sequences[i]) for i, r in enumerate(rollouts)}
    for row in sentences:
        if (row["prompt_id"], row["sample"]) not in index:
            raise ModelError(f"sentence of {row['prompt_id']}, sample {row['sample']}: no such rollout in the shard")
    windows, keys, dropped = plan_windows(sentences, index, chosen.window_starts, chosen.window_length)
    model = load_model(settings.pair, reader)
    shape = (len(layers), len(keys), model.config.get_text_config().hidden_size)
    total = sum(len(s.ids) for s in sequences)
    with spool(output.parent, *shape, chosen.dtype) as vectors, tqdm(total=total, unit="token") as bar:
        batch = settings.batch or chosen.batch_tokens
        norms = read_windows(model, sequences, windows, layers, batch, vectors, bar.update)
        notes = provenance(
            settings.values,
            **made_with(settings.pair, reader),
            dropped_windows=dropped,
            residual_quantiles={str(layer): row.tolist() for layer, row in zip(layers, norms, strict=True)},
            generated_tokens=sum(len(s.ids) - s.prompt for s in sequences),
        )
        write_activations(output, keys, layers, vectors, notes)


def asked_layers(asked: tuple[int, ...] | str, count: int) -> list[int]:
    """Layers to read, ascending; raises ModelError for a layer that the model lacks."""
    layers = list(range(count)) if isinstance(asked, str) else sorted(set(asked))
    if layers[-1] >= count or layers[0] < 0:
        raise ModelError(f"activations.layers: the reader has layers 0 to {count - 1}")
    return layers


def plan_windows(
    sentences: Sequence[Row],
    rollouts: Mapping[tuple[str, int], tuple[int, TokenSequence]],
    starts: Sequence[int],
    length: int,
) -> tuple[Windows, list[Row], dict[str, dict[str, int]]]:
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
    points, missing = np.linspace(0, 1, QUANTILES), np.full(QUANTILES, np.nan)
    values = [torch.cat([torch.empty(0), *norms[layer]]).double().numpy() for layer in layers]
    return np.stack([np.quantile(v, points) if len(v) else missing for v in values])


def window_means(hidden: Tensor, rows: Tensor, positions: Tensor, length: int) -> Tensor:
    """Mean (w, d) in float32 of `length` consecutive positions of hidden (b, s, d), from each (row, position)."""
    total = torch.zeros(len(rows), hidden.shape[-1], dtype=torch.float32, device=hidden.device)
    for offset in range(length):
        total += hidden[rows, positions + offset]
    return total / length


def main() -> None:
    with run_step("directions.activations", __doc__, one=["rollouts", "sentences"], batches=True) as step:
        rollouts, sentences = step.read("rollouts").to_dicts(), step.read("sentences").to_dicts()
        read_shard(step.settings, rollouts, sentences, Path(step.given.output))


if __name__ == "__main__":
    main()
