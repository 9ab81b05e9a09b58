"""Write explorer.html: rollouts, labels, traces, sweeps and measurements in, one self-contained page of texts out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from repurpose.data.command import Step, run_step
from repurpose.data.files import read_provenance, read_table, write_text
from repurpose.data.selected import Selected, read_selected
from repurpose.results.explorer.blocks import Vocabulary, pack_json
from repurpose.results.explorer.page import render_page
from repurpose.results.explorer.pieces import Pieces, learn_pieces
from repurpose.results.explorer.rollout_texts import (
    is_shown,
    learn_from,
    order_rollouts,
    show_axes,
    show_prompts,
    show_rollouts,
)
from repurpose.results.explorer.steered_texts import (
    Labeller,
    choose_prompts,
    ids_and_texts,
    labeller,
    show_cells,
    show_texts,
    units_of,
)
from repurpose.results.explorer.words import describe_all
from repurpose.study.settings import BEHAVIOURS, StepSettings

MOST_BYTES = 15_000_000
"""Of the page."""
SMALLER = 0.7
"""Where a page is larger, how much of its texts is tried next."""
MANY = ("rollouts", "labels", "traces", "sweeps", "measurements")
MAYBE = ("others", "steered-labels")
MADE_WITH = ("commit", "package", "settings_digest")


@dataclass(frozen=True)
class Inputs:
    """The tables that the page is made from."""

    settings: StepSettings
    selected: Selected
    prompts: pl.DataFrame
    rollouts: pl.DataFrame
    labels: pl.DataFrame
    """Of all annotators."""
    annotators: list[str]
    """The study's own first."""
    traces: pl.DataFrame
    sweeps: pl.DataFrame
    measured: pl.DataFrame
    steered_labels: pl.DataFrame | None
    """Where a language model labels steered text."""
    made: Mapping[str, Any]
    """What the rollouts were made with."""


def read_inputs(step: Step) -> Inputs:
    """Read every table; columns that are not known here do not matter."""
    own = step.read("labels")
    others = [read_table(step.given.others)] if step.given.others else []
    labels = pl.concat([own, *others], how="diagonal")
    return Inputs(
        step.settings,
        read_selected(step.given.selection),
        prompts=step.read("prompts"),
        rollouts=step.read("rollouts"),
        labels=labels,
        annotators=labels["annotator"].unique(maintain_order=True).to_list(),
        traces=step.read("traces"),
        sweeps=pl.concat([read_table(path) for path in step.given.sweeps], how="diagonal"),
        measured=pl.concat([read_table(path) for path in step.given.measurements], how="diagonal"),
        steered_labels=read_table(step.given.steered_labels) if step.given.steered_labels else None,
        made=read_provenance(step.given.rollouts[0]),
    )


def make_page(inputs: Inputs, rollouts: int, steered: int) -> str:
    """The page with at most so many rollouts and steered texts."""
    shown = order_rollouts(inputs.rollouts, inputs.traces, rollouts)
    texts, vocabulary, pieces = choose_prompts(inputs.sweeps, steered), Vocabulary(), Pieces()
    tagged = bool(inputs.rollouts["text"].str.contains("</?think>").any())
    listed = list(show_rollouts(shown, inputs.labels, inputs.annotators, tagged, vocabulary))
    learn_from(inputs.rollouts.iter_rows(named=True), pieces)
    pieces = learn_pieces(ids_and_texts(inputs.sweeps), pieces.known)
    cells = show_cells(inputs.measured, inputs.sweeps, tagged)
    rows = list(show_texts(texts, inputs.measured, cells, pieces, vocabulary, label_of(inputs), tagged))
    axes = list(show_axes(inputs.traces, shown)) if shown else []
    study = {
        **describe_study(inputs),
        "axes": [axis for axis, _ in axes],
        "left_out": count_left_out(inputs, len(listed), len(rows)),
        "cells": cells,
        "units": units_of(cells, inputs.selected.magnitude),
        "words": describe_words(inputs, [axis["direction"] for axis, _ in axes], cells),
    }
    return render_page(
        inputs.settings.study,
        {
            "study": pack_json(study),
            "rollouts": pack_json(listed),
            "prompts": pack_json(list(show_prompts(inputs.prompts))),
            "steered": pack_json(rows),
            **vocabulary.pack(),
            **{f"axis-{number}": block for number, (_, block) in enumerate(axes)},
        },
    )


def label_of(inputs: Inputs) -> Labeller:
    """Who labels steered texts."""
    annotators = inputs.settings.labels.annotators
    lexicons = {name: one.mapping or {} for name, one in annotators.items() if one.kind == "lexicon"}
    return labeller(lexicons, inputs.steered_labels)


def describe_study(inputs: Inputs) -> dict[str, Any]:
    """What the page says of the study itself."""
    settings, selected = inputs.settings, inputs.selected
    return {
        "study": settings.study,
        "pair": {name: settings.values["pair"][name] for name in ("base", "reasoning", "dtype")},
        "behaviour": settings.vectors.behaviour,
        "labels": BEHAVIOURS,
        "keywords": [keyword.lower() for keyword in settings.keywords],
        "annotators": inputs.annotators,
        "layer": selected.layer,
        "window": [selected.window_start, selected.window_start + selected.window_length - 1],
        "magnitude": selected.magnitude,
        "made": {name: inputs.made.get(name) for name in MADE_WITH},
    }


def describe_words(inputs: Inputs, traced: list[str], cells: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """What the directions, sweeps and annotators of the page are, and other words of it."""
    settings = inputs.settings
    kinds = {name: one.kind for name, one in settings.labels.annotators.items() if name in inputs.annotators}
    directions = [*traced, *(cell["direction"] for cell in cells)]
    return describe_all(directions, (cell["sweep"] for cell in cells), kinds, settings.vectors)


def count_left_out(inputs: Inputs, rollouts: int, steered: int) -> dict[str, list[int]]:
    """Of rollouts, steered texts and directions: how many are shown, and of how many."""
    directions = inputs.traces["direction"].unique()
    return {
        "rollouts": [rollouts, inputs.rollouts.height],
        "steered texts": [steered, inputs.sweeps.height],
        "directions": [sum(map(is_shown, directions)), len(directions)],
    }


def fit_page(inputs: Inputs, most: int = MOST_BYTES) -> str:
    """The page, with fewer texts the larger it would be."""
    rollouts, steered = inputs.settings.explorer.rollouts, inputs.settings.explorer.steered
    page = make_page(inputs, rollouts, steered)
    while len(page) > most and max(rollouts, steered) > 1:
        rollouts = max(1, int(min(rollouts, inputs.rollouts.height) * SMALLER))
        steered = max(1, int(min(steered, inputs.sweeps.height) * SMALLER))
        page = make_page(inputs, rollouts, steered)
    return page


def main() -> None:
    with run_step("results.explorer", __doc__, ["prompts", "selection"], MANY, maybe=MAYBE) as step:
        write_text(step.given.output, fit_page(read_inputs(step)))


if __name__ == "__main__":
    main()
