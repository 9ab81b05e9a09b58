"""Plan the study of each file that is named, in one process; write what its jobs ask for and wait for as JSON."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

from plan import plan
from snakemake.dag import DAG
from snakemake.jobs import Job

SNAKEFILE = Path(__file__).parents[2] / "Snakefile"
RESOURCES = ("mem_mb", "runtime", "gpu")


def describe_jobs(dag: DAG) -> list[dict[str, Any]]:
    """Each job that would run: what it asks for, writes, runs and waits for, and who makes that."""
    return [
        {
            "rule": job.rule.name,
            "wildcards": dict(job.wildcards_dict),
            "resources": ask(job, attempt=1),
            "resources at the second attempt": ask(job, attempt=2),
            "api_calls": job.resources.get("api_calls"),
            "threads": job.threads,
            "retries": job.restart_times,
            "local": job.rule.norun or job.rule.name in dag.workflow._localrules,
            "output": sorted(job.output),
            "benchmark": job.benchmark,
            "command": job.shellcmd,
            "waits_for": {file: maker.rule.name for maker, files in dag.dependencies[job].items() for file in files},
        }
        for job in dag.needrun_jobs(exclude_finished=False)
    ]


def ask(job: Job, attempt: int) -> list[int | None]:
    """The resources that a job asks for at an attempt."""
    job.attempt = attempt
    return [job.resources.get(name) for name in RESOURCES]


if __name__ == "__main__":
    logging.disable(logging.INFO)
    with contextlib.redirect_stdout(io.StringIO()):
        plans = {file: plan(describe_jobs, SNAKEFILE, Path(file)) for file in sys.argv[1:]}
    json.dump(plans, sys.stdout)
