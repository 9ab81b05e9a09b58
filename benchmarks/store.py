"""Activations on the disk: all layers written, one of them read, in MB a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.inputs import Storage
from benchmarks.race import Entry, Role, Table
from benchmarks.worker import Outputs

OTHERS: dict[str, tuple[Role, str]] = {
    "`np.save`, one file": ("floor", "benchmarks.peers.files:numpy_file"),
    "ours": ("ours", "benchmarks.ours:storage"),
    "safetensors, a tensor a layer": ("peer", "benchmarks.peers.files:safetensors_file"),
    "Parquet, a list a row": ("peer", "benchmarks.peers.files:parquet_lists"),
}


def write_inputs(folder: Path, layers: int, rows: int, width: int, repeats: int) -> None:
    """Write random vectors in float16."""
    generator = np.random.default_rng(0)
    vectors = np.stack([generator.standard_normal((rows, width), np.float32).astype(np.float16) for _ in range(layers)])
    np.save(folder / Storage.DATA, vectors)
    Storage(layers // 3, repeats).save(folder)


def tables(folder: Path) -> list[Table]:
    """Writing, then reading what was written."""
    inputs, vectors = Storage.load(folder), np.load(folder / Storage.DATA, mmap_mode="r")
    layers, rows, width = vectors.shape
    about = f"{layers} layers of {rows:,} vectors of {width} numbers in float16, {vectors.nbytes / 1e6:,.0f} MB"
    pages = "Files stay in the operating system's memory, so that the disk does not count"
    read = vectors[inputs.layer].nbytes * inputs.repeats / 1e6

    def check_read(outputs: Mapping[str, Outputs]) -> str:
        for label, found in outputs.items():
            np.testing.assert_array_equal(found["layer"], vectors[inputs.layer], err_msg=label)
        return f"the layer's numbers are those that were written, bit by bit, in all {len(outputs)}"

    size = vectors.nbytes / 1e6
    told = f"The same files, layer {inputs.layer}, {inputs.repeats} times."
    return [
        Table("store-write", "Writing activations", f"{about}. {pages}.", size, "MB", entries("write"), sized),
        Table("store-read", f"Reading one layer of {layers}", told, read, "MB", entries("read"), check_read),
    ]


def entries(run: str) -> list[Entry]:
    return [Entry(label, role, place, run) for label, (role, place) in OTHERS.items()]


def sized(outputs: Mapping[str, Outputs]) -> str:
    """What is written is compared when it is read."""
    assert all(int(found["bytes"]) > 0 for found in outputs.values())
    return "what was written, in the next table"
