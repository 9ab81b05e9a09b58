"""The activation store: Parquet, one row group a layer, so that a layer is read without the others.

A vector is one binary value, the bytes of d numbers; d, dtype, layers, residual norms and drops stand in the
file's metadata. Within a layer rows are sorted by window start, then as the sentences are.
"""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import DTypeLike, NDArray

from repurpose.data.files import METADATA_KEY, TableError, atomic_write, read_provenance, readable, unpack_provenance
from repurpose.data.schemas import ACTIVATIONS

CHUNK_BYTES = 1 << 30
"""An Arrow binary array holds less than 2 GiB; longer columns are written in chunks."""
KEYS = ("prompt_id", "sample", "sentence", "window_start")


@contextmanager
def spool(folder: Path, layers: int, rows: int, width: int, dtype: DTypeLike) -> Iterator[NDArray[Any]]:
    """Yield an array (layers, rows, width) on the disk for as long as the block runs.

    Layers are computed together but stored one after the other; between the two they need not fit into memory. The
    file has no name, so nothing of it outlives the process. Its room is taken first: a memory map that finds none
    later kills the process without a word.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape = (layers, max(rows, 1), width)
    with tempfile.TemporaryFile(dir=folder) as file:
        _reserve(file.fileno(), math.prod(shape) * np.dtype(dtype).itemsize, folder)
        array = np.memmap(file, dtype=dtype, mode="r+", shape=shape)
        yield array[:, :rows]
        del array


def _reserve(file: int, size: int, folder: Path) -> None:
    """Give a file so many bytes, or raise an OSError that says how many the folder lacks."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    free = shutil.disk_usage(folder).free
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as problem:
        told = f"activations need {size / 1e6:,.1f} MB beside their file, {free / 1e6:,.1f} MB are free"
        raise OSError(problem.errno, f"{problem.strerror}: {told}", str(folder)) from None


def write_activations(
    path: Path | str, keys: list[dict[str, Any]], layers: Sequence[int], vectors: NDArray[Any], notes: Mapping[str, Any]
) -> None:
    """Write vectors (layers, rows, width), keys (`KEYS`) and provenance (`notes`), a row group a layer, ascending."""
    stored = {**notes, "width": vectors.shape[2], "dtype": str(vectors.dtype), "layers": list(layers)}
    rows = pa.Table.from_pylist(keys, pa.schema([ACTIVATIONS.field(name) for name in KEYS]))
    schema = ACTIVATIONS.with_metadata({METADATA_KEY: json.dumps(stored, sort_keys=True)})
    with (
        atomic_write(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression={name: "none" if name == "vector" else "zstd" for name in ACTIVATIONS.names},
            use_dictionary=[name for name in ACTIVATIONS.names if name != "vector"],
            write_statistics=list(KEYS),
        ) as writer,
    ):
        for layer, matrix in zip(layers, vectors, strict=True):
            group = rows.append_column("layer", pa.array(np.full(len(rows), layer)))
            group = group.append_column("vector", _pack(matrix)).select(ACTIVATIONS.names).cast(schema)
            writer.write_table(group, row_group_size=max(1, len(rows)))


def _pack(matrix: NDArray[Any]) -> pa.ChunkedArray:
    """Rows of (rows, width) as binary values, without a copy for each."""
    size = matrix.shape[1] * matrix.itemsize
    step = max(1, CHUNK_BYTES // size)
    chunks = []
    for start in range(0, len(matrix), step):
        part = np.ascontiguousarray(matrix[start : start + step])
        offsets = np.arange(len(part) + 1, dtype=np.int32) * size
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(part)]
        chunks.append(pa.Array.from_buffers(pa.binary(), len(part), buffers))
    return pa.chunked_array(chunks, type=pa.binary())


def stored_layers(paths: Sequence[Path | str]) -> list[int]:
    """Layers that the shards hold; raises TableError where the shards were not made alike."""
    kinds = {(tuple(n["layers"]), n["width"], n["dtype"]) for n in map(read_provenance, paths)}
    if len(kinds) != 1:
        raise TableError(f"{paths[0]} and its sister shards differ in layers, width or dtype")
    return list(kinds.pop()[0])


def read_layer(path: Path | str, layer: int) -> tuple[pl.DataFrame, NDArray[Any]]:
    """Read one layer of a shard: keys (`KEYS`) and vectors (rows, width) in the stored dtype, row by row."""
    return read_keys(path, layer), read_vectors(path, layer)


def read_keys(path: Path | str, layer: int) -> pl.DataFrame:
    """Read which windows (`KEYS`) one layer of a shard has, without their vectors."""
    return pl.DataFrame(_read_columns(path, layer, KEYS)[0])


def read_vectors(path: Path | str, layer: int) -> NDArray[Any]:
    """Read the vectors (rows, width) of one layer of a shard; they cannot be written to."""
    table, notes = _read_columns(path, layer, ("vector",))
    with readable(path):
        chunks = [_unpack(chunk, notes["width"], notes["dtype"]) for chunk in table["vector"].chunks if len(chunk)]
    return chunks[0] if len(chunks) == 1 else np.concatenate([np.empty((0, notes["width"]), notes["dtype"]), *chunks])


def _unpack(values: pa.BinaryArray, width: int, dtype: str) -> NDArray[Any]:
    """Binary values as rows (rows, width), without a copy; a ValueError where one has not so many numbers."""
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int32, len(values) + 1, values.offset * np.int32().nbytes)
    if (np.diff(ends) != width * np.dtype(dtype).itemsize).any():
        raise ValueError(f"a vector has not the {width} numbers that its file names")
    return np.frombuffer(data, dtype, len(values) * width, ends[0]).reshape(-1, width)


def _read_columns(path: Path | str, layer: int, columns: Sequence[str]) -> tuple[pa.Table, dict[str, Any]]:
    """Some columns of one layer, and the file's provenance."""
    with readable(path), pq.ParquetFile(path) as file:
        notes = unpack_provenance(file.schema_arrow)
        if layer in notes["layers"]:
            return file.read_row_group(notes["layers"].index(layer), columns=list(columns)), notes
    raise TableError(f"{path}: no layer {layer}; it holds {', '.join(map(str, notes['layers']))}")
