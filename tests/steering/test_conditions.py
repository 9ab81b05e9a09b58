from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from repurpose.directions.unit_directions import Directions, read_directions
from repurpose.steering.conditions import make_steer
from repurpose.study.conditions import UNSTEERED, KnownVectors, VectorKey, expand, grid, kind_of
from repurpose.study.settings import Magnitudes, SettingsError, Sweep

NAMES = ("backtracking", "deduction", "mean", "same-offset", "shuffle-00", "shuffle-01", "random-00", "random-01")
RIVALS = ("rival-00", "rival-01")
LAYERS, STARTS = (0, 1), (-3, 0)
NORMS = {("base", 0): 2.0, ("base", 1): 4.0, ("reasoning", 0): 5.0, ("reasoning", 1): 10.0}
SELECTED = 3.0


@pytest.fixture
def directions() -> Directions:
    generator = np.random.default_rng(0)
    return read_directions(
        {
            "name": name,
            "reader": reader,
            "layer": layer,
            "window_start": start,
            "residual_norm": NORMS[reader, layer],
            "vector": (7 * generator.standard_normal(4)).astype(np.float32).tobytes(),
        }
        for name in NAMES
        for reader in ("base", "reasoning")
        for layer in LAYERS
        for start in STARTS
    )


def make_sweep(unit: str = "l2", values: tuple[float, ...] = (1.0, -2.0), **changes: Any) -> Sweep:
    options = {"split": "heldout", "prompts": 2, "layers": "all", "window_starts": "all", **changes}
    return Sweep(magnitudes=Magnitudes(unit, values), **options)  # type: ignore[arg-type]


def cells(directions: Directions, sweep: Sweep, target: Any = "reasoning") -> list[Any]:
    return expand(sweep, target, directions, grid(sweep, directions, LAYERS, STARTS), SELECTED)


def test_a_grid_has_every_combination_once(directions: Directions) -> None:
    found = cells(directions, make_sweep(readers=("base", "reasoning"), directions=("backtracking", "deduction")))
    assert len(found) == len(set(found)) == 2 * 2 * 2 * 2 * 2
    assert {c.kind for c in found} == {"behaviour"}


def test_random_and_shuffle_stand_for_all_of_theirs(directions: Directions) -> None:
    found = cells(directions, make_sweep(directions=("random", "shuffle", "mean", "same-offset")))
    assert {c.direction for c in found} == set(NAMES[2:])
    assert {c.kind for c in found} == {"control"}


def test_controls_without_a_reader_run_once(directions: Directions) -> None:
    both = make_sweep(readers=("reasoning", "base"), directions=("random", "noise", "self"), values=(1.0,))
    found = cells(directions, both)
    assert {(c.reader, c.window_start) for c in found} == {("reasoning", -3)}
    assert len(found) == len(LAYERS) * (2 + 1 + 1)


def test_random_directions_of_two_kinds_are_told_apart() -> None:
    names = ("random-00", "covariance-random-00", "covariance-random-01", "rival-00", "backtracking-without-keywords")
    known = KnownVectors({VectorKey(name, "base", 1, -3) for name in names}, {})
    assert known.names("random") == ["random-00"]
    assert known.names("covariance-random") == ["covariance-random-00", "covariance-random-01"]
    assert known.names("backtracking-without-keywords") == ["backtracking-without-keywords"]
    assert [kind_of(name) for name in names] == ["control", "control", "control", "control", "variant"]
    assert (kind_of("mine-07"), kind_of("theirs-without-keywords")) == ("outside", "outside")


def test_rivals_run_once_at_the_selected_window() -> None:
    keys = {VectorKey(name, reader, 1, -6) for name in RIVALS for reader in ("base", "reasoning")}
    known = KnownVectors(keys, {("reasoning", 1): 2.0})
    sweep = make_sweep("selected", (1.0,), readers=("reasoning", "base"), directions=("rival",))
    found = expand(sweep, "reasoning", known, grid(sweep, known, [1], [-6]), SELECTED)
    assert [(c.direction, c.reader, c.window_start) for c in found] == [(name, "reasoning", -6) for name in RIVALS]


def test_magnitudes_in_their_units(directions: Directions) -> None:
    for unit, wanted in (("l2", {1: 2.0}), ("dose", {0: 10.0, 1: 20.0}), ("selected", {1: 6.0})):
        sweep = make_sweep(unit, (2.0,), layers=tuple(wanted), window_starts=(0,))
        for target, reader in (("base", "base"), ("reasoning", "reasoning")):
            for cell in expand(sweep, target, directions, grid(sweep, directions, tuple(wanted), (0,)), SELECTED):
                assert cell.magnitude == wanted[cell.layer]
                assert cell.dose == wanted[cell.layer] / NORMS[reader, cell.layer]
                assert cell.multiple == 2.0


def test_ablation_has_no_magnitude(directions: Directions) -> None:
    found = cells(directions, make_sweep(operation="ablate", directions=("backtracking", "random")))
    assert {(c.magnitude, c.dose, c.multiple, c.operation) for c in found} == {(None, None, 1.0, "ablate")}


def test_magnitude_zero_is_left_to_the_unsteered_rows(directions: Directions) -> None:
    assert {c.multiple for c in cells(directions, make_sweep(values=(0.0, 1.0)))} == {1.0}
    assert make_steer(UNSTEERED, directions) is None


def test_what_is_added_has_exactly_the_magnitude(directions: Directions) -> None:
    for cell in cells(directions, make_sweep(directions=("backtracking", "shuffle", "noise", "self"))):
        steer = make_steer(cell, directions)
        assert steer is not None and steer.magnitude == cell.multiple and steer.layer == cell.layer
        if cell.direction in ("noise", "self"):
            assert steer.operation == cell.direction and steer.direction is None
        else:
            assert steer.operation == "add" and np.linalg.norm(steer.direction) == pytest.approx(1)


def test_positions_pass_through(directions: Directions) -> None:
    cell = cells(directions, make_sweep(positions="generated"))[0]
    steer = make_steer(cell, directions)
    assert steer is not None and steer.positions == cell.positions == "generated"


def test_what_has_no_vector_is_left_out(directions: Directions) -> None:
    sweep = make_sweep(directions=("initializing", "mean"), values=(1.0,))
    assert {c.direction for c in cells(directions, sweep)} == {"mean"}
    keys = grid(sweep, directions, (0,), (-3,))
    assert [key for key in keys if not directions.has(key)] == [("initializing", "base", 0, -3)]


def test_a_vector_that_is_not_there_is_named(directions: Directions) -> None:
    cell = replace(cells(directions, make_sweep())[0], layer=5)
    with pytest.raises(SettingsError, match="no vector backtracking of reader base, layer 5, window start -3"):
        make_steer(cell, directions)


def test_selected_needs_a_selection(directions: Directions) -> None:
    with pytest.raises(SettingsError, match="'selected' needs --selection"):
        sweep = make_sweep("selected")
        expand(sweep, "reasoning", directions, grid(sweep, directions, LAYERS, STARTS), None)
