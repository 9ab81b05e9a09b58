"""Several processes of one thread each share the batches of a small model.

On a CPU a small model gains little from a second thread, because the work between two kernels is as long as the
kernels: two processes write almost twice as much. Batches, and so tokens, are those of one process.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import psutil
import torch

from repurpose.model.batches import batches_of_prompts
from repurpose.model.engines import Batch, Engine, Generated, Request, Sampling

_ENGINE: list[Engine] = []
"""A worker's own engine."""


class PooledEngine(Engine):
    """Deals batches to worker processes, each with an engine of its own; what a worker raises is raised here."""

    name = "transformers"

    def __init__(self, open_engine: Callable[[], Engine], workers: int, batch_size: int) -> None:
        self.open_engine, self.workers, self.batch_size = open_engine, workers, batch_size

    def _run(self, requests: Sequence[Request], sampling: Sampling) -> Generator[Batch, None, None]:
        batches = list(batches_of_prompts([r.prompt_ids for r in requests], self.batch_size))
        workers = min(self.workers, len(batches))
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _open, (self.open_engine, os.getpid()))
        try:
            jobs = {pool.submit(_generate, [requests[i] for i in batch], sampling): batch for batch in batches}
            for job in as_completed(jobs):
                yield list(zip(jobs[job], job.result(), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)


def _open(open_engine: Callable[[], Engine], parent: int) -> None:
    leave_with(parent)
    torch.set_num_threads(1)
    _ENGINE[:] = [open_engine()]


def leave_with(parent: int) -> None:
    """End this process and all below it when its parent is gone: a parent that is killed cannot tell its workers.

    vLLM's workers that are only starting would wait for one another and outlive their engine.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _generate(requests: list[Request], sampling: Sampling) -> list[Generated]:
    return _ENGINE[0].generate(requests, sampling)
