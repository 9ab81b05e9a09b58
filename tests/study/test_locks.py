"""Locks: those of a killed run go, those of a living one stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from repurpose.study import locks


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A directory as a run leaves it that is going on, or was killed."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "0.output.lock").write_text("results/a\n")
    locks.hold_run_lock(tmp_path)
    yield tmp_path
    release()


def release() -> None:
    """What the kernel does when a process ends, whatever its end."""
    while locks._HELD:
        locks._HELD.pop().close()


def test_a_living_run_keeps_its_locks(state: Path) -> None:
    assert not locks.clear_stale_locks(state)
    assert (state / "locks").is_dir()


def test_a_killed_run_loses_its_locks(state: Path) -> None:
    release()
    assert locks.clear_stale_locks(state)
    assert not (state / "locks").exists()


def test_two_studies_may_run_side_by_side(state: Path) -> None:
    locks.hold_run_lock(state)
    locks._HELD.pop(0).close()
    assert not locks.clear_stale_locks(state)


def test_locks_from_another_machine_are_left_alone(state: Path) -> None:
    release()
    (state / "repurpose.run").write_text("another-machine")
    assert not locks.clear_stale_locks(state)


def test_a_new_directory_has_none(tmp_path: Path) -> None:
    assert not locks.clear_stale_locks(tmp_path)
