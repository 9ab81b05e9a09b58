"""Cards: no two jobs of one machine ever share one.

Snakemake counts cards but assigns none, and where nobody set a limit it does not even count. So a process that needs
cards leases them: it holds a lock on a file for each, which the kernel drops with the process, whatever its end, and
names them in CUDA_VISIBLE_DEVICES before CUDA starts. Where that variable is set already (by Slurm, by the user, by a
parent that leased), it is left alone.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL = 2.0
"""Seconds between looks for a free card."""
_HELD: list[IO[str]] = []
"""Open for as long as the process lives."""


class CardError(RuntimeError):
    """More cards are asked for than there are; the message is one line."""


def lease_cards(count: int, there: int, folder: Path | None = None, poll: float = POLL) -> list[int]:
    """Wait for free cards and take them for the life of this process.

    Args:
        count: how many are needed. there: how many the machine has; 0 takes none.
        folder: where the locks lie; null: one folder of this user for all studies on the machine.

    Returns:
        Their numbers; empty where the environment names cards already or there are none.

    Raises:
        CardError: where there are fewer than are needed.
    """
    if VISIBLE in os.environ or there == 0:
        return []
    if count > there:
        raise CardError(f"{count} cards are needed, this machine has {there}")
    folder = folder or Path(tempfile.gettempdir(), f"repurpose-cards-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    taken = _wait(count, there, folder, poll)
    os.environ[VISIBLE] = ",".join(map(str, taken))
    return taken


def _wait(count: int, there: int, folder: Path, poll: float) -> list[int]:
    """Take all cards at once or none, so that two jobs never wait for one another."""
    told = False
    while True:
        files = {card: file for card in range(there) if (file := _lock(folder / str(card)))}
        chosen = dict(list(files.items())[:count]) if len(files) >= count else {}
        for card, file in files.items():
            if card not in chosen:
                file.close()
        if chosen:
            _HELD.extend(chosen.values())
            return list(chosen)
        if not told:
            sys.stderr.write(f"repurpose: waiting for {count} of {there} cards, which other jobs hold\n")
            told = True
        time.sleep(poll)


def _lock(path: Path) -> IO[str] | None:
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
