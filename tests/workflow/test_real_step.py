"""A real step on the embedded pair, killed in the middle: the same command continues where it was."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import yaml
from copied_project import Project, real_project
from polars.testing import assert_frame_equal

pytestmark = [pytest.mark.faults, pytest.mark.workflow, pytest.mark.slow]

TARGET = "results/organism/rollouts/0.parquet"
JOURNAL = "results/organism/rollouts/.0.parquet.journal"
COMMAND = [sys.executable, "-m", "snakemake", "--cores", "1", TARGET]


def small_project(root: Path) -> Project:
    """Real steps, and few prompts in small batches."""
    project = real_project(root)
    values = project.study()
    values["prompts"] = {"source": "organism", "train": 20, "heldout": 4}
    values["rollouts"] = {"shards": 1, "batch_size": 2, "max_new_tokens": 48}
    sweeps = values["sweeps"]
    assert isinstance(sweeps, dict)
    values["sweeps"] = {"selection": sweeps["selection"]}
    (project.root / "config.yaml").write_text(yaml.safe_dump(values))
    return project


def start_until_journal(project: Project) -> subprocess.Popen[bytes]:
    """Start the run and return once some rollouts are finished, but not all."""
    run = subprocess.Popen(
        COMMAND,
        cwd=project.root,
        env={**os.environ, **project.environment},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    journal, deadline = project.root / JOURNAL, time.monotonic() + 300
    while not journal.exists() or journal.stat().st_size == 0:
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.01)
    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """The rollouts of a run that nobody killed."""
    project = small_project(tmp_path_factory.mktemp("undisturbed") / "a project")
    project.run(*COMMAND[3:])
    assert not (project.root / JOURNAL).exists()
    return pl.read_parquet(project.root / TARGET)


@pytest.mark.parametrize("victim", ["run and job", "run alone"])
def test_a_killed_step_continues_and_gives_the_same(tmp_path: Path, undisturbed: pl.DataFrame, victim: str) -> None:
    project = small_project(tmp_path / "a project")
    run = start_until_journal(project)
    if victim == "run and job":
        os.killpg(run.pid, signal.SIGKILL)
    else:
        os.kill(run.pid, signal.SIGKILL)  # its job lives on and finishes beside the next run's
    run.wait()
    assert not (project.root / TARGET).exists()
    finished = len((project.root / JOURNAL).read_text().splitlines()) - 1  # the last line may be torn
    project.run(*COMMAND[3:])
    assert_frame_equal(pl.read_parquet(project.root / TARGET), undisturbed)
    log = (project.root / "results/organism/logs/rollouts/0.log").read_text()
    if victim == "run and job" and finished:  # one that lives on may finish, journal and all, before the next looks
        kept = re.search(r"(\d+) of 24 rows are in the journal already", log)
        assert kept and int(kept[1]) >= finished
    assert not [file for file in (project.root / "results").rglob("*.part") if victim == "run and job"]
    assert "Nothing to be done" in project.run(*COMMAND[3:])
    with contextlib.suppress(ProcessLookupError):  # nobody is left, unless the first job outlived the second
        os.killpg(run.pid, signal.SIGKILL)
