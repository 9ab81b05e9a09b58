"""Export vectors with a passport: tables of vectors and a selection in, one safetensors file and GGUF files out.

    repurpose export --vectors results/x/vectors/*.parquet --selection results/x/selection.json --output exported

`vectors.safetensors` holds every vector as `<name>.<reader>.<layer>.<window start>`, as it was computed: its norm is
that of the difference of means, and steering adds a magnitude times its direction. The metadata's key `repurpose` is
the passport in JSON: the pair with revisions and digests, what was selected, the digests of the source tables and, by
tensor, layer, window, norms and counts.

`<name>.<reader>.gguf` is a control vector as llama.cpp and repeng read it. Their `direction.<layer>` is added to the
output of decoder block `layer`, counted from 0, as ours; but llama.cpp has none for block 0, so such vectors are told
and left out there.
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from gguf import GGUFWriter
from numpy.typing import NDArray
from safetensors.numpy import save

from repurpose import __version__
from repurpose.data.files import TableError, atomic_write, read_provenance, read_table
from repurpose.data.selected import Selected, read_selected
from repurpose.model.loading import load_config
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import Pair, Role, SettingsError, locate

PASSPORT = "repurpose"
"""The key of the passport in either format."""
ARCHITECTURE = "controlvector"
KEPT = ("name", "kind", "reader", "layer", "estimator", "positives", "total", "norm", "residual_norm")
KEPT_TOO = ("split_half_cosine", "split_half_low", "split_half_high")
"""Columns of VECTORS that a passport repeats; the windows are told by their two ends."""
Row = dict[str, Any]


def choose_vectors(table: pl.DataFrame, names: Sequence[str], layer: int, window_start: int) -> list[Row]:
    """Rows of the named vectors at a site, of both readers; a SettingsError names one that is not there."""
    site = table.filter(window_start=window_start).filter((pl.col("layer") == layer) | (pl.col("kind") == "outside"))
    rows = site.filter(pl.col("name").is_in(names)).sort("name", "reader", maintain_order=True).to_dicts()
    for name in names:
        if name not in {row["name"] for row in rows}:
            known = ", ".join(site["name"].unique(maintain_order=True)) or "none"
            raise SettingsError(f"--names: no {name} at layer {layer}, window start {window_start}; there are {known}")
    return rows


def tensor_name(row: Row) -> str:
    """What a vector is called in a safetensors file."""
    return "{name}.{reader}.{layer}.{window_start}".format(**row)


def unpack(row: Row, norm: float | None) -> NDArray[np.float32]:
    """The vector (d,), as it is stored or with another L2 norm."""
    vector = np.frombuffer(row["vector"], np.float32)
    if norm is None:
        return vector
    exact = vector.astype(np.float64)
    return (norm * exact / np.linalg.norm(exact)).astype(np.float32)


def describe_source(paths: Sequence[str], selected: Selected) -> Row:
    """What a passport says of where its vectors are from."""
    notes = {read_reader(path): read_provenance(path) for path in paths}
    if any(note.get("pair") is None for note in notes.values()):
        raise TableError(f"{paths[0]} does not name its pair, as one of an earlier version; compute the vectors again")
    first = next(iter(notes.values()))
    pair = {key: value for key, value in first["pair"].items() if key != "parameters"}
    digests = {role: digest for note in notes.values() for role, digest in (note.get("model_digest") or {}).items()}
    return {
        "format": 1,
        "package": __version__,
        "commit": first.get("commit"),
        "pair": pair,
        "model_digest": digests,
        "selected": asdict(selected),
        "source": {f"vectors/{reader}.parquet": file_digest(path) for reader, path in zip(notes, paths, strict=True)},
    }


def own_names(path: str) -> list[str]:
    """The behaviour of the study that a table of vectors is of."""
    return [read_provenance(path)["settings"]["vectors"]["behaviour"]]


def read_reader(path: str) -> str:
    """The reader of a table of vectors."""
    return str(read_table(path, ["reader"])["reader"][0])


def file_digest(path: str) -> str:
    """SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_vector(row: Row, vector: NDArray[np.float32]) -> Row:
    """What a passport says of one vector; `exported_norm` is that of the numbers in the file."""
    window = [row["window_start"], row["window_start"] + row["window_length"] - 1]
    exported = float(np.linalg.norm(vector.astype(np.float64)))
    return {**{key: row[key] for key in (*KEPT, *KEPT_TOO)}, "window": window, "exported_norm": exported}


