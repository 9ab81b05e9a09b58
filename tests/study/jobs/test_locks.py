"""Locks: those of a killed run go, those of a living one stay."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.tiny import from_source

ENTER = "from pathlib import Path; from repurpose.study.jobs.locks import enter_directory; enter_directory(Path({!r}))"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A directory as Snakemake leaves it whose run was killed, or is going on."""
    mark_files(tmp_path)
    return tmp_path


def mark_files(state: Path) -> None:
    (state / "locks").mkdir(exist_ok=True)
    (state / "locks" / "0.output.lock").write_text("results/a\n")


@contextmanager
def living(state: Path) -> Iterator[None]:
    """A process that has entered the directory and stays there."""
    code = f"{ENTER.format(str(state))}; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=from_source(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline() == b"\n"
        yield
        process.kill()


def enter_and_leave(state: Path) -> None:
    subprocess.run([sys.executable, "-c", ENTER.format(str(state))], env=from_source(), check=True)


def test_a_killed_run_loses_its_locks(state: Path) -> None:
    enter_and_leave(state)  # the killed one
    mark_files(state)
    enter_and_leave(state)
    assert not (state / "locks").exists()


def test_a_living_run_keeps_its_locks_from_the_moment_that_it_read_the_snakefile(state: Path) -> None:
    with living(state):
        mark_files(state)
        enter_and_leave(state)
        assert (state / "locks" / "0.output.lock").is_file()
    enter_and_leave(state)
    assert not (state / "locks").exists()


def test_two_runs_side_by_side_keep_their_locks_until_both_are_gone(state: Path) -> None:
    with living(state):
        with living(state):
            mark_files(state)
        enter_and_leave(state)
        assert (state / "locks").is_dir()


@pytest.mark.parametrize("machines", ["another-machine\n", f"{socket.gethostname()}\nanother-machine\n", ""])
def test_locks_that_another_machine_may_have_made_are_left_alone(state: Path, machines: str) -> None:
    (state / "repurpose.run").write_text(machines)
    enter_and_leave(state)
    assert (state / "locks").is_dir()
    assert set((state / "repurpose.run").read_text().split()) == {*machines.split(), socket.gethostname()}


def test_a_machine_is_named_once(tmp_path: Path) -> None:
    enter_and_leave(tmp_path / "new")
    enter_and_leave(tmp_path / "new")
    assert (tmp_path / "new" / "repurpose.run").read_text() == f"{socket.gethostname()}\n"


def test_a_directory_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    enter_and_leave(tmp_path / "file" / "state")
