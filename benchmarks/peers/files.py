"""Ways to keep vectors in a file: NumPy's, safetensors, Parquet with a column of lists; and one pass over memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from benchmarks.inputs import Bootstrap, Storage
from benchmarks.worker import Outputs, Runs

BLOCK = 4096
"""Windows that are added up at once: their float64 copy stays in the processor's memory."""


def numpy_file(folder: Path) -> Runs:
    """`np.save`, and a layer through a memory map."""
    inputs, vectors, path = Storage.load(folder), np.load(folder / Storage.DATA), folder / "numpy.npy"

    def write() -> Outputs:
        np.save(path, vectors)
        return size_of(path)

    def read() -> NDArray[Any]:
        return np.array(np.load(path, mmap_mode="r")[inputs.layer])

    return {"write": write, "read": partial(inputs.read, read)}


def safetensors_file(folder: Path) -> Runs:
    """A tensor a layer."""
    inputs, vectors, path = Storage.load(folder), np.load(folder / Storage.DATA), folder / "vectors.safetensors"

    def write() -> Outputs:
        save_file({f"layer-{number}": layer for number, layer in enumerate(vectors)}, path)
        return size_of(path)

    def read() -> NDArray[Any]:
        with safe_open(path, "np") as file:
            layer: NDArray[Any] = file.get_tensor(f"layer-{inputs.layer}")
            return layer

    return {"write": write, "read": partial(inputs.read, read)}


def parquet_lists(folder: Path) -> Runs:
    """A list of float16 a row, a row group a layer, otherwise pyarrow's own settings."""
    inputs, vectors, path = Storage.load(folder), np.load(folder / Storage.DATA), folder / "lists.parquet"
    rows, width = vectors.shape[1:]
    schema = pa.schema([("layer", pa.int64()), ("vector", pa.list_(pa.float16()))])
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)

    def write() -> Outputs:
        with pq.ParquetWriter(path, schema) as writer:
            for number, layer in enumerate(vectors):
                lists = pa.ListArray.from_arrays(offsets, pa.array(layer.reshape(-1)))
                writer.write_table(pa.table([pa.array(np.full(rows, number)), lists], schema=schema))
        return size_of(path)

    def read() -> NDArray[Any]:
        with pq.ParquetFile(path) as file:
            column = file.read_row_group(inputs.layer, columns=["vector"])["vector"].combine_chunks()
            flat: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
            return flat.reshape(rows, width)

    return {"write": write, "read": partial(inputs.read, read)}


def size_of(path: Path) -> Outputs:
    return {"bytes": np.array(path.stat().st_size)}


def memory_pass(folder: Path) -> Runs:
    """The floor of a mean: every number is read once, and added in float64."""
    vectors = np.load(folder / Bootstrap.DATA)

    def add_up() -> Outputs:
        total = np.zeros(vectors.shape[1])
        for start in range(0, len(vectors), BLOCK):
            total += vectors[start : start + BLOCK].astype(np.float64).sum(0)
        return {"total": total}

    return {"add up": add_up}
