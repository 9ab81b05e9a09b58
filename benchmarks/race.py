"""Let contestants take turns, each in a process of its own, and compare what they return before their times count.

A table has entries; an entry is a run of a worker. After the first round outputs are compared, and where they differ
there is no table. In each round the entries take turns, so that a slow minute of the machine hits all of them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from benchmarks.environments import ROOT, EnvironmentMissing, interpreter
from benchmarks.worker import Outputs, outputs_file

Role = Literal["floor", "ours", "peer"]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Entry:
    """One line of a table."""

    label: str
    role: Role
    place: str
    """MODULE:FUNCTION of its worker."""
    run: str
    """Which of the worker's runs."""
    peer: str | None = None
    """Whose environment the worker needs; None: this one."""


@dataclass(frozen=True)
class Table:
    """What is raced, and by what its speed is told."""

    key: str
    title: str
    text: str
    """What was measured, in words."""
    amount: float
    unit: str
    """The amount's: tokens, MB."""
    entries: Sequence[Entry]
    check: Callable[[Mapping[str, Outputs]], str]
    """Given outputs by label; raises AssertionError where they are not equal, else says how they were compared."""


@dataclass
class Measured:
    """An entry's numbers."""

    label: str
    role: Role
    cpu: list[float] = field(default_factory=list)
    """Seconds of the process, by round."""
    wall: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    bytes: int | None = None
    """What it wrote to the disk, where it wrote."""


class WorkerFailed(RuntimeError):
    """A worker ended; the message is the last line that it said."""


class Worker:
    """A process that runs what it is asked for."""

    def __init__(self, place: str, python: Path, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.log = folder / f"{place.replace(':', '-')}.log"
        environment = {**os.environ, **ONE_THREAD, **OFFLINE, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        command = [str(python), "-m", "benchmarks.worker", place, str(folder)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        self.versions: dict[str, str] = self._answer()["versions"]

    def ask(self, run: str) -> dict[str, float]:
        """Let a run be done; return its seconds and peak memory."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{run}\n")
        self.process.stdin.flush()
        return self._answer()

    def outputs(self, run: str) -> Outputs:
        """What a run returned when it was first done."""
        with np.load(outputs_file(self.folder, self.place, run)) as file:
            return dict(file)

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.process.wait()
        said = [line for line in self.log.read_text().splitlines() if line.strip()]
        raise WorkerFailed(said[-1].strip() if said else f"it ended with status {self.process.returncode}")

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Workers:
    """The workers of one folder of inputs, each started when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started, self.stack = folder, dict[str, Worker](), ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def of(self, entry: Entry) -> Worker:
        """An entry's worker; raises EnvironmentMissing or WorkerFailed."""
        if entry.place not in self.started:
            python = Path(sys.executable) if entry.peer is None else interpreter(entry.peer)
            self.started[entry.place] = worker = Worker(entry.place, python, self.folder)
            self.stack.callback(worker.close)
        return self.started[entry.place]

    def outputs(self, entry: Entry) -> Outputs:
        """What an entry returned when it was first run."""
        return self.of(entry).outputs(entry.run)


def race(table: Table, workers: Workers, rounds: int) -> dict[str, Any]:
    """Return a table's numbers as plain values; raises AssertionError where outputs differ."""
    measured, missing = start(table.entries, workers)
    equal = table.check({entry.label: workers.outputs(entry) for entry in measured})
    for _ in range(rounds - 1):
        for entry, numbers in measured.items():
            note(numbers, workers.of(entry).ask(entry.run))
    for entry, numbers in measured.items():
        written = workers.outputs(entry).get("bytes")
        numbers.bytes = None if written is None else int(written)
    told = {name: getattr(table, name) for name in ("key", "title", "text", "amount", "unit")}
    return {**told, "equal": equal, "entries": [asdict(one) for one in measured.values()], "missing": missing}


def start(entries: Sequence[Entry], workers: Workers) -> tuple[dict[Entry, Measured], list[dict[str, str]]]:
    """Do the first round; return the entries with its numbers, and why peers are missing that could not do it."""
    measured, missing = dict[Entry, Measured](), []
    for entry in entries:
        try:
            worker = workers.of(entry)
            numbers = Measured(entry.label, entry.role, versions=worker.versions)
            note(numbers, worker.ask(entry.run))
            measured[entry] = numbers
        except (EnvironmentMissing, WorkerFailed) as problem:
            if entry.peer is None:
                raise
            missing.append({"label": entry.label, "reason": str(problem)})
    return measured, missing


def note(numbers: Measured, answer: Mapping[str, float]) -> None:
    """Add a round to an entry's numbers."""
    numbers.cpu.append(answer["cpu"])
    numbers.wall.append(answer["wall"])
    numbers.peak_mb = max(numbers.peak_mb, answer["peak_mb"])


def median_seconds(entry: Mapping[str, Any]) -> float:
    """An entry's median seconds of the process."""
    return float(statistics.median(entry["cpu"]))
