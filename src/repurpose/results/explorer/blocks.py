"""Blocks of data in the page: gzip in base64, so that no text of a model can end an element or be read as markup.

A block is JSON, or the bytes of little-endian numbers. The scripts unpack one when a view needs it.
"""

import base64
import gzip
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

JSON_BLOCK = "application/json"
LEVEL = 6


def pack_json(value: Any) -> str:
    """A value as a block; lone surrogates are kept, as escapes."""
    return _pack(json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii"))


def pack_numbers(numbers: Iterable[int], kind: str) -> str:
    """Whole numbers as a block of `uint16`, `uint32` or `int16`."""
    return _pack(np.asarray(list(numbers), dtype=np.dtype(kind).newbyteorder("<")).tobytes())


def _pack(raw: bytes) -> str:
    return base64.b64encode(gzip.compress(raw, LEVEL, mtime=0)).decode("ascii")


class Vocabulary:
    """Tokens of all texts, each pair of id and text once; a text is a row of their numbers."""

    def __init__(self) -> None:
        self.entries: dict[tuple[int, str], int] = {}
        self.numbers: list[int] = []
        """Of all texts that were added, one after the other."""

    def add(self, ids: Iterable[int], texts: Iterable[str]) -> int:
        """Add a text's tokens; return how many there are."""
        new = [self.entries.setdefault(pair, len(self.entries)) for pair in zip(ids, texts, strict=True)]
        self.numbers += new
        return len(new)

    def pack(self) -> dict[str, str]:
        """The blocks `vocabulary` ([ids, texts]) and `tokens`."""
        kind = "uint16" if len(self.entries) <= 1 << 16 else "uint32"
        listed = [[token for token, _ in self.entries], [text for _, text in self.entries], kind]
        return {"vocabulary": pack_json(listed), "tokens": pack_numbers(self.numbers, kind)}
