"""Traces: rollouts and vectors in, each token's projection on every direction out, for whoever looks at the texts.

Where `projections` has one direction on held-out rollouts, as the tables need it, this has all of them at the selected
site, controls too, and each from outside at its own layer; numbers that both have are the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from repurpose.data.categories import by_category, deal
from repurpose.data.command import run_step
from repurpose.data.schemas import TRACES
from repurpose.data.selected import Selected, read_selected
from repurpose.directions.projections import token_activations
from repurpose.directions.unit_directions import Directions, read_pair_directions
from repurpose.model.loading import load_model, made_with
from repurpose.study.conditions import VectorKey
from repurpose.study.settings import StepSettings

Row = dict[str, Any]


def choose_rollouts(rollouts: Iterable[Row], most: int) -> list[Row]:
    """Held-out rollouts before those that vectors were made from, the categories in turn; at most so many."""
    ordered = sorted(rollouts, key=lambda row: (row["prompt_id"], row["sample"]))
    split = {name: by_category(row for row in ordered if row["split"] == name) for name in ("heldout", "train")}
    return [row for categories in split.values() for row in deal(categories.values())][:most]


def list_axes(directions: Directions, reader: str, selected: Selected) -> list[VectorKey]:
    """One reader's vectors at the selected site, then those from outside, each at its layer, by name."""
    names = directions.outside()
    own = [key for key in directions.units if key.reader == reader and key.window_start == selected.window_start]
    here = [key for key in own if key.name not in names and key.layer == selected.layer]
    return [*sorted(here), *sorted(key for key in own if key.name in names)]


def project(streams: dict[int, torch.Tensor], axes: Sequence[VectorKey], directions: Directions) -> list[torch.Tensor]:
    """Projections (tokens,) float64 on each axis, not centred."""
    units = [torch.from_numpy(directions.unit(axis)).double() for axis in axes]
    return [streams[axis.layer].double() @ unit for axis, unit in zip(axes, units, strict=True)]


def centre(found: Sequence[Sequence[torch.Tensor]], counted: Sequence[bool]) -> list[float]:
    """Mean of each axis over all tokens of the rollouts that count; `found` has axes of each rollout.

    Projecting is linear, so this is the projection of the mean activation.
    """
    kept = [values for values, counts in zip(found, counted, strict=True) if counts]
    return [float(torch.cat(axis).mean()) for axis in zip(*kept, strict=True)]


def trace_rollouts(
    settings: StepSettings, rollouts: Sequence[Row], directions: Directions, selected: Selected
) -> Iterator[Row]:
    """Yield the TRACES rows of one reader; centred on the mean over the held-out tokens among them."""
    axes = list_axes(directions, settings.reader, selected)
    model, layers = load_model(settings.pair, settings.reader), {axis.layer for axis in axes}
    found = [
        project(token_activations(model, rollout, layers), axes, directions)
        for rollout in tqdm(rollouts, desc="traces", mininterval=2)
    ]
    means = centre(found, [rollout["split"] == "heldout" for rollout in rollouts])
    for rollout, values in zip(rollouts, found, strict=True):
        for axis, projections, mean in zip(axes, values, means, strict=True):
            yield {
                **{name: rollout[name] for name in ("prompt_id", "sample")},
                **{name: value for name, value in axis._asdict().items() if name != "name"},
                "direction": axis.name,
                "projections": _bytes((projections - mean).numpy()),
            }


def _bytes(projections: NDArray[np.float64]) -> bytes:
    return projections.astype(np.float32).tobytes()


def main() -> None:
    with run_step("directions.traces", __doc__, one=["selection"], many=["rollouts", "vectors"]) as step:
        chosen = choose_rollouts(step.read("rollouts").iter_rows(named=True), step.settings.explorer.rollouts)
        directions, selected = read_pair_directions(step.given.vectors), read_selected(step.given.selection)
        rows = list(trace_rollouts(step.settings, chosen, directions, selected))
        step.write(pl.DataFrame(rows), TRACES, **made_with(step.settings.pair, step.settings.reader))


if __name__ == "__main__":
    main()
