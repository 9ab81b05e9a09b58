"""A synthetic study of many rollouts through vectors and cosines: how memory and time grow with their number.

    PYTHONPATH=src python -m benchmarks.scale 10000 100000 1000000

Activations are random: two layers of 64 numbers in float16, one window before each of four sentences a rollout, a
hundred rollouts a prompt, 20,000 rollouts a shard. Each step runs in a process of its own, as a job does.
Printed for each: seconds of processor time and the peak of its memory. The files lie in $TMPDIR and are removed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl

from repurpose.data.files import write_table
from repurpose.data.schemas import LABELS
from repurpose.data.selected import Selected, write_selected
from repurpose.directions.store import KEYS, read_vectors, write_activations
from repurpose.study.settings import BEHAVIOURS, canonical_json, read_study, step_settings

LAYERS, WIDTH, START = [0, 1], 64, -9
SENTENCES, SAMPLES, SHARD = 4, 100, 20_000
STUDY = {
    "study": "scale",
    "pair": {"base": "made-up/base", "reasoning": "made-up/reasoning"},
    "prompts": {"source": "organism", "train": 1000, "heldout": 1},
    "activations": {"window_starts": [START], "layers": LAYERS},
    "vectors": {"random_directions": 2, "shuffles": 2, "split_halves": 4},
    "sweeps": {
        "selection": {
            "split": "train",
            "prompts": 1,
            "layers": "all",
            "window_starts": "all",
            "magnitudes": {"unit": "dose", "values": [1.0]},
        }
    },
    "statistics": {"bootstrap": 20},
}


def write_shard(folder: Path, shard: int, rollouts: int) -> None:
    """Write labels and both readers' activations of one shard."""
    generator = np.random.default_rng(shard)
    count = rollouts * SENTENCES
    rollout = shard * SHARD + np.repeat(np.arange(rollouts), SENTENCES)
    keys = pl.DataFrame(
        {
            "prompt_id": pl.Series(rollout // SAMPLES).cast(pl.String),
            "sample": rollout % SAMPLES,
            "sentence": np.tile(np.arange(SENTENCES), rollouts),
        }
    )
    blank = {"char_start": 0, "char_end": 0, "token_start": 0, "token_end": 0, "text": "Wait.", "split": "train"}
    columns = {**blank, "annotator": "lexicon", "status": "ok"}
    labels = keys.with_columns(
        **{name: pl.lit(value) for name, value in columns.items()},
        label=pl.Series(np.array(BEHAVIOURS)[generator.integers(0, len(BEHAVIOURS), count)]),
        reply=pl.lit(None, pl.String),
    )
    write_table(folder / "labels" / f"{shard}.parquet", labels, LABELS, {})
    windows = keys.with_columns(window_start=pl.lit(START, pl.Int64)).select(KEYS).to_dicts()
    quantiles = {str(layer): list(np.linspace(1, 2, 5)) for layer in LAYERS}
    notes = {"residual_quantiles": quantiles, "generated_tokens": count, "dropped_windows": {}}
    for reader in ("base", "reasoning"):
        vectors = generator.standard_normal((len(LAYERS), count, WIDTH), np.float32).astype(np.float16)
        write_activations(folder / reader / f"{shard}.parquet", windows, LAYERS, vectors, notes)


def run(step: str, settings: dict[str, object], *arguments: str) -> tuple[float, float]:
    """Run a step in a process; return its seconds of processor time and its peak of memory in GB."""
    given = canonical_json(step_settings(read_study(STUDY), step, **settings))
    command = [sys.executable, "-m", f"repurpose.{step}", "--settings", given, *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command[:3]
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def measure(rollouts: int, folder: Path) -> None:
    """Write a study of so many rollouts, run the steps on it, and say what each took."""
    shards = -(-rollouts // SHARD)
    start = time.process_time()
    for shard in range(shards):
        write_shard(folder, shard, min(SHARD, rollouts - shard * SHARD))
    sys.stdout.write(f"{rollouts:>9,} rollouts, {shards} shards; written in {time.process_time() - start:.0f} s, ")
    size = sum(file.stat().st_size for file in folder.rglob("*.parquet")) / 1e9
    sys.stdout.write(f"{size:.2f} GB\n")
    names = ("labels", "base", "reasoning")
    files = {name: [str(folder / name / f"{n}.parquet") for n in range(shards)] for name in names}
    selection, vectors, cosines = (str(folder / name) for name in ("selection.json", "vectors", "cosines"))
    write_selected(selection, Selected(0, START, 6, 1.0, 1.0, 1, 0.1, 0.1, 1.0, 1.0, 0.0, 0.0, 1.0, "made up"))
    labels, read = ["--labels", *files["labels"]], ["--base", *files["base"], "--reasoning", *files["reasoning"]]
    asked: dict[str, tuple[dict[str, object], list[str]]] = {
        "directions.vectors": ({"reader": "base"}, ["--activations", *files["base"], "--output", vectors]),
        "directions.cosines": ({}, [*read, "--selection", selection, "--output", cosines]),
    }
    for step, (settings, arguments) in asked.items():
        seconds, peak = run(step, settings, *labels, *arguments)
        sys.stdout.write(f"    {step:<20} {seconds:>7.1f} s {peak:>6.2f} GB\n")
    for threads in (1, 2):
        begun = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            count = sum(map(len, pool.map(lambda path: read_vectors(path, 0), files["base"])))
        seconds = time.perf_counter() - begun
        sys.stdout.write(f"    a layer of all shards, {threads} threads: {count:,} vectors, {seconds:.2f} s\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("rollouts", nargs="+", type=int)
    for rollouts in parser.parse_args().rollouts:
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            measure(rollouts, Path(folder))


if __name__ == "__main__":
    main()
