"""One vector out of a file: safetensors, GGUF control vectors, .npy; standard library only, the Snakefile imports it.

Each of these formats says at its beginning where which numbers lie. So one row of a matrix of many gigabytes is read
alone, and what is wrong with it is known before any job starts. Nothing is ever unpickled.

    safetensors  u64 length, then JSON: {name: {dtype, shape, data_offsets}}
    GGUF         magic, version, counts, key-value pairs; then name, shape, type and offset of each tensor
    .npy         magic, version, length, then a Python literal: {descr, fortran_order, shape}

Sources: safetensors' README, ggml's docs/gguf.md, numpy.lib.format.
"""

import ast
import json
import math
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from operator import index as whole
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from repurpose.study.messages import SettingsError

LONGEST = 100_000_000
"""Bytes of the longest header or row; what says that it is longer is no such file. safetensors has the same limit."""
LONGEST_LITERAL = 65_536
"""Bytes of the header of a .npy file, which is a line of Python; numpy itself trusts 10,000."""
SAFETENSORS_TYPES = {"F64": "d", "F32": "f", "F16": "e", "BF16": "bf16"}
GGUF_TYPES = {0: "f", 1: "e", 28: "d", 30: "bf16"}
"""ggml's numbers of the types that hold plain floats; the others are quantised, or integers."""
NPY_TYPES = {"f2": "e", "f4": "f", "f8": "d"}
LETTERS = {"d": "d", "f": "f", "e": "e", "bf16": "H"}
"""How `struct` reads each kind of number."""
GGUF_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
GGUF_TEXT, GGUF_LIST = 8, 9
ALIGNMENT = 32
"""Bytes, of a GGUF file that names no other."""
NAMED = 6
"""Tensors that an error lists at most."""


class Stored(NamedTuple):
    """Where an array lies in a file."""

    kind: str
    """A key of LETTERS, or what the format calls another."""
    shape: tuple[int, ...]
    """The last axis is the one whose numbers lie side by side, but for `by_columns`."""
    start: int
    """The first byte."""
    order: str = "<"
    by_columns: bool = False


def read_vector(file: str, layer: int, tensor: str | None = None, index: int | None = None) -> tuple[float, ...]:
    """Read a vector, rounded to float32.

    Args:
        layer: which `direction.<layer>` of a GGUF file, where `tensor` does not say.
        tensor: a name in the file; may be left out where there is but one.
        index: the row of a matrix; left out where it is no matrix.

    Raises:
        SettingsError: for what the file lacks or that is no direction; it begins with the setting of the three.
    """
    try:
        with Path(file).open("rb") as opened:
            stored = _choose(_find_arrays(opened, file, tensor), file, layer, tensor)
            values = array("f", _read_row(opened, stored, _row_number(stored, index)))
    except (OSError, struct.error, OverflowError, UnicodeDecodeError) as problem:
        raise SettingsError(f"file: {file} cannot be read: {problem}") from None
    if not all(map(math.isfinite, values)):
        raise SettingsError(f"file: {file} holds a number there that is not finite in float32")
    if not any(values):
        raise SettingsError(f"file: {file} holds zeros alone there, which have no direction")
    return tuple(values)


def _find_arrays(opened: BinaryIO, file: str, tensor: str | None) -> dict[str, Stored]:
    suffix = Path(file).suffix
    if suffix not in READERS:
        raise SettingsError(f"file: {file} is no {', '.join(READERS)} file; no other is read, and none unpickled")
    if suffix == ".npy" and tensor is not None:
        raise SettingsError("tensor: a .npy file holds one array; leave it out")
    try:
        return READERS[suffix](opened)
    except (ValueError, KeyError, TypeError, AttributeError, SyntaxError, RecursionError):
        raise SettingsError(f"file: {file} is no {suffix} file, whatever its name says") from None


def _choose(arrays: dict[str, Stored], file: str, layer: int, tensor: str | None) -> Stored:
    """The array that is asked for, or the only one."""
    name = f"direction.{layer}" if tensor is None and Path(file).suffix == ".gguf" else tensor
    there = ", ".join([*sorted(arrays)[:NAMED], *(["..."] if len(arrays) > NAMED else [])]) or "none"
    if name is None and len(arrays) != 1:
        raise SettingsError(f"tensor: missing setting; {file} has {len(arrays)} tensors: {there}")
    if name is not None and name not in arrays:
        raise SettingsError(f"tensor: {file} has no {name}; it has {there}")
    return next(iter(arrays.values())) if name is None else arrays[name]


def _row_number(stored: Stored, index: int | None) -> int:
    """The row to read, of an array that has rows of floats."""
    kind, shape, *_ = stored
    if kind not in LETTERS:
        raise SettingsError(f"tensor: its numbers are {kind}; give float64, float32, float16 or bfloat16")
    if len(shape) not in (1, 2) or min(shape) < 1:
        raise SettingsError(f"tensor: its shape is {list(shape)}; give a vector, or a matrix and the index of a row")
    rows = math.prod(shape[:-1])
    if not 0 <= (index or 0) < rows or (index is None and rows > 1):
        said = "missing setting" if index is None else f"{index} is out of range"
        raise SettingsError(f"index: {said}; the shape is {list(shape)}, give a row from 0 to {rows - 1}")
    return index or 0


