"""Projections of single tokens on directions, on held-out rollouts (Fig. 6 of the paper).

The directions are the behaviour's and controls at the selected site, and those from outside, each at its own layer.

Where the language's truth is known, each token also carries whether the last calculation before it is right, so that
the direction can be scored: does it find the mistakes?
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from repurpose.data.command import run_step
from repurpose.data.schemas import PROJECTIONS
from repurpose.data.selected import Selected, read_selected
from repurpose.directions.unit_directions import Directions, read_pair_directions
from repurpose.model.hooks import read_layers
from repurpose.model.loading import load_model, made_with
from repurpose.model.token_ends import token_texts
from repurpose.organism.equations import Account
from repurpose.study.conditions import VectorKey
from repurpose.study.settings import StepSettings

OF_EACH = 8
"""Controls of one kind that are projected on at most."""


class Axis(NamedTuple):
    """What tokens are projected on."""

    direction: str
    layer: int
    unit: Tensor
    """(d,)"""


def choose_axes(directions: Directions, behaviour: str, reader: str, selected: Selected) -> list[Axis]:
    """The behaviour's direction at the selected site, then those from outside, then controls at that site."""
    keys = [VectorKey(behaviour, reader, selected.layer, selected.window_start)]
    outside = {key.name: key for key in directions.units if key.name in directions.outside() and key.reader == reader}
    keys += [outside[name] for name in sorted(outside)]  # the same at every window
    site = reader, selected.layer, selected.window_start
    here = sorted(key for key in directions.units if key[1:] == site and key.name not in (behaviour, *outside))
    keys += [key for key in here if not key.name[-2:].isdigit() or int(key.name[-2:]) < OF_EACH]
    return [Axis(key.name, key.layer, torch.from_numpy(directions.unit(key))) for key in keys]


def token_activations(model: PreTrainedModel, rollout: dict[str, Any], layers: Collection[int]) -> dict[int, Tensor]:
    """Residual streams (generated tokens, d) float32 of one rollout by layer."""
    found: dict[int, Tensor] = {}
    ids = torch.tensor([rollout["prompt_token_ids"] + rollout["token_ids"]], device=model.device)

    def keep(layer: int, hidden: Tensor) -> None:
        found[layer] = hidden[0].float().clone()

    read_layers(model, sorted(layers), keep, input_ids=ids)
    return {layer: stream[len(rollout["prompt_token_ids"]) :].cpu() for layer, stream in found.items()}


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
    """Yield the PROJECTIONS rows of one rollout and direction, without the latter, reader and layer.

    A token is told by its text.
    """
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
    settings: StepSettings, rollouts: pl.DataFrame, sentences: pl.DataFrame, axes: Sequence[Axis]
) -> Iterator[dict[str, Any]]:
    """Yield the PROJECTIONS rows of one reader on all held-out rollouts, one direction after the other.

    Activations are centred on their mean over all tokens.
    """
    model, keywords = load_model(settings.pair, settings.reader), {keyword.lower() for keyword in settings.keywords}
    heldout = rollouts.filter(split="heldout").sort("prompt_id", "sample").to_dicts()
    layers = {axis.layer for axis in axes}
    streams = [token_activations(model, r, layers) for r in tqdm(heldout, desc="projections", mininterval=2)]
    centres = {layer: torch.cat([s[layer] for s in streams]).double().mean(0).float() for layer in layers}
    for axis, (rollout, stream) in product(axes, zip(heldout, streams, strict=True)):
        values = ((stream[axis.layer] - centres[axis.layer]) @ axis.unit).tolist()
        own = sentences.filter(prompt_id=rollout["prompt_id"], sample=rollout["sample"]).sort("sentence").to_dicts()
        for row in make_rows(rollout, own, values, keywords):
            yield {**row, "direction": axis.direction, "reader": settings.reader, "layer": axis.layer}


def main() -> None:
    with run_step("directions.projections", __doc__, one=["selection"], many=["rollouts", "labels", "vectors"]) as step:
        settings, selected = step.settings, read_selected(step.given.selection)
        directions = read_pair_directions(step.given.vectors)
        axes = choose_axes(directions, settings.vectors.behaviour, settings.reader, selected)
        rows = project_rollouts(settings, step.read("rollouts"), step.read("labels"), axes)
        step.write(list(rows), PROJECTIONS, **made_with(settings.pair, settings.reader))


if __name__ == "__main__":
    main()
