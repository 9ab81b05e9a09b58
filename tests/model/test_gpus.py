"""GPUs are leased to one process at a time, and freed with it, whatever its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.tiny import from_source

from repurpose.model import gpus as gpus
from repurpose.model.gpus import LEASED, VISIBLE, GpuError, lease_gpus

SCRIPT = (
    "import os, sys, time; from pathlib import Path; from repurpose.model.gpus import lease_gpus\n"
    "found = lease_gpus(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), 0.05)\n"
    "print(found, os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\ntime.sleep(60)"
)


@contextmanager
def job(count: int, there: int, folder: Path, **more: str) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in from_source().items() if name not in (VISIBLE, LEASED)} | more
    command = [sys.executable, "-c", SCRIPT, str(count), str(there), str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def said(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


def test_each_job_has_gpus_of_its_own(tmp_path: Path) -> None:
    with job(1, 3, tmp_path) as first, job(2, 3, tmp_path) as second:
        taken = sorted(said(running).split("] ")[1] for running in (first, second))
        assert sorted(",".join(taken).split(",")) == ["0", "1", "2"]


def test_a_job_waits_until_another_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    with job(2, 2, tmp_path) as first:
        assert said(first) == "['0', '1'] 0,1"
        with job(1, 2, tmp_path) as second:
            assert second.poll() is None
            first.send_signal(signal.SIGKILL)
            assert said(second) == "['0'] 0"


def test_gpus_are_taken_from_those_that_the_environment_names(tmp_path: Path) -> None:
    """As in one allocation of Slurm, in which several jobs run."""
    named = {VISIBLE: "5, GPU-7f/3"}
    with job(1, 2, tmp_path, **named) as first, job(1, 2, tmp_path, **named) as second:
        assert {said(first), said(second)} == {"['5'] 5", "['GPU-7f/3'] GPU-7f/3"}


def test_gpu_0_of_two_allocations_are_two_gpus(tmp_path: Path) -> None:
    with (
        job(1, 1, tmp_path, **{VISIBLE: "0", "SLURM_JOB_ID": "7"}) as first,
        job(1, 1, tmp_path, **{VISIBLE: "0", "SLURM_JOB_ID": "8"}) as second,
    ):
        assert said(first) == said(second) == "['0'] 0"


def test_what_a_parent_has_leased_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "5")
    monkeypatch.setenv(LEASED, "5")
    assert lease_gpus(1, 1, tmp_path) == [] and os.environ[VISIBLE] == "5"


def test_without_gpus_nothing_is_leased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    assert lease_gpus(1, 0, tmp_path) == [] and VISIBLE not in os.environ
    assert not gpus._HELD


def test_more_gpus_than_there_are_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    with pytest.raises(GpuError, match=r"pair.gpus: 2 GPUs are asked for, this job may use 1"):
        gpus.check_count(2, 1, "pair.gpus")
    with pytest.raises(GpuError, match=r"vllm.tensor_parallel: 3 GPUs are asked for, this job may use 2"):
        lease_gpus(3, 2, tmp_path)
