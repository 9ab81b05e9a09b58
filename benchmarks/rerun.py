"""A study that is finished, run again: how long until Snakemake says that there is nothing to do."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.environments import ROOT

NOTHING = "Nothing to be done"


def measure_rerun(root: Path, rounds: int) -> dict[str, Any]:
    """Seconds of `snakemake --cores 1`, of the wall and of the processor; or why it was not measured.

    A dry run goes before it, so that nothing is ever computed here.
    """
    study = yaml.safe_load((root / "config.yaml").read_text())["study"]
    if not (root / "results" / study / "report.html").exists():
        return {"skipped": f"there is no finished study at results/{study} (make study)"}
    if NOTHING not in snakemake(root, "--dry-run"):
        return {"skipped": f"results/{study} is not finished, or what it is made of has changed since"}
    wall, cpu = [], []
    for _ in range(rounds):
        began, used = time.perf_counter(), children_seconds()
        said = snakemake(root)
        wall.append(time.perf_counter() - began)
        cpu.append(children_seconds() - used)
        assert NOTHING in said, said
    return {"study": study, "wall": wall, "cpu": cpu}


def snakemake(root: Path, *options: str) -> str:
    """Run Snakemake on the default study; return what it says."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *options]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def children_seconds() -> float:
    """Seconds of the processor that ended children have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    sys.stdout.write(f"{measure_rerun(ROOT, 3)}\n")


if __name__ == "__main__":
    main()
