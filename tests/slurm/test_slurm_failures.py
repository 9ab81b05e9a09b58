"""Jobs that Slurm ends, on a real cluster: cancelled, out of time, out of memory, on a node that goes down."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import Cluster
from on_cluster import QUICK, Folder, documented
from tests.workflow.copied_project import Project, copy_project

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.workflow, pytest.mark.faults, pytest.mark.timeout(1800)]

ENDS = {"base/0": "memory", "base/1": "time", "reasoning/0": "cancelled", "reasoning/1": "node"}
"""How the first attempt at each shard of activations ends."""
STATES = {"memory": ("FAILED", "CANCELLED", "OUT_OF_MEMORY"), "time": ("TIMEOUT",), "cancelled": ("CANCELLED",)}
"""What Slurm calls it; an end for want of memory by how the node watches."""
STAND_IN = """#!/bin/sh
# Stands in for the steps. One that reads activations does not end at its first attempt: it waits, or takes memory.
case "$*" in *repurpose.directions.activations*)
    for last; do :; done
    begun="{begun}/$(echo "${{last#*activations/}}" | tr / -)"
    echo "$SLURM_JOB_ID" >> "$begun"
    if [ "$(wc -l < "$begun")" = 1 ]; then
        case "$last" in */base/0*) exec "{python}" -c "{hog}" ;; esac
        exec sleep 900
    fi ;;
esac
exec "{quick}" "$@"
"""
HOG = "import time; taken = [bytes([1]) * 10**8 for _ in range(45)]; time.sleep(900)"
"""4.5 GB, of the 4,001 MB that the job asks for."""


def wait(until: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project, begun = copy_project(tmp_path / "project"), tmp_path / "begun"
    begun.mkdir()
    quick = project.environment["REPURPOSE_PYTHON_MAIN"]
    stand_in = project.root / "waiting python"
    stand_in.write_text(STAND_IN.format(begun=begun, python=sys.executable, hog=HOG, quick=quick))
    stand_in.chmod(0o755)
    project.environment["REPURPOSE_PYTHON_MAIN"] = str(stand_in)
    return project


def test_what_slurm_ends_is_run_again(project: Project, cluster: Cluster) -> None:
    """Twice as much memory and time is asked for where too little was; the logs of what ended badly stay."""
    begun = project.root.parent / "begun"
    files = {key: f"results/organism/activations/{key}.parquet" for key in ENDS}
    folder = Folder(project.root, cluster, project.root, project.environment)
    command = documented("docs/clusters.md", "profiles/slurm ").replace("studies/mine.yaml", "config.yaml")

    def jobs(key: str) -> list[dict[str, str]]:
        name = f"_{key.replace('/', '_')}"
        return [job for job in cluster.jobs() if "rule_read_activations" in job["Comment"] and name in job["Comment"]]

    run = folder.start(command, *QUICK, *files.values())
    try:
        wait(lambda: len(list(begun.iterdir())) == len(ENDS) or run.poll() is not None)
        assert run.poll() is None, folder.output.read_text()
        [timed], [cancelled], [on_node] = (jobs(key) for key in ("base/1", "reasoning/0", "reasoning/1"))
        cluster.ask("scontrol", "update", f"JobId={timed['JobId']}", "EndTime=now+1")
        cluster.ask("scancel", cancelled["JobId"])
        done = [key for key, end in ENDS.items() if end != "node"]
        wait(lambda: all((project.root / files[key]).exists() for key in done))
        wait(lambda: all(jobs(key)[-1]["JobState"] == "COMPLETED" for key in done))
        cluster.crash_node()
        cluster.wait_for_node("down")
        cluster.start_node()
        run.wait(timeout=600)
    finally:
        run.kill()
    assert run.returncode == 0, folder.output.read_text()
    for key in done:
        first, second = jobs(key)
        assert first["JobState"] in STATES[ENDS[key]] and second["JobState"] == "COMPLETED", key
        assert [first["MinMemoryNode"], second["MinMemoryNode"]] == ["4001M", "8002M"], key
        assert second["TimeLimit"] == "02:00:00", key
        [log] = (project.root / "logs/slurm/rule_read_activations").glob(f"*/{first['JobId']}.log")
        assert ("exceeded memory limit" in log.read_text()) == (ENDS[key] == "memory"), key
    [again] = jobs("reasoning/1")
    assert (again["JobId"], again["JobState"], again["Restarts"]) == (on_node["JobId"], "COMPLETED", "1")
    assert "Nothing to be done" in project.run("--cores", "1", *files.values())
