"""Cards: no two jobs of one machine ever share one.

Snakemake counts cards but assigns none, and where nobody set a limit it does not even count. So a process that needs
cards leases them: it holds a lock on a file for each, which the kernel drops with the process, whatever its end, and
names them in CUDA_VISIBLE_DEVICES before CUDA starts. Where Slurm or the user has set that variable already, the cards
are taken from those that it names; what a parent has leased is left alone.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

VISIBLE = "CUDA_VISIBLE_DEVICES"
LEASED = "REPURPOSE_LEASED_CARDS"
"""Set where this process, or one that started it, holds the cards of CUDA_VISIBLE_DEVICES."""
ALLOCATIONS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
"""A scheduler's name for what it gave: card 0 of one allocation may be another card than that of the next."""
POLL = 2.0
"""Seconds between looks for a free card."""
_HELD: list[IO[str]] = []
"""Open for as long as the process lives."""


class CardError(RuntimeError):
    """More cards are asked for than there are; the message is one line."""


def lease_cards(count: int, there: int, folder: Path | None = None, poll: float = POLL) -> list[str]:
    """Wait for free cards and take them for the life of this process.

    Args:
        count: how many are needed. there: how many this process may use; 0 takes none.
        folder: where the locks lie; null: one folder of this user for all studies on the machine.

    Returns:
        Their names, as CUDA_VISIBLE_DEVICES has them; empty where they are leased already or there are none.

    Raises:
        CardError: where there are fewer than are needed.
    """
    if LEASED in os.environ or there == 0:
        return []
    check_count(count, there)
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    folder = folder or Path(tempfile.gettempdir(), f"repurpose-cards-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    cards = named[:there] or [str(card) for card in range(there)]
    taken = _take(count, cards, folder)
    if not taken:
        sys.stderr.write(f"repurpose: waiting for {count} of {len(cards)} cards, which other jobs hold\n")
    while not taken:
        time.sleep(poll)
        taken = _take(count, cards, folder)
    os.environ[VISIBLE] = os.environ[LEASED] = ",".join(taken)
    return taken


def check_count(count: int, there: int) -> None:
    """Refuse to share a model among more cards than there are."""
    if count > there:
        raise CardError(f"vllm.tensor_parallel: {count} cards are asked for, this job may use {there}")


def _take(count: int, cards: list[str], folder: Path) -> list[str]:
    """Take all cards at once or none, so that two jobs never wait for one another."""
    allocation = [os.environ[name] for name in ALLOCATIONS if os.environ.get(name)][:1]
    names = {card: re.sub(r"[^A-Za-z0-9._-]", "_", "-".join([*allocation, card])) for card in cards}
    free = {card: file for card, name in names.items() if (file := _lock(folder / name))}
    chosen = list(free)[:count] if len(free) >= count else []
    for card, file in free.items():
        if card in chosen:
            _HELD.append(file)
        else:
            file.close()
    return chosen


def _lock(path: Path) -> IO[str] | None:
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
