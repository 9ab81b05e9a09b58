"""GPUs: no two jobs of one machine ever share one.

Snakemake counts GPUs but assigns none, and where nobody set a limit it does not even count. So a process that needs
GPUs leases them: it holds a lock on a file for each, which the kernel drops with the process, whatever its end, and
names them in CUDA_VISIBLE_DEVICES before CUDA starts. Where Slurm or the user has set that variable already, the GPUs
are taken from those that it names; what a parent has leased is left alone.
"""

import fcntl
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

VISIBLE = "CUDA_VISIBLE_DEVICES"
LEASED = "REPURPOSE_LEASED_GPUS"
"""Set where this process, or one that started it, holds the GPUs of CUDA_VISIBLE_DEVICES."""
ALLOCATIONS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
"""A scheduler's name for what it gave: GPU 0 of one allocation may be another GPU than that of the next."""
SHARED = "REPURPOSE_GPUS"
"""The study's `pair.gpus`, which decides no number; the workflow sets it."""
POLL = 2.0
"""Seconds between looks for a free GPU."""
_HELD: list[IO[str]] = []
"""Open for as long as the process lives."""


class GpuError(RuntimeError):
    """More GPUs are asked for than there are; the message is one line."""


def lease_gpus(count: int, there: int, folder: Path | None = None, poll: float = POLL) -> list[str]:
    """Wait for free GPUs and take `count` for the life of this process; a GpuError where there are fewer than needed.

    `there` are those that it may use; 0 takes none. The locks lie in `folder`; null: one of this user for all studies
    on the machine. Returns their names, as CUDA_VISIBLE_DEVICES has them; none where they are leased already.
    """
    if LEASED in os.environ or there == 0:
        return []
    check_count(count, there)
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    folder = folder or Path(tempfile.gettempdir(), f"repurpose-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    gpus = named[:there] or [str(gpu) for gpu in range(there)]
    if not (taken := _take(count, gpus, folder)):
        sys.stderr.write(f"repurpose: waiting for {count} of {len(gpus)} GPUs, which other jobs hold\n")
    while not taken:
        time.sleep(poll)
        taken = _take(count, gpus, folder)
    os.environ[VISIBLE] = os.environ[LEASED] = ",".join(taken)
    return taken


def reading_gpus() -> int:
    """GPUs that share one model where transformers reads it."""
    return int(os.environ.get(SHARED, "1"))


def check_count(count: int, there: int, setting: str = "vllm.tensor_parallel") -> None:
    """Refuse to share a model among more GPUs than there are; `setting` says how many."""
    if count > there:
        raise GpuError(f"{setting}: {count} GPUs are asked for, this job may use {there}")


def _take(count: int, gpus: list[str], folder: Path) -> list[str]:
    """Take all GPUs at once or none, so that two jobs never wait for one another."""
    allocation = [os.environ[name] for name in ALLOCATIONS if os.environ.get(name)][:1]
    free: dict[str, IO[str]] = {}
    for gpu in gpus:
        file: IO[str] = (folder / re.sub(r"[^A-Za-z0-9._-]", "_", "-".join([*allocation, gpu]))).open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free[gpu] = file
        except OSError:
            file.close()
    chosen = list(free)[:count] if len(free) >= count else []
    for gpu, file in free.items():
        if gpu in chosen:
            _HELD.append(file)
        else:
            file.close()
    return chosen
