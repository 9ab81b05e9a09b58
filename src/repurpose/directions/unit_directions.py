"""Unit directions and residual norms, read from the vector tables of both readers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repurpose.data.files import read_table
from repurpose.study.conditions import KnownVectors, VectorKey
from repurpose.study.settings import SettingsError


@dataclass(frozen=True)
class Directions(KnownVectors):
    """Unit directions (d,) of the pair's vector tables, and the residual norms at their sites."""

    units: Mapping[VectorKey, NDArray[np.float32]]

    def unit(self, key: VectorKey) -> NDArray[np.float32]:
        """Unit direction (d,) of a vector; raises SettingsError where the vector was not computed."""
        if key not in self.units:
            name, reader, layer, start = key
            raise SettingsError(f"no vector {name} of reader {reader}, layer {layer}, window start {start}")
        return self.units[key]


def read_directions(rows: Iterable[Mapping[str, Any]]) -> Directions:
    """Build directions from VECTORS rows of both readers."""
    units, norms = {}, {}
    for row in rows:
        vector = np.frombuffer(row["vector"], dtype=np.float32).astype(np.float64)
        key = VectorKey(row["name"], row["reader"], row["layer"], row["window_start"])
        units[key] = (vector / np.linalg.norm(vector)).astype(np.float32)
        norms[row["reader"], row["layer"]] = row["residual_norm"]
    return Directions(units, norms)


def read_pair_directions(paths: Sequence[str]) -> Directions:
    """Directions of both readers from their vector tables."""
    columns = ["name", "reader", "layer", "window_start", "residual_norm", "vector"]
    directions = read_directions(read_table(list(paths), columns).iter_rows(named=True))
    missing = {"base", "reasoning"} - {reader for reader, _ in directions.norms}
    if missing:
        raise SettingsError(f"--vectors: no table of reader {missing.pop()}; give those of both")
    return directions
