"""Processes that share batches: the tokens of one process, errors that arrive, nobody left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repurpose.model import engines
from repurpose.model.engines import Engine, Request, Sampling
from repurpose.model.engines.choice import open_transformers, share_work
from repurpose.model.engines.pool import PooledEngine
from repurpose.model.hooks import HookError
from repurpose.model.steer import Steer
from repurpose.study.settings import Pair

SAMPLING = Sampling(0.7, 16)
SOURCE = str(Path(engines.__file__).parents[3])

pytestmark = pytest.mark.slow


def requests(layer: int = 1) -> list[Request]:
    vector = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    plan = Steer("add", "add", layer, 4.0, vector / np.linalg.norm(vector))
    return [Request([0, 2, 10 + i % 5, 3], i, plan if i % 2 else None) for i in range(14)]


def test_two_processes_write_what_one_writes(pair_folders: dict[str, str]) -> None:
    pair, seen = Pair(**pair_folders), list[int]()
    pool = PooledEngine(partial(open_transformers, pair, "base", 4), 2, 4)
    together = pool.generate(requests(), SAMPLING, lambda done: seen.extend(index for index, _ in done))
    assert together == open_transformers(pair, "base", 4).generate(requests(), SAMPLING)
    assert sorted(seen) == list(range(14)) and {done.steered_positions > 0 for done in together} == {True, False}


def test_what_a_worker_raises_arrives(pair_folders: dict[str, str]) -> None:
    with pytest.raises(HookError, match="no layer 9"):
        PooledEngine(partial(open_transformers, Pair(**pair_folders), "base", 4), 2, 4).generate(requests(9), SAMPLING)


def test_threads_become_processes_only_where_there_are_several(pair_folders: dict[str, str]) -> None:
    engine = open_transformers(Pair(**pair_folders), "base", 4)
    before = torch.get_num_threads()
    kinds: dict[int, Engine] = {}
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            kinds[threads] = share_work(engine, Pair(**pair_folders), "base")
    finally:
        torch.set_num_threads(before)
    assert kinds[1] is engine and isinstance(kinds[2], PooledEngine)


def test_workers_end_with_a_killed_parent(pair_folders: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\nfrom functools import partial\nfrom repurpose.model.engines import Request, Sampling\n"
        "from repurpose.model.engines.choice import open_transformers\n"
        "from repurpose.model.engines.pool import PooledEngine\n"
        "from repurpose.study.settings import Pair\n"
        "if __name__ == '__main__':\n"
        "    pool = PooledEngine(partial(open_transformers, Pair(sys.argv[1], sys.argv[1]), 'base', 1), 2, 1)\n"
        "    many = [Request([0, 2, 3], i) for i in range(9999)]\n"
        "    pool.generate(many, Sampling(1.0, 200), lambda done: print('some', flush=True))\n"
    )
    arguments: Any = [sys.executable, str(script), pair_folders["base"]]
    parent = subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": SOURCE}, stdout=subprocess.PIPE)
    assert parent.stdout and parent.stdout.readline() == b"some\n"
    workers = [int(pid) for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
    assert len(workers) >= 2
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while any(_runs(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _runs(pid: int) -> bool:
    """Whether a process lives; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
