"""Files: a table is Parquet; any file is written beside and renamed, so what exists under its name is whole."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from repurpose.study.errors import FULL

METADATA_KEY = b"repurpose"


_WRITTEN: ContextVar[list[Path] | None] = ContextVar("_WRITTEN", default=None)


class TableError(ValueError):
    """A table lacks a column or cannot be read; the message names the file."""


@contextmanager
def noting_written() -> Iterator[list[Path]]:
    """Yield a list that fills with the files that are written while the block runs."""
    written: list[Path] = []
    token = _WRITTEN.set(written)
    try:
        yield written
    finally:
        _WRITTEN.reset(token)


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling path that is renamed to `path` when the block ends without an exception.

    Where the disk is full, the OSError names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
        if (written := _WRITTEN.get()) is not None:
            written.append(path)
    except OSError as problem:
        if problem.errno in FULL:
            problem.filename, problem.strerror = str(path), os.strerror(problem.errno)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, content: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def write_table(
    path: Path | str, table: pl.DataFrame | list[dict[str, Any]], schema: pa.Schema, provenance: Mapping[str, Any]
) -> None:
    """Write a table under its schema, with its provenance in the file's metadata."""
    described = schema.with_metadata({METADATA_KEY: json.dumps(provenance, sort_keys=True)})
    if isinstance(table, list):
        whole = pa.Table.from_pylist(table, schema=described)
    elif missing := [name for name in schema.names if name not in table.columns]:
        raise TableError(f"column {missing[0]} is missing; the schema asks for {', '.join(schema.names)}")
    else:
        whole = table.select(schema.names).to_arrow().cast(described)
    with atomic_write(path) as temporary:
        pq.write_table(whole, temporary, compression="zstd")


def read_table(paths: Path | str | list[Path] | list[str], columns: list[str] | None = None) -> pl.DataFrame:
    """Read one table, or several shards of it one after the other; a TableError names a file that is no whole one."""
    many = paths if isinstance(paths, list) else [paths]
    return pl.concat([_read(path, columns) for path in many])


def _read(path: Path | str, columns: list[str] | None) -> pl.DataFrame:
    with readable(path):
        return pl.DataFrame(pq.read_table(path, columns=columns))


def read_provenance(path: Path | str) -> dict[str, Any]:
    """Return the provenance that a file carries (empty where it has none); raises TableError as `read_table` does."""
    with readable(path):
        return unpack_provenance(pq.read_schema(path))


def unpack_provenance(schema: pa.Schema) -> dict[str, Any]:
    """The provenance that a file's schema carries; empty where it has none."""
    notes: dict[str, Any] = json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))
    return notes


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Raise a TableError of one line where the block finds that a file is no whole Parquet table."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException, pl.exceptions.PolarsError) as problem:
        said = str(problem).strip().partition("\n")[0]
        raise TableError(f"{path}: cannot be read ({said}); remove it, and run again") from None
