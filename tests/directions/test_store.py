from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.disks import small_disk
from tests.tiny import from_source

from repurpose.data.files import TableError, read_provenance
from repurpose.data.schemas import ACTIVATIONS
from repurpose.directions import store
from repurpose.study.errors import one_line_errors

KEY_ROWS = [
    {"prompt_id": f"p{i % 3}", "sample": 0, "sentence": i, "window_start": start} for start in (-3, 0) for i in range(5)
]
LAYERS = [1, 4]


def write(path: Path, dtype: str = "float32", layers: list[int] = LAYERS) -> np.ndarray:
    vectors = np.random.default_rng(0).standard_normal((len(layers), len(KEY_ROWS), 6)).astype(dtype)
    store.write_activations(path, KEY_ROWS, layers, vectors, {"study": "small"})
    return vectors


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_written_is_read(tmp_path: Path, dtype: str) -> None:
    vectors = write(tmp_path / "a.parquet", dtype)
    for number, layer in enumerate(LAYERS):
        keys, found = store.read_layer(tmp_path / "a.parquet", layer)
        assert np.array_equal(found, vectors[number]) and found.dtype == dtype
        assert keys.to_dicts() == KEY_ROWS


def test_a_row_group_holds_one_layer_under_the_schema(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        assert file.schema_arrow.remove_metadata() == ACTIVATIONS
        groups = [file.read_row_group(i)["layer"].unique().to_pylist() for i in range(file.num_row_groups)]
    assert groups == [[1], [4]]
    notes = read_provenance(tmp_path / "a.parquet")
    assert (notes["width"], notes["dtype"], notes["layers"], notes["study"]) == (6, "float32", LAYERS, "small")


def test_columns_beyond_a_binary_array_are_chunked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK_BYTES", 3 * 6 * 4)
    vectors = write(tmp_path / "a.parquet")
    assert np.array_equal(store.read_layer(tmp_path / "a.parquet", 1)[1], vectors[0])


def test_vectors_of_other_lengths_are_refused_though_their_bytes_add_up(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", layers=[1])
    table = pq.read_table(tmp_path / "a.parquet")
    first, second, *others = table["vector"].to_pylist()
    moved = pa.array([first + second[:4], second[4:], *others], pa.binary())
    pq.write_table(table.set_column(table.schema.get_field_index("vector"), "vector", moved), tmp_path / "b.parquet")
    with pytest.raises(TableError, match="a vector has not the 6 numbers"):
        store.read_vectors(tmp_path / "b.parquet", 1)


def test_a_shard_without_windows_is_still_a_table(tmp_path: Path) -> None:
    with store.spool(tmp_path, 2, 0, 6, "float32") as vectors:
        store.write_activations(tmp_path / "a.parquet", [], LAYERS, vectors, {})
    keys, found = store.read_layer(tmp_path / "a.parquet", 4)
    assert len(keys) == 0 and found.shape == (0, 6)


KILLED = """
import os, signal
from pathlib import Path
from repurpose.directions import store
with store.spool(Path("."), 2, 100, 6, "float32") as vectors:
    vectors[:] = 1
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.faults
def test_nothing_of_the_spool_outlives_a_kill(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env=from_source())
    assert list(tmp_path.iterdir()) == []


def test_a_spool_holds_what_is_put_into_it_under_no_name(tmp_path: Path) -> None:
    with store.spool(tmp_path, 2, 3, 4, "float16") as vectors:
        vectors[:] = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
        assert vectors.shape == (2, 3, 4) and vectors[1, 2].tolist() == [20, 21, 22, 23]
        assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_a_spool_that_does_not_fit_is_one_line_before_anything_is_computed(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 << 10) as disk:
        said = (
            rf"^repurpose step: {disk}: No space left on device: activations need 8.0 MB .*, 0.1 MB are free; make room"
        )
        with (
            pytest.raises(SystemExit, match=said),
            one_line_errors("step"),
            store.spool(disk, 2, 1000, 1000, "float32"),
        ):
            raise AssertionError("computed all the same")
        assert list(disk.iterdir()) == []


def test_nothing_is_left_of_a_write_that_failed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        store.write_activations(tmp_path / "a.parquet", KEY_ROWS, [1], np.zeros((2, 10, 6), np.float32), {})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    with pytest.raises(TableError, match="no layer 2; it holds 1, 4"):
        store.read_layer(tmp_path / "a.parquet", 2)


def test_shards_that_differ_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", layers=[0, 1])
    with pytest.raises(TableError, match="differ in layers"):
        store.stored_layers([tmp_path / "a.parquet", tmp_path / "b.parquet"])
