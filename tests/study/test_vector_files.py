"""Vectors out of files that safetensors, gguf and numpy wrote: the same numbers, and every fault in one line."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from repurpose.study.messages import SettingsError
from repurpose.study.vector_files import read_vector

WIDTH = 5
ROWS = np.random.default_rng(0).standard_normal((7, WIDTH)).astype(np.float32)


def write_gguf(path: Path, tensors: dict[str, np.ndarray], **pairs: Any) -> Path:
    writer = GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_array("some.words", ["a", "bc", ""])
    writer.add_array("some.numbers", [1, 2, 3])
    writer.add_float64("some.number", 0.5)
    if "alignment" in pairs:
        writer.add_custom_alignment(pairs["alignment"])
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    save_file(tensors, path, {"format": "np", "note": "of somebody"})
    return path


def write_npy(path: Path, array: Any, **options: Any) -> Path:
    np.save(path, array, **options)
    return path


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_a_row_is_read_in_each_format(tmp_path: Path, kind: Any) -> None:
    rows = ROWS.astype(kind)
    files = [
        (write_safetensors(tmp_path / "a.safetensors", {"first": rows[:2] + 9, "W_dec": rows}), "W_dec"),
        (write_npy(tmp_path / "a.npy", rows), None),
        (write_npy(tmp_path / "columns.npy", np.asfortranarray(rows)), None),
        (write_npy(tmp_path / "big.npy", rows.astype(rows.dtype.newbyteorder(">"))), None),
        (write_gguf(tmp_path / "a.gguf", {"first": rows[:2] + 9, "W_dec": rows}), "W_dec"),
        (write_gguf(tmp_path / "b.gguf", {"first": rows[:2] + 9, "W_dec": rows}, alignment=64), "W_dec"),
    ]
    for file, tensor in files:
        for index in (0, 3, 6):
            found = np.array(read_vector(str(file), 1, tensor, index), np.float32)
            assert np.array_equal(found, rows[index].astype(np.float32)), (file, index)


def test_bfloat16_is_read(tmp_path: Path) -> None:
    rows = torch.from_numpy(ROWS).to(torch.bfloat16)
    save_torch({"v": rows}, tmp_path / "a.safetensors")
    assert read_vector(str(tmp_path / "a.safetensors"), 0, None, 2) == tuple(rows[2].float().tolist())
    packed = rows.view(torch.int16).numpy().view(np.uint8)
    writer = GGUFWriter(tmp_path / "a.gguf", "controlvector")
    writer.add_tensor("direction.4", packed[2], raw_dtype=GGMLQuantizationType.BF16)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    assert read_vector(str(tmp_path / "a.gguf"), 4) == tuple(rows[2].float().tolist())


def test_a_control_vector_gives_the_direction_of_its_layer(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "a.gguf", {f"direction.{layer}": ROWS[layer] for layer in range(1, 5)})
    assert read_vector(str(file), 3) == tuple(ROWS[3].tolist())
    assert read_vector(str(file), 3, "direction.2") == tuple(ROWS[2].tolist())


def test_the_only_tensor_need_not_be_named(tmp_path: Path) -> None:
    file = write_safetensors(tmp_path / "a.safetensors", {"v": ROWS[0]})
    assert read_vector(str(file), 9) == read_vector(str(file), 9, "v") == tuple(ROWS[0].tolist())
    one_row = write_npy(tmp_path / "one.npy", ROWS[:1])
    assert read_vector(str(one_row), 0) == read_vector(str(one_row), 0, None, 0) == tuple(ROWS[0].tolist())


Fault = tuple[Callable[[Path], Path], dict[str, Any], str]
THREE = {name: ROWS[0] for name in "abc"}
MANY = {f"t{number}": ROWS[0] for number in range(9)}
FAULTS: dict[str, Fault] = {
    "missing tensor": (
        lambda p: write_safetensors(p / "x.safetensors", THREE),
        {"tensor": "d"},
        "tensor: x.safetensors has no d; it has a, b, c",
    ),
    "tensor not named": (
        lambda p: write_safetensors(p / "x.safetensors", MANY),
        {},
        "tensor: missing setting; x.safetensors has 9 tensors: t0, t1, t2, t3, t4, t5, ...",
    ),
    "layer that a control vector lacks": (
        lambda p: write_gguf(p / "x.gguf", {"direction.1": ROWS[0]}),
        {"layer": 2},
        "tensor: x.gguf has no direction.2; it has direction.1",
    ),
    "tensor of an array": (lambda p: write_npy(p / "x.npy", ROWS[0]), {"tensor": "a"}, "tensor: a .npy file holds one"),
    "index out of range": (
        lambda p: write_npy(p / "x.npy", ROWS),
        {"index": 7},
        "index: 7 is out of range; the shape is [7, 5], give a row from 0 to 6",
    ),
    "index of a vector": (lambda p: write_npy(p / "x.npy", ROWS[0]), {"index": 1}, "index: 1 is out of range; the sha"),
    "no index": (lambda p: write_npy(p / "x.npy", ROWS), {}, "index: missing setting; the shape is [7, 5], give a row"),
    "three axes": (lambda p: write_npy(p / "x.npy", ROWS[None]), {"index": 0}, "tensor: its shape is [1, 7, 5]; give"),
    "no axis": (lambda p: write_npy(p / "x.npy", np.float32(1)), {}, "tensor: its shape is []; give a vector, or"),
    "empty": (lambda p: write_npy(p / "x.npy", ROWS[:0]), {"index": 0}, "tensor: its shape is [0, 5]; give a vector"),
    "integers": (lambda p: write_npy(p / "x.npy", np.arange(5)), {}, "tensor: its numbers are <i8; give float64, flo"),
    "integers in safetensors": (
        lambda p: write_safetensors(p / "x.safetensors", {"v": np.arange(5)}),
        {},
        "tensor: its numbers are I64; give float64, float32, float16 or bfloat16",
    ),
    "not a number": (lambda p: write_npy(p / "x.npy", ROWS[0] * np.nan), {}, "file: x.npy holds a number there that i"),
    "infinite": (lambda p: write_npy(p / "x.npy", np.array([1, np.inf])), {}, "file: x.npy holds a number there that"),
    "too large": (lambda p: write_npy(p / "x.npy", np.array([1e300, 1])), {}, "file: x.npy holds a number there that"),
    "zeros": (lambda p: write_npy(p / "x.npy", np.zeros(5)), {}, "file: x.npy holds zeros alone there, which have no"),
    "too small": (lambda p: write_npy(p / "x.npy", np.full(5, 1e-60)), {}, "file: x.npy holds zeros alone there, whic"),
    "objects": (
        lambda p: write_npy(p / "x.npy", np.array([{"a": 1}, None]), allow_pickle=True),
        {},
        "tensor: its numbers are |O; give float64",
    ),
    "a pickle": (
        lambda p: (p / "x.pt").write_bytes(pickle.dumps([1.0])) and p / "x.pt",
        {},
        "file: x.pt is no .safete",
    ),
    "an archive": (
        lambda p: np.savez(p / "x.npz", ROWS) or p / "x.npz",
        {},
        "file: x.npz is no .safetensors, .gguf, .npy file; no other is read, and none unpickled",
    ),
    "no such file": (lambda p: p / "x.npy", {}, "file: x.npy cannot be read: "),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_that_begins_with_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write, options, said = FAULTS[name]
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path).name
    with pytest.raises(SettingsError) as problem:
        read_vector(file, **{"layer": 1, **options})
    assert str(problem.value).startswith(said) and "\n" not in str(problem.value)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """Not even where the file's name says that it holds numbers."""

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "exploded",)

    write_npy(tmp_path / "x.npy", np.array([Bomb()]), allow_pickle=True)
    for suffix in (".npy", ".safetensors", ".gguf"):
        (tmp_path / f"pickled{suffix}").write_bytes(pickle.dumps(Bomb()))
    for file in list(tmp_path.iterdir()):
        with pytest.raises(SettingsError):
            read_vector(str(file), 1)
    assert not (tmp_path / "exploded").exists()


