"""Projections of single tokens on the behaviour's direction, on held-out rollouts (Fig. 6 of the paper).

Where the language's truth is known, each token also carries whether the last calculation before it is right, so that
the direction can be scored: does it find the mistakes?
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import polars as pl
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from repurpose.data.command import run_step
from repurpose.data.schemas import PROJECTIONS
from repurpose.data.selected import read_selected
from repurpose.directions.unit_directions import read_pair_directions
from repurpose.model.hooks import read_layers
from repurpose.model.loading import load_model, made_with
from repurpose.model.token_ends import token_texts
from repurpose.organism.equations import Account
from repurpose.study.conditions import VectorKey
from repurpose.study.settings import StepSettings


def token_activations(model: PreTrainedModel, rollout: dict[str, Any], layer: int) -> Tensor:
    """Residual stream (generated tokens, d) float32 of one rollout at one layer."""
    found: list[Tensor] = []
    ids = torch.tensor([rollout["prompt_token_ids"] + rollout["token_ids"]], device=model.device)
    read_layers(model, [layer], lambda _, hidden: found.append(hidden[0].float().clone()), input_ids=ids)
    return found[0][len(rollout["prompt_token_ids"]) :].cpu()


def follow_calculations(sentences: Sequence[dict[str, Any]], length: int) -> list[tuple[bool | None, int | None]]:
    """For each token: is the last finished calculation right, and how many tokens ago did it end?

    A calculation that ends a sentence is checked by what the text says; where there is none yet both are null.
    """
    account = Account()
    state: list[tuple[bool | None, int | None]] = [(None, None)] * length
    for sentence in sentences:
        if (correct := account.judge(sentence["text"])) is not None:
            for position in range(end := sentence["token_end"], length):
                state[position] = (correct, position - end)
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
    calculations, labels = follow_calculations(sentences, len(tokens)), label_tokens(sentences, len(tokens))
    for position, (token, value) in enumerate(zip(tokens, projections, strict=True)):
        yield {
            **{name: rollout[name] for name in ("prompt_id", "sample")},
            "position": position,
            "token": token,
            "projection": value,
            "keyword": token.strip().lower() in keywords,
            "label": labels[position][0],
            "sentence": labels[position][1],
            "correct_calculation": calculations[position][0],
            "since_calculation": calculations[position][1],
        }


def project_rollouts(
    settings: StepSettings, rollouts: pl.DataFrame, sentences: pl.DataFrame, unit: Tensor, layer: int
) -> Iterator[dict[str, Any]]:
    """Yield the PROJECTIONS rows of one reader on all held-out rollouts.

    `unit` (d,) is the direction, read at `layer`; activations are centred on their mean over all tokens.
    """
    model, keywords = load_model(settings.pair, settings.reader), {keyword.lower() for keyword in settings.keywords}
    heldout = rollouts.filter(split="heldout").sort("prompt_id", "sample").to_dicts()
    streams = [token_activations(model, r, layer) for r in tqdm(heldout, desc="projections", mininterval=2)]
    centre = torch.cat(streams).double().mean(0).float()
    for rollout, stream in zip(heldout, streams, strict=True):
        own = sentences.filter(prompt_id=rollout["prompt_id"], sample=rollout["sample"]).sort("sentence").to_dicts()
        for row in make_rows(rollout, own, ((stream - centre) @ unit).tolist(), keywords):
            yield {**row, "reader": settings.reader, "layer": layer}


def main() -> None:
    with run_step("directions.projections", __doc__, one=["selection"], many=["rollouts", "labels", "vectors"]) as step:
        settings, selected = step.settings, read_selected(step.given.selection)
        key = VectorKey(settings.vectors.behaviour, settings.reader, selected.layer, selected.window_start)
        unit = torch.from_numpy(read_pair_directions(step.given.vectors).unit(key))
        rows = project_rollouts(settings, step.read("rollouts"), step.read("labels"), unit, selected.layer)
        step.write(list(rows), PROJECTIONS, **made_with(settings.pair, settings.reader))


if __name__ == "__main__":
    main()
