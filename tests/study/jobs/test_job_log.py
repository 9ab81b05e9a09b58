"""What of a job's output is shown: whole lines with its name, and now and then how far it is."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from tests.disks import small_disk
from tests.tiny import from_source
from tqdm import tqdm

from repurpose.study.jobs.job_log import Filter, job_name


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def shown(*pieces: str, seconds: float = 0.0) -> list[str]:
    """The lines shown of a job's output, so many seconds between its pieces."""
    clock = Clock()
    lines: list[str] = []
    job = Filter("rollouts/0", clock)
    for piece in (*pieces, ""):
        clock.seconds += seconds
        lines += job.feed(piece.encode())
    return lines


def bars(total: int | None, description: str | None = None) -> list[str]:
    """A progress bar as tqdm draws it, each state for itself."""
    stream, states = io.StringIO(), []
    with tqdm(total=total, desc=description, file=stream, mininterval=0, ncols=90, unit="rollout") as bar:
        for _ in range(total or 10):
            bar.update(1)
            states.append(stream.getvalue())
            stream.seek(0)
            stream.truncate()
    return [*states, stream.getvalue()]


def test_on_a_full_disk_all_is_shown_and_the_job_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 << 10) as disk:
        (disk / "fill").write_bytes(bytes(60 << 10))
        command = [sys.executable, "-m", "repurpose.study.jobs.job_log", str(disk / "a.log")]
        said = "".join(f"line {number} of many\n" for number in range(10_000))
        done = subprocess.run(command, input=said, env=from_source(), stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert done.stderr == "".join(f"a: {line}" for line in said.splitlines(keepends=True))


def test_lines_come_whole_and_with_the_name_of_their_job() -> None:
    assert shown("one li", "ne\ntwo\n\n", "three") == [f"rollouts/0: {line}\n" for line in ("one line", "two", "three")]


@pytest.mark.parametrize("description", [None, "projections"])
@pytest.mark.parametrize("total", [20, None])
def test_no_bar_is_shown(total: int | None, description: str | None) -> None:
    drawn = bars(total, description)
    assert len("".join(drawn).split("\r")) > 10
    assert shown(*drawn, "done\n") == ["rollouts/0: done\n"]


def test_progress_is_told_every_fifth_of_a_long_job() -> None:
    lines = shown(*bars(40), seconds=15)
    assert [line.split(" to go")[0].rsplit(",")[0] for line in lines] == [
        f"rollouts/0: {percent} % done" for percent in (20, 40, 60, 80)
    ]


def test_progress_of_a_quick_job_is_not_told() -> None:
    assert shown(*bars(40), seconds=0.1) == []


def test_a_slow_job_is_heard_of_every_five_minutes() -> None:
    lines = shown(*bars(100), seconds=301)
    assert [line.split()[1] for line in lines] == [str(percent) for percent in range(100)]


def test_each_of_several_bars_is_told_by_its_name() -> None:
    lines = shown(*bars(4, "keyword"), *bars(4, "mark"), seconds=15)
    assert [line.partition(" %")[0] for line in lines] == [
        f"rollouts/0: {bar} {percent}" for bar in ("keyword", "mark") for percent in (25, 50, 75)
    ]


def test_a_job_is_named_by_its_log_file() -> None:
    assert job_name(Path("results/a/logs/sweeps/grid/base.log")) == "sweeps/grid/base"
    assert job_name(Path("results/a/with/b/logs/tables.log")) == "tables"
    assert job_name(Path("results/organism-training.log")) == "organism-training"


INTERRUPTED = """
import os, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print({said!r}, end="", flush=True)
time.sleep(0.5)
os.killpg(0, signal.SIGINT)
time.sleep(0.5)
print("last words")
"""


def test_the_log_holds_all_that_was_said_also_after_the_user_s_ctrl_c(tmp_path: Path) -> None:
    log, said = tmp_path / "logs" / "a b.log", "one\r\n 10%|#   | 1/10 [00:01<00:09, 1it/s]\rtwo, "
    log.parent.mkdir()
    (tmp_path / "job.py").write_text(INTERRUPTED.format(said=said))
    command = '"$1" "$2" 2>&1 | "$1" -m repurpose.study.jobs.job_log "$3"'
    words = ["bash", "-c", f"trap : INT; {command}", "bash", sys.executable, str(tmp_path / "job.py"), str(log)]
    done = subprocess.run(words, env=from_source(), capture_output=True, text=True, start_new_session=True)
    assert log.read_bytes().decode() == f"{said}last words\n"
    assert done.stderr == "a b: one\na b: two, last words\n"
