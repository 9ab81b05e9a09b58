"""Resume inside a step: finished records are appended to a file beside the output and survive a killed process.

JSON lines, because appending needs nothing of what is there already: a new process adds to the file of a killed one,
and a torn last line is recognised by itself (an Arrow stream would have to be read and reopened). A damaged line is
named and left out, and nothing that stands after it is lost. Snakemake does not know the file, so it is not removed
with a failed job's outputs.

A record's key must hold everything that changes the record (the code, the model's files, seeds, settings), and nothing
that does not (batch sizes).
"""

import hashlib
import json
import os
import sys
from collections import UserDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from repurpose.study.settings import canonical_json

Record = dict[str, Any]


def record_key(*parts: Any) -> str:
    """Digest of plain values that name a record completely; 128 bits as hexadecimal digits."""
    return hashlib.blake2b(canonical_json(parts).encode(), digest_size=16).hexdigest()


def journal_path(output: Path | str) -> Path:
    """Where the journal of an output lies: beside it, hidden, known to the step alone."""
    output = Path(output)
    return output.with_name(f".{output.name}.journal")


class Journal(UserDict[str, Record]):
    """Finished records by key, on disk as soon as `add` returns; nothing else may change them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        records, whole = _read(path)
        super().__init__(records)
        self._file = path.open("ab", buffering=0)
        self._file.truncate(whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, records: Mapping[str, Record]) -> None:
        """Append records and force them to the disk at once; after an OSError the file ends as it did before."""
        lines = [json.dumps([key, record]) + "\n" for key, record in records.items()]
        size, rest = self._file.seek(0, os.SEEK_END), memoryview("".join(lines).encode())
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as problem:
            self._file.truncate(size)
            problem.filename = str(self.path)
            raise
        self.update(records)

    def missing(self, keys: Iterable[str]) -> Iterator[int]:
        """Positions of the keys that have no record yet."""
        return (index for index, key in enumerate(keys) if key not in self)


def _read(path: Path) -> tuple[dict[str, Record], int]:
    """Return the records and how many bytes of the file hold whole lines."""
    records: dict[str, Record] = {}
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    for number, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
        try:
            key, record = json.loads(line)
            records[key] = record
        except (ValueError, TypeError):
            sys.stderr.write(f"{path}: line {number} is damaged and left out\n")
    return records, whole
