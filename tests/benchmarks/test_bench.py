"""The parts of `make bench` in tiny size, as they race; what keeps a wrong number from the page; the GPU's scripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.page import Bar, render
from benchmarks.race import Entry, Table, Workers, race

from benchmarks import environments, extraction, parts, sweep

OURS = "benchmarks.ours:storage"


@pytest.fixture(autouse=True)
def no_peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whether somebody has built their environments changes no test."""
    monkeypatch.setattr(environments, "folder", lambda peer: tmp_path / peer)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["extraction", "sweep", "store", "vectors"])
def test_a_part_is_raced_compared_and_told(part: str) -> None:
    found = parts.measure(part, parts.SMALL, rounds=2)
    where = {"cpu_model": "x", "cores": 1, "memory_gb": 1, "python": "3", "rounds": 2, "date": "d", "commit": "c"}
    page = render({part: {**where, **found}})
    for table in found["tables"]:
        roles = [entry["role"] for entry in table["entries"]]
        assert roles[0] == "floor" and "ours" in roles and table["equal"]
        assert all(len(entry["cpu"]) == 2 and min(entry["cpu"]) > 0 for entry in table["entries"])
        assert f"## {table['title']}" in page
        for gone in table["missing"]:
            assert "not built" in gone["reason"] and gone["label"] in page
    assert bool(found["tables"][0]["missing"]) == (part in ("extraction", "sweep"))


def test_what_differs_gives_no_table(tmp_path: Path) -> None:
    parts.store.write_inputs(tmp_path, layers=2, rows=3, width=4, repeats=1)
    data = tmp_path / parts.store.Storage.DATA
    with Workers(tmp_path) as workers:
        race(parts.store.tables(tmp_path)[0], workers, 1)
        np.save(data, np.load(data) + 1)  # the files hold what was written before
        with pytest.raises(AssertionError, match=r"np\.save"):
            race(parts.store.tables(tmp_path)[1], workers, 1)


def test_texts_that_differ_or_are_not_changed_are_refused() -> None:
    plain, steered = np.zeros((10, 4), np.int64), np.ones((10, 4), np.int64)
    outputs = {"ours, unsteered": {"tokens": plain}, sweep.STEERED.label: {"tokens": steered}}
    assert "changes 10" in sweep.check_sweep({**outputs, "peer": {"tokens": steered}})
    with pytest.raises(AssertionError, match="peer: only 0 of 10"):
        sweep.check_sweep({**outputs, "peer": {"tokens": plain}})
    with pytest.raises(AssertionError, match="only 0 of 10 texts are changed"):
        sweep.check_sweep({**outputs, sweep.STEERED.label: {"tokens": plain}})


def test_means_that_differ_are_refused() -> None:
    means = np.ones((1, 2, 3), np.float32)
    assert extraction.check({extraction.OURS: {"means": means}, "peer": {"means": means}})
    with pytest.raises(AssertionError, match="peer"):
        extraction.check({extraction.OURS: {"means": means}, "peer": {"means": means + 0.1}})


def test_an_entry_of_ours_that_fails_ends_the_race(tmp_path: Path) -> None:
    table = Table("x", "X", "", 1, "MB", [Entry("ours", "ours", OURS, "write")], lambda _: "")
    with Workers(tmp_path) as workers, pytest.raises(RuntimeError, match="No such file"):
        race(table, workers, 1)


@pytest.mark.parametrize(("at_least", "met"), [(True, True), (False, False)])
def test_a_bar_is_met_or_not(at_least: bool, met: bool) -> None:
    assert Bar("", 1.6, 1.5, at_least).is_met == met
    assert Bar("", 1.4, 1.5, at_least).is_met != met


def test_the_script_for_a_gpu_runs_in_small_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "--shape tiny --device cpu --texts 3 --longest 80 --batch-tokens 256 --layer 0 --product 64 --rounds 1"
    extraction.main(sizes.split())
    told = capsys.readouterr().out
    assert "equal to output_hidden_states" in told and told.count("tokens/s") == 4
