"""One process that measures itself: `python -m benchmarks.worker MODULE:FUNCTION FOLDER`, started by `race`.

The function is given the folder of inputs and returns named runs. Then each line on standard input names a run; it is
done, and the answer is one line of JSON: seconds and peak memory. What the first call of a run returns is written to
the folder, where it is compared before any of the seconds are quoted. Knows nothing of this project's package, so that
it works in every peer's environment.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[Any]]
Runs = Mapping[str, Callable[[], Outputs]]
NAMED = ("torch", "transformers", "numpy", "steering-vectors", "nnsight", "transformer-lens", "repeng", "safetensors")
"""Packages whose versions are told, where they are there."""


def main() -> None:
    place, folder = sys.argv[1:]
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: object) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    runs, seen = prepare(place, Path(folder)), set[str]()
    answer(versions=versions(), runs=sorted(runs))
    for line in sys.stdin:
        name = line.strip()
        outputs, measured = measure(runs[name])
        if name not in seen:
            seen.add(name)
            np.savez(outputs_file(Path(folder), place, name), allow_pickle=False, **outputs)
        answer(**measured)


def prepare(place: str, folder: Path) -> Runs:
    """Call MODULE:FUNCTION with the folder of inputs."""
    module, function = place.split(":")
    runs: Runs = getattr(importlib.import_module(module), function)(folder)
    return runs


def measure(run: Callable[[], Outputs]) -> tuple[Outputs, dict[str, float]]:
    """Do a run; return what it returned, its seconds (`cpu` of this process, `wall`), its peak of memory in MB."""
    forget_peak()
    cpu, wall = time.process_time(), time.perf_counter()
    outputs = run()
    seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return outputs, {**seconds, "peak_mb": peak_memory()}


def forget_peak() -> None:
    """Let the kernel count the peak of this process's memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> float:
    """The most memory (resident, in MB) that this process has had since it was last forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1.024e-3 for line in lines if line.startswith("VmHWM"))


def outputs_file(folder: Path, place: str, run: str) -> Path:
    """Where a run's outputs lie."""
    return folder / f"{place.replace(':', '-')}-{run.replace(' ', '-')}.npz"


def versions() -> dict[str, str]:
    """Versions of what is installed here, of the packages that matter."""
    found = {}
    for name in NAMED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