def test_quantised_numbers_are_refused_by_name(tmp_path: Path) -> None:
    kind = GGMLQuantizationType.Q8_0
    writer = GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("w", quantize(np.ones((2, 32), np.float32), kind), raw_dtype=kind)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    with pytest.raises(SettingsError, match=r"^tensor: its numbers are quantised or no floats \(ggml type 8\); give"):
        read_vector(str(tmp_path / "x.gguf"), 1, "w", 0)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    files = [
        write_safetensors(folder / "x.safetensors", {"direction.1": ROWS}),
        write_npy(folder / "x.npy", ROWS),
        write_gguf(folder / "x.gguf", {"direction.1": ROWS}),
    ]
    return {file.suffix: file.read_bytes() for file in files}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".safetensors", ".npy", ".gguf"]),
    st.integers(0, 400),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4),
)
def test_damage_is_a_vector_or_one_line(
    tmp_path: Path, whole_files: dict[str, bytes], suffix: str, cut: int, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(whole_files[suffix])
    for place, value in changes:
        content[place % len(content)] = value
    file = tmp_path / f"damaged{suffix}"
    file.write_bytes(bytes(content[: len(content) - cut]) if cut else bytes(content))
    try:
        found = read_vector(str(file), 1, None, 0)
    except SettingsError as problem:
        assert str(problem).split(":")[0] in ("file", "tensor", "index") and "\n" not in str(problem)
    else:
        assert found and all(map(np.isfinite, found))


@pytest.mark.parametrize("length", [1 << 62, 200_000_000, 50])
def test_a_header_that_claims_too_much_is_refused_at_once(tmp_path: Path, length: int) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(SettingsError, match="cut short"):
        read_vector(str(file), 1)


def test_a_safetensors_header_of_another_kind_is_refused(tmp_path: Path) -> None:
    for header in ([], {"a": 3}, {"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}, {"a": {}}):
        text = json.dumps(header).encode()
        (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
        with pytest.raises(SettingsError, match=r"x.safetensors is no .safetensors file, whatever its name says$"):
            read_vector(str(tmp_path / "x.safetensors"), 1)
