"""A test that hangs fails under its name and leaves nothing behind, whatever it hangs in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.time_limits import SECONDS

ROOT = Path(__file__).parents[1]
HANGS = """
import subprocess, sys


def test_that_waits_for_a_process():
    script = "import subprocess; child = subprocess.Popen(['sleep', '600']); print(child.pid, flush=True); child.wait()"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True) as run:
        open("pids", "w").write(f"{run.pid} {int(run.stdout.readline())}")
        run.wait()

def test_that_comes_after():
    pass

def test_in_c():
    sum(range(10**15))  # one call into C, which looks at no signal and holds Python's lock
"""


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_hangs.py").write_text(HANGS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.time_limits", "-p", "no:cacheprovider", "-v"]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [*command, *options, "test_hangs.py"],
        cwd=folder,
        env={**outside, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_hanging_test_fails_alone_and_its_processes_end(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "--timeout=3", "-k", "not in_c")
    assert "test_hangs.py::test_that_waits_for_a_process FAILED" in done.stdout
    assert "Timeout (>3.0s)" in done.stdout
    assert "test_hangs.py::test_that_comes_after PASSED" in done.stdout
    assert not [pid for pid in map(int, (tmp_path / "pids").read_text().split()) if lives(pid)]


def lives(pid: int) -> bool:
    return any(process.pid == pid and process.status() != psutil.STATUS_ZOMBIE for process in psutil.process_iter())


@pytest.mark.parametrize("workers", [(), ("--numprocesses=1",)], ids=["alone", "as a worker"])
def test_a_hang_that_no_signal_reaches_ends_pytest_and_is_named(tmp_path: Path, workers: tuple[str, ...]) -> None:
    limits = ("--timeout=2", "-o", "faulthandler_timeout=5", "-o", "faulthandler_exit_on_timeout=true")
    done = run_pytest(tmp_path, *limits, *workers, "-k", "in_c", "-o", "addopts=")
    assert done.returncode != 0
    assert "in test_in_c" in done.stderr + done.stdout


def test_slow_tests_have_more_time(request: pytest.FixtureRequest) -> None:
    """This one's limit is that of pyproject.toml; the longest ends before faulthandler's watch does."""
    seconds = float(request.config.getini("timeout"))
    watch = float(request.config.getini("faulthandler_timeout"))
    assert request.config.pluginmanager.has_plugin("tests.time_limits")
    assert 0 < seconds < SECONDS["slow"] < SECONDS["vllm"] < watch
