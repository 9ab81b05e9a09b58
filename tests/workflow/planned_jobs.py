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

SNAKEFILE = Path(__file__).parents[2] / "Snakefile"
RESOURCES = ("mem_mb", "runtime", "gpu")


def describe_jobs(dag: DAG) -> list[dict[str, Any]]:
    """Each job that would run: rule, wildcards, resources, outputs, command, what it waits for and who makes that."""
    return [
        {
            "rule": job.rule.name,
            "wildcards": dict(job.wildcards_dict),
            "resources": [job.resources.get(name) for name in RESOURCES],
            "output": sorted(job.output),
            "command": job.shellcmd,
            "waits_for": {file: maker.rule.name for maker, files in dag.dependencies[job].items() for file in files},
        }
        for job in dag.needrun_jobs(exclude_finished=False)
    ]


if __name__ == "__main__":
    logging.disable(logging.INFO)
    with contextlib.redirect_stdout(io.StringIO()):
        plans = {file: plan(describe_jobs, SNAKEFILE, Path(file)) for file in sys.argv[1:]}
    json.dump(plans, sys.stdout)
