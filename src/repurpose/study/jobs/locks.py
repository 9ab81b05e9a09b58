"""Tells the locks of a killed run from those of a living one; standard library only, the Snakefile imports it.

Snakemake marks the files of a run in `.snakemake/locks` and removes the marks at the end; a run that was killed leaves
them, and the next one would stop and ask for `--unlock`. So every process that reads the Snakefile, a dry run too,
holds a shared `flock` from then on, before Snakemake marks anything; the kernel drops it with the process, whatever its
end. Only who gets the lock exclusively, at that moment alone, may remove marks: nobody lives who could have made them.

Processes of other machines may be out of the lock's sight, and their jobs may outlive a killed run in a cluster's
queue. So each machine writes its name into the locked file, and where there is another name than this machine's, the
marks are left to `snakemake --unlock`.
"""

import fcntl
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import IO

STATE = Path(".snakemake")
_HELD: dict[Path, IO[str]] = {}
"""Open for as long as the process lives, by the directory that the run is in."""


def enter_directory(state: Path = STATE) -> None:
    """Say that a process of a run lives in this directory; the first one to do so removes what a killed run left."""
    if state.resolve() in _HELD:
        return
    with suppress(OSError):  # a file system without locks, or not to be written: Snakemake's own marks, `--unlock`
        state.mkdir(exist_ok=True)
        file = _HELD[state.resolve()] = (state / "repurpose.run").open("a+")
        with suppress(BlockingIOError):  # a process of another run lives
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _machines(file) == {socket.gethostname()}:
                shutil.rmtree(state / "locks", ignore_errors=True)
        fcntl.flock(file, fcntl.LOCK_SH)
        if socket.gethostname() not in _machines(file):
            file.write(f"{socket.gethostname()}\n")
            file.flush()


def _machines(file: IO[str]) -> set[str]:
    file.seek(0)
    return set(file.read().split())
