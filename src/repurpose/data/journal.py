"""Resume inside a step: finished records are appended to a file beside the output and survive a killed process.

JSON lines, because appending needs nothing of what is there already: a new process adds to the file of a killed one,
and a torn last line is recognised by itself (an Arrow stream would have to be read and reopened). Each line ends in
the sum of what stands before. A damaged line is named and left out, and nothing that stands after it is lost; where
what parted it from the next is damaged, both are whole. Snakemake does not know the file, so it is not removed with a
failed job's outputs.

A record's key must hold everything that changes the record (the code, the model's files, seeds, settings), and nothing
that does not (batch sizes).
"""

import hashlib
import json
import os
import sys
import zlib
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
        records, whole, ended = _read(path)
        super().__init__(records)
        self._file = path.open("ab", buffering=0)
        self._file.truncate(whole)
        if not ended:
            self._append(b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, records: Mapping[str, Record]) -> None:
        """Append records and force them to the disk at once; after an OSError the file ends as it did before."""
        self._append("".join(_line(key, record) for key, record in records.items()).encode())
        self.update(records)

    def _append(self, content: bytes) -> None:
        size, rest = self._file.seek(0, os.SEEK_END), memoryview(content)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as problem:
            self._file.truncate(size)
            problem.filename = str(self.path)
            raise

    def missing(self, keys: Iterable[str]) -> Iterator[int]:
        """Positions of the keys that have no record yet."""
        return (index for index, key in enumerate(keys) if key not in self)


def _line(key: str, record: Record) -> str:
    """A record as it is written, its sum last."""
    return f"{json.dumps([key, record])[:-1]}, {_sum(key, record)}]\n"


def _sum(key: str, record: Record) -> int:
    return zlib.crc32(json.dumps([key, record]).encode())


def _read(path: Path) -> tuple[dict[str, Record], int, bool]:
    """Return the records, how many bytes of the file hold some, and whether these end in a line's end."""
    records: dict[str, Record] = {}
    *lines, rest = (path.read_bytes() if path.exists() else b"").split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            key, record = _record(json.loads(line))
            records[key] = record
        except (ValueError, TypeError, RecursionError):
            parts = _find_whole(line)
            said = f"in it {len(parts)} records are whole" if parts else "left out"
            sys.stderr.write(f"{path}: line {number} is damaged and {said}\n")
            records |= parts
    last = _find_whole(rest)  # of a line that was torn, or whose end is damaged
    size = sum(len(line) + 1 for line in lines)
    return records | last, size + (len(rest) if last else 0), not last


def _record(value: Any) -> tuple[str, Record]:
    """The key and record of a line; ValueError or TypeError where it is none. Lines of before have no sum."""
    key, record, *sums = value
    if not isinstance(key, str) or not isinstance(record, dict) or sums not in ([], [_sum(key, record)]):
        raise ValueError("no record, or not as it was written")
    return key, record


def _find_whole(line: bytes) -> dict[str, Record]:
    """The records that stand in a line: no text within one begins as they do, its quotes are escaped."""
    text, found, place = line.decode("utf-8", "replace"), dict[str, Record](), 0
    while (place := text.find('["', place)) >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(text, place)
            key, record = _record(value)
            found[key], place = record, end
        except (ValueError, TypeError, RecursionError):
            place += 1
    return found