def _read_row(opened: BinaryIO, stored: Stored, row: int) -> Iterator[float]:
    """Yield the numbers of one row."""
    letter, (width, rows) = LETTERS[stored.kind], (stored.shape[-1], math.prod(stored.shape[:-1]))
    size = struct.calcsize(letter)
    if stored.by_columns:
        places = (stored.start + (column * rows + row) * size for column in range(width))
        packed = b"".join(_take(opened, size, place) for place in places)
    else:
        packed = _take(opened, width * size, stored.start + row * width * size)
    numbers = struct.unpack(f"{stored.order}{width}{letter}", packed)
    yield from _widen(numbers) if stored.kind == "bf16" else numbers


def _widen(halves: Iterable[int]) -> Iterator[float]:
    """Yield bfloat16 numbers: each is the upper half of a float32."""
    for half in halves:
        yield struct.unpack("<f", struct.pack("<HH", 0, half))[0]


def _take(opened: BinaryIO, count: int, place: int | None = None) -> bytes:
    """So many bytes, from here on or from a place; a struct.error where the file ends before."""
    if place is not None:
        opened.seek(place)
    found = opened.read(count) if 0 <= count <= LONGEST else b""
    if len(found) != count:
        raise struct.error("it is cut short, or no such file")
    return found


def _take_one(opened: BinaryIO, letter: str) -> Any:
    return struct.unpack(f"<{letter}", _take(opened, struct.calcsize(f"<{letter}")))[0]


def read_safetensors(opened: BinaryIO) -> dict[str, Stored]:
    """Where the tensors of a safetensors file lie."""
    length = _take_one(opened, "Q")
    header = json.loads(_take(opened, length))
    return {
        name: Stored(
            SAFETENSORS_TYPES.get(about["dtype"], about["dtype"]),
            tuple(map(whole, about["shape"])),
            8 + length + whole(about["data_offsets"][0]),
        )
        for name, about in header.items()
        if name != "__metadata__"
    }


def read_npy(opened: BinaryIO) -> dict[str, Stored]:
    """Where the array of a .npy file lies, under no name; what numpy would unpickle has no kind that is read."""
    if _take(opened, 6) != b"\x93NUMPY":
        raise ValueError
    version = _take_one(opened, "H") & 0xFF
    length = _take_one(opened, "H" if version == 1 else "I")
    if length > LONGEST_LITERAL:
        raise ValueError
    header = ast.literal_eval(_take(opened, length).decode("utf-8" if version >= 3 else "latin-1").strip())
    kind, shape = str(header["descr"]), tuple(map(whole, header["shape"]))
    order = ">" if kind.startswith(">") else "<"
    return {"": Stored(NPY_TYPES.get(kind[1:], kind), shape, opened.tell(), order, bool(header["fortran_order"]))}


def read_gguf(opened: BinaryIO) -> dict[str, Stored]:
    """Where the tensors of a GGUF file (version 2 or 3, little-endian) lie."""
    if _take(opened, 4) != b"GGUF" or _take_one(opened, "I") not in (2, 3):
        raise ValueError
    tensors, pairs = _take_one(opened, "Q"), _take_one(opened, "Q")
    alignment = ALIGNMENT
    for _ in range(pairs):
        key, value = _take_text(opened), _take_value(opened, _take_one(opened, "I"))
        alignment = value if key == "general.alignment" else alignment
    listed = [(_take_text(opened), *_take_place(opened)) for _ in range(tensors)]
    start = -(-opened.tell() // max(1, alignment)) * alignment
    names = {kind: GGUF_TYPES.get(kind, f"quantised or no floats (ggml type {kind})") for _, _, kind, _ in listed}
    return {name: Stored(names[kind], shape, start + offset) for name, shape, kind, offset in listed}


def _take_text(opened: BinaryIO) -> str:
    return _take(opened, _take_one(opened, "Q")).decode()


def _take_place(opened: BinaryIO) -> tuple[tuple[int, ...], int, int]:
    """Shape of a tensor (ggml names the fastest axis first), type and offset."""
    axes = [_take_one(opened, "Q") for _ in range(_take_one(opened, "I"))]
    return tuple(reversed(axes)), _take_one(opened, "I"), _take_one(opened, "Q")


def _take_value(opened: BinaryIO, kind: int) -> Any:
    """The value of a key; a list is passed over."""
    if kind == GGUF_TEXT:
        return _take_text(opened)
    if kind != GGUF_LIST:
        return _take_one(opened, GGUF_NUMBERS[kind])
    inner, count = _take_one(opened, "I"), _take_one(opened, "Q")
    for _ in range(count):
        _take_value(opened, inner)
    return None


READERS: dict[str, Callable[[BinaryIO], dict[str, Stored]]] = {
    ".safetensors": read_safetensors,
    ".gguf": read_gguf,
    ".npy": read_npy,
}
"""By the end of a file's name."""