def write_safetensors(path: Path, vectors: Mapping[str, NDArray[np.float32]], passport: Row) -> None:
    """Write vectors (d,) by name."""
    metadata = {"format": "pt", PASSPORT: json.dumps(passport, sort_keys=True)}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save({name: np.ascontiguousarray(one) for name, one in vectors.items()}, metadata))


def write_gguf(path: Path, layer: int, vector: NDArray[np.float32], model_type: str, passport: Row) -> None:
    """Write one vector (d,) as a control vector for a layer from 1 on."""
    with atomic_write(path) as temporary:
        writer = GGUFWriter(temporary, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", model_type)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", 1)
        writer.add_string(PASSPORT, json.dumps(passport, sort_keys=True))
        writer.add_tensor(f"direction.{layer}", vector)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def model_type(source: Row, reader: Role) -> str:
    """The architecture of the model that was read, as its configuration calls it."""
    pair = Pair(**source["pair"])
    located = Pair(**{**source["pair"], "base": locate(pair.base), "reasoning": locate(pair.reasoning)})
    return str(load_config(located, reader).model_type)


def export(rows: Sequence[Row], source: Row, norm: float | None, output: Path) -> Iterator[Path]:
    """Write the files and yield each; a vector of layer 0 has no GGUF file."""
    vectors = {tensor_name(row): unpack(row, norm) for row in rows}
    about = {tensor_name(row): describe_vector(row, vectors[tensor_name(row)]) for row in rows}
    write_safetensors(output / "vectors.safetensors", vectors, {**source, "vectors": about})
    yield output / "vectors.safetensors"
    for row in rows:
        name = tensor_name(row)
        if row["layer"] == 0:
            sys.stderr.write(f"repurpose export: {name} is of layer 0, which llama.cpp cannot steer: no GGUF\n")
            continue
        path = output / f"{row['name']}.{row['reader']}.gguf"
        passport = {**source, "vectors": {f"direction.{row['layer']}": about[name]}}
        write_gguf(path, row["layer"], vectors[name], model_type(source, row["reader"]), passport)
        yield path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--vectors", nargs="+", required=True, help="results/<study>/vectors/*.parquet")
    parser.add_argument("--selection", required=True, help="results/<study>/selection.json")
    parser.add_argument("--output", required=True, type=Path, help="a folder")
    parser.add_argument("--names", nargs="+", help="labels, controls, vectors from outside; or the study's behaviour")
    parser.add_argument("--layer", type=int, help="instead of the selected one")
    parser.add_argument("--window-start", type=int, help="instead of the selected one")
    parser.add_argument("--norm", type=float, help="the L2 norm of what is written; otherwise as it was computed")
    given = parser.parse_args()
    with one_line_errors("export"):
        selected = read_selected(given.selection)
        layer = selected.layer if given.layer is None else given.layer
        start = selected.window_start if given.window_start is None else given.window_start
        if given.norm is not None and not 0 < given.norm < math.inf:
            raise SettingsError(f"--norm: {given.norm:g} is not allowed; more than 0")
        source, names = describe_source(given.vectors, selected), given.names or own_names(given.vectors[0])
        rows = choose_vectors(read_table(given.vectors), names, layer, start)
        for path in export(rows, source, given.norm, given.output):
            sys.stderr.write(f"repurpose export: {path}\n")


if __name__ == "__main__":
    main()
