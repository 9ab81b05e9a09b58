"""Tells the locks of a killed run from those of a living one; standard library only, the Snakefile imports it.

Snakemake marks the files of a run in `.snakemake/locks` and removes the marks at the end; a run that was killed leaves
them, and the next one would stop and ask for `--unlock`. So each run also holds a shared `flock`, which the
kernel drops with the process, whatever its end. Where nobody on this machine holds it, the marks are stale.
"""

from __future__ import annotations

import fcntl
import shutil
import socket
from pathlib import Path
from typing import IO

STATE = Path(".snakemake")
_HELD: list[IO[str]] = []
"""Open for as long as the process lives."""


def hold_run_lock(state: Path = STATE) -> None:
    """Say that a run lives in this directory; called once it has started."""
    file = _run_file(state).open("a+")
    _HELD.append(file)
    try:
        fcntl.flock(file, fcntl.LOCK_SH)
    except OSError:  # a file system without locks: Snakemake's own marks remain, and `--unlock`
        return
    file.truncate(0)
    file.write(socket.gethostname())
    file.flush()


def clear_stale_locks(state: Path = STATE) -> bool:
    """Remove the marks of a run that was killed on this machine; True where there were any."""
    marks, run_file = state / "locks", _run_file(state)
    if not marks.is_dir() or not run_file.is_file() or run_file.read_text() != socket.gethostname():
        return False
    with run_file.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        shutil.rmtree(marks)
    return True


def _run_file(state: Path) -> Path:
    return state / "repurpose.run"
