"""The server ends with the process that started it, a killed one too: nothing is left running on anybody's machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from server import launch

START = """
import sys, time
from pathlib import Path
from server import launch
launch(["sh", "-c", "sleep 600 & echo $$ $!; wait"], Path(sys.argv[1]))
time.sleep(600)
"""
"""Starts a command that starts another, in place of the server and its engine."""


def started(log: Path) -> list[int]:
    """The processes that the command names, once it has."""
    end = time.monotonic() + 60
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < end
        time.sleep(0.02)
    return [int(number) for number in log.read_text().split()]


def living(numbers: list[int]) -> list[int]:
    """Those that have not ended; whether anybody has asked for their status is no matter."""
    found = [psutil.Process(number) for number in numbers if psutil.pid_exists(number)]
    return [process.pid for process in found if process.status() != psutil.STATUS_ZOMBIE]


def assert_gone(numbers: list[int]) -> None:
    end = time.monotonic() + 30
    while living(numbers):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("group", [False, True])
def test_what_was_started_ends_with_a_killed_parent(tmp_path: Path, group: bool) -> None:
    folder = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    parent = subprocess.Popen([sys.executable, "-c", START, str(tmp_path / "log")], env=folder, start_new_session=True)
    numbers = started(tmp_path / "log")
    assert len(living(numbers)) == 2
    (os.killpg if group else os.kill)(parent.pid, signal.SIGKILL)
    parent.wait()
    assert_gone(numbers)


def test_it_ends_when_it_is_told_to(tmp_path: Path) -> None:
    server = launch(["sh", "-c", "sleep 600 & echo $$ $!; wait"], tmp_path / "log")
    numbers = started(tmp_path / "log")
    os.killpg(server.pid, signal.SIGTERM)
    assert server.wait(timeout=30) != 0
    assert_gone(numbers)
