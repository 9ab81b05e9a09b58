"""Conditions: those of one sweep on one target, and what each does to a row."""

from collections.abc import Sequence
from typing import Any, cast

from repurpose.data.categories import by_category, deal
from repurpose.data.selected import Selected
from repurpose.directions.unit_directions import Directions
from repurpose.model.steer import Operation, Positions, Steer
from repurpose.study.conditions import UNSTEERED, Condition, VectorKey, expand, grid, kind_of
from repurpose.study.settings import TOKEN_CONTROLS, Role, SettingsError, StepSettings

Row = dict[str, Any]
PROMPTED_AS: Role = "reasoning"
"""In whose chat format both targets are prompted, so that they continue the same text."""


def make_steer(condition: Condition, directions: Directions) -> Steer | None:
    """What a condition does to a row; None for the unsteered one."""
    if condition.direction == "none":
        return None
    assert condition.layer is not None and condition.reader is not None and condition.window_start is not None
    token_control = condition.direction in TOKEN_CONTROLS
    key = VectorKey(condition.direction, condition.reader, condition.layer, condition.window_start)
    return Steer(
        condition=condition.label,
        operation=cast(Operation, condition.direction if token_control else condition.operation),
        layer=condition.layer,
        magnitude=condition.magnitude or 0.0,
        direction=None if token_control else directions.unit(key),
        positions=cast(Positions, condition.positions),
    )


def choose_prompts(prompts: Sequence[Row], split: str, count: int, setting: str) -> list[Row]:
    """The first `count` prompts of a split, dealt one category after the other; `setting` says how many."""
    dealt = deal(by_category(row for row in prompts if row["split"] == split).values())
    if len(dealt) < count:
        raise SettingsError(f"{setting}: {count} {split} prompts are asked for, there are {len(dealt)}")
    return dealt[:count]


def _asked(asked: Sequence[int] | str, known: set[int], selected: Selected | None, key: str) -> list[int]:
    if asked == "all":
        return sorted(known)
    if not isinstance(asked, str):
        return list(asked)
    if selected is None:
        raise SettingsError(f"{key}: 'selected' needs --selection")
    return [getattr(selected, key)]


def beside_condition(settings: StepSettings, directions: Directions, selected: Selected | None) -> list[Condition]:
    """The best cell of the window that is reported beside the selected one, where the sweep asks for it.

    With the base-derived vector, added to the reasoning model.
    """
    sweep = settings.sweeps[settings.sweep]
    if not sweep.beside or settings.target != "reasoning" or selected is None or selected.beside_layer is None:
        return []
    layer, start, magnitude = selected.beside_layer, selected.beside_window_start, selected.beside_magnitude
    assert start is not None and magnitude is not None
    behaviour = settings.vectors.behaviour
    how = "add", sweep.positions, magnitude, magnitude / directions.norms[settings.target, layer], 1.0
    return [Condition(behaviour, kind_of(behaviour), "base", layer, start, *how)]


def list_conditions(
    settings: StepSettings, directions: Directions, selected: Selected | None
) -> tuple[list[Condition], list[VectorKey]]:
    """The sweep's conditions, the unsteered one first, and what has no vector; a SettingsError without any steered."""
    sweep = settings.sweeps[settings.sweep]
    layers = _asked(sweep.layers, {key.layer for key in directions.units}, selected, "layer")
    read = {layer for _, layer in directions.norms}
    if set(layers) - read:
        raise SettingsError(f"layers: {min(set(layers) - read)} was not read; choose from {sorted(read)}")
    for name, vector in settings.vectors.outside.items():
        if name in sweep.directions and set(layers) != {vector.layer}:
            own, there = f"layers: [{vector.layer}]", ", ".join(map(str, layers))
            where = f"{name} is a vector of layer {vector.layer}, the sweep steers at {there}"
            raise SettingsError(f"sweeps.{settings.sweep}.directions: {where}; leave it out, or give {own}")
    starts = _asked(sweep.window_starts, {key.window_start for key in directions.units}, selected, "window_start")
    keys = list(grid(sweep, directions, layers, starts))
    magnitude = None if selected is None else selected.magnitude
    conditions = expand(sweep, settings.target, directions, keys, magnitude)
    conditions += beside_condition(settings, directions, selected)
    if not conditions:
        raise SettingsError(f"sweeps.{settings.sweep}: no condition has both a vector and a magnitude other than 0")
    return [UNSTEERED, *conditions], [key for key in keys if not directions.has(key)]
