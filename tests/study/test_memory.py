"""The memory that a job may take is the smallest of the limits that are set on it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tiny import from_source

from repurpose.study.memory import GROUPS, group_limits, memory_limit

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
