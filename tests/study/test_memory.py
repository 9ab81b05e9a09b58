"""The memory that a job may take is the smallest of the limits that are set on it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import StepMaker, from_source

from repurpose.data.files import read_table, write_table
from repurpose.data.schemas import PROMPTS
from repurpose.study.memory import GROUPS, group_limits, memory_limit, step_megabytes

PRINT = "from repurpose.study.memory import memory_limit; print(memory_limit())"
MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
LIMIT = 1 << 30


@pytest.fixture
def group() -> Iterator[Path]:
    """A real control group with a limit, where this user may make one."""
    version1, version2 = GROUPS / "memory", GROUPS
    folder, name = (version1, "memory.limit_in_bytes") if version1.is_dir() else (version2, "memory.max")
    folder = folder / f"repurpose-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / name).write_text(str(LIMIT))
    except OSError as problem:
        pytest.skip(f"no control group can be made here: {problem}")
    yield folder
    folder.rmdir()


def test_a_control_group_limits_a_job(group: Path) -> None:
    joined = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid())); "
    done = subprocess.run([sys.executable, "-c", joined + PRINT], env=from_source(), capture_output=True, text=True)
    assert int(done.stdout) == LIMIT, done.stderr


def test_ulimit_limits_a_job() -> None:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({LIMIT}, {LIMIT})); "
    done = subprocess.run([sys.executable, "-c", limited + PRINT], env=from_source(), capture_output=True, text=True)
    assert int(done.stdout) == LIMIT, done.stderr


def run_limited(megabytes: int, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a module as a user does under `ulimit -v`."""
    limited = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_AS, [int(sys.argv[1]) * 1_000_000] * 2); "
    command = [sys.executable, "-c", limited + "os.execv(sys.executable, sys.argv[2:])", str(megabytes)]
    command += [sys.executable, "-m", *arguments]
    return subprocess.run(command, env=from_source() | variables, capture_output=True, text=True, timeout=120)


STEPS = [
    ("repurpose.rollouts.prompts", "polars"),
    ("repurpose.rollouts.sentences", "polars"),
    ("repurpose.rollouts.sampling", "torch"),
    ("repurpose.rollouts.check_models", "torch"),
    ("organism_training", "torch"),
]


@pytest.mark.parametrize(("step", "library"), STEPS)
def test_a_step_with_too_little_address_space_says_so_and_ends(step: str, library: str) -> None:
    """With torch's CUDA libraries some limits made OpenBLAS ask for memory for ever."""
    done = run_limited(step_megabytes(library) - 1, step, "--help")
    assert done.returncode == 1 and done.stdout == ""
    said = f"repurpose: a step with {library} needs {step_megabytes(library):,} MB of address space here, `ulimit -v`"
    assert done.stderr.startswith(said) and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_any_smaller_limit_says_so_too(share: float) -> None:
    megabytes = int(share * step_megabytes("torch"))
    done = run_limited(megabytes, "repurpose.rollouts.sampling", "--help")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"`ulimit -v` leaves {megabytes:,} MB; raise that limit" in done.stderr


def test_what_a_step_needs_is_enough_for_it(
    make_step: StepMaker, prompt_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    write_table(tmp_path / "prompts.parquet", prompt_rows, PROMPTS, {})
    settings = json.dumps(make_step("rollouts.sampling", shard=0).values)
    files = ["--prompts", str(tmp_path / "prompts.parquet"), "--output", str(tmp_path / "0.parquet")]
    done = run_limited(
        step_megabytes("torch"), "repurpose.rollouts.sampling", "--settings", settings, *files, OMP_NUM_THREADS="1"
    )
    assert done.returncode == 0, done.stderr
    assert read_table(tmp_path / "0.parquet").height == 4


def test_planning_needs_little_address_space() -> None:
    """The Snakefile imports these; machines to log in to often have a limit."""
    assert run_limited(500, "repurpose.study.settings").returncode == 0


def test_without_limits_it_is_the_machine() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    assert 0 < memory_limit() <= MACHINE


def test_the_groups_around_a_job_limit_it_too(tmp_path: Path) -> None:
    """As Slurm sets them: a limit on the job, none on the step inside it; and a container sees no outer path."""
    step = tmp_path / "system.slice" / "job_7" / "step_0"
    step.mkdir(parents=True)
    (step / "memory.max").write_text("max\n")
    (step.parent / "memory.max").write_text("4096000\n")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("8192000\n")
    assert list(group_limits("0::/system.slice/job_7/step_0\n", tmp_path)) == [4096000]
    assert list(group_limits("9:cpu:/job\n4:memory,hugetlb:/outside/job\n", tmp_path)) == [8192000]
