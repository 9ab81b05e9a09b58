"""Projections of single tokens on the behaviour's direction, on held-out rollouts (Fig. 6 of the paper).

Where the language's truth is known, each token also carries whether the last step before it is right, so that the
direction can be scored: does it find the mistakes?
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import polars as pl
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from repurpose.data.command import read_arguments
from repurpose.data.files import read_table, write_table
from repurpose.data.provenance import provenance
from repurpose.data.schemas import PROJECTIONS
from repurpose.data.selected import read_selected
from repurpose.directions.unit_directions import read_directions
from repurpose.model.hooks import read_layers
from repurpose.model.loading import load_model, made_with
from repurpose.model.token_ends import token_texts
from repurpose.organism.language import read_step
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import StepSettings


def token_activations(model: PreTrainedModel, rollout: dict[str, Any], layer: int) -> Tensor:
    """Residual stream (generated tokens, d) float32 of one rollout at one layer."""
    found: list[Tensor] = []
    ids = torch.tensor([rollout["prompt_token_ids"] + rollout["token_ids"]], device=model.device)
    read_layers(model, [layer], lambda _, hidden: found.append(hidden[0].float().clone()), input_ids=ids)
    return found[0][len(rollout["prompt_token_ids"]) :].cpu()


def follow_steps(sentences: Sequence[dict[str, Any]], length: int) -> list[tuple[bool | None, int | None]]:
    """For each token: is the last finished step right, and how many tokens ago did it end?

    A step of the embedded pair's language is checked by its arithmetic; elsewhere there is no truth and both are null.
    """
    state: list[tuple[bool | None, int | None]] = [(None, None)] * length
    for sentence in sentences:
        step = read_step(sentence["text"])
        if step is None:
            continue
        value, change, result = step
        end = sentence["token_end"]
        for position in range(end, length):
            state[position] = (change.apply(value) == result, position - end)
    return state


def label_tokens(sentences: Sequence[dict[str, Any]], length: int) -> list[tuple[str | None, int | None]]:
    """For each token: its sentence's label and number."""
    labels: list[tuple[str | None, int | None]] = [(None, None)] * length
    for sentence in sentences:
        for position in range(sentence["token_start"], min(sentence["token_end"], length)):
            labels[position] = (sentence["label"], sentence["sentence"])
    return labels


def make_rows(
    rollout: dict[str, Any],
    sentences: Sequence[dict[str, Any]],
    projections: Sequence[float],
    keywords: Collection[str],
) -> Iterator[dict[str, Any]]:
    """Yield the PROJECTIONS rows of one rollout, without reader and layer; a token is told by its text."""
    tokens = token_texts(rollout["text"], rollout["token_ends"])
    steps, labels = follow_steps(sentences, len(tokens)), label_tokens(sentences, len(tokens))
    for position, (token, value) in enumerate(zip(tokens, projections, strict=True)):
        yield {
            "prompt_id": rollout["prompt_id"],
            "sample": rollout["sample"],
            "position": position,
            "token": token,
            "projection": value,
            "keyword": token.strip().lower() in keywords,
            "label": labels[position][0],
            "sentence": labels[position][1],
            "correct_step": steps[position][0],
            "since_step": steps[position][1],
        }


def main() -> None:
    arguments = read_arguments(__doc__, ["selection"], ["rollouts", "labels", "vectors"])
    with one_line_errors("directions.projections"):
        settings = StepSettings("directions.projections", arguments.settings)
        rows = _run(settings, arguments.rollouts, arguments.labels, arguments.vectors, arguments.selection)
        notes = provenance(settings.values, **made_with(settings.pair, settings.reader))
        write_table(arguments.output, rows, PROJECTIONS, notes)


def _run(
    settings: StepSettings, rollouts: list[str], sentences: list[str], vectors: list[str], selection: str
) -> list[dict[str, Any]]:
    reader = settings.reader
    chosen = read_selected(selection)
    layer, start = chosen.layer, chosen.window_start
    directions = read_directions(read_table(vectors).iter_rows(named=True))
    unit = torch.from_numpy(directions.unit((settings.vectors.behaviour, reader, layer, start)))
    model, keywords = load_model(settings.pair, reader), {keyword.lower() for keyword in settings.keywords}
    texts = read_table(rollouts).filter(pl.col("split") == "heldout").sort("prompt_id", "sample")
    heldout = list(texts.iter_rows(named=True))
    streams = [token_activations(model, r, layer) for r in tqdm(heldout, desc="projections", mininterval=2)]
    centre = torch.cat(streams).double().mean(0).float()
    by_rollout = read_table(sentences).sort("sentence").partition_by("prompt_id", "sample", as_dict=True)
    rows: list[dict[str, Any]] = []
    for rollout, stream in zip(heldout, streams, strict=True):
        own = by_rollout.get((rollout["prompt_id"], rollout["sample"]))
        spans = [] if own is None else list(own.iter_rows(named=True))
        values = ((stream - centre) @ unit).tolist()
        made = make_rows(rollout, spans, values, keywords)
        rows += [{**row, "reader": reader, "layer": layer} for row in made]
    return rows


if __name__ == "__main__":
    main()
