"""Plan a workflow once per change given as JSON on stdin, in one process; write the jobs that would run as JSON.

Run in the project's folder. Snakemake takes a second to start and a fraction of it to plan.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from snakemake.api import SnakemakeApi
from snakemake.dag import DAG
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
    StorageSettings,
)

Described = TypeVar("Described")


@contextlib.contextmanager
def changed(files: Mapping[str, str]) -> Iterator[None]:
    """Give files another text for a while; their times stay as they were, so that only content tells."""
    kept = {Path(name): (Path(name).read_text(), Path(name).stat()) for name in files}
    try:
        for path in kept:
            path.write_text(files[str(path)])
        yield
    finally:
        for path, (text, times) in kept.items():
            path.write_text(text)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def forget_code() -> None:
    """Drop what the project's digests remember."""
    digest = sys.modules.get("repurpose.study.code_digest")
    for function in vars(digest).values() if digest else ():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def plan(describe: Callable[[DAG], Described], snakefile: Path = Path("Snakefile"), *studies: Path) -> Described:
    """Plan the default study, or the one of a file, and return what is said of the graph of its jobs."""
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=8),
            config_settings=ConfigSettings(configfiles=list(studies)),
            storage_settings=StorageSettings(),
            snakefile=snakefile,
        )
        dag = workflow.dag(DAGSettings())
        dag.execute_workflow(executor="dryrun")
        return describe(workflow._workflow.dag)


def name_jobs(dag: DAG) -> list[str]:
    """Return the jobs that would run, as rule[wildcards]."""
    jobs = dag.needrun_jobs(exclude_finished=False)
    return sorted(f"{job.rule.name}[{','.join(job.wildcards)}]" for job in jobs)


def main() -> None:
    changes = json.load(sys.stdin)
    plans = {}
    for name, files in changes.items():
        with changed(files), contextlib.redirect_stdout(io.StringIO()):
            if any(name.startswith("src/") for name in files):
                forget_code()
            plans[name] = plan(name_jobs)
    json.dump(plans, sys.stdout)


if __name__ == "__main__":
    logging.disable(logging.INFO)
    main()
