"""A finished study from Python: its tables, its directions as arrays, its models, and steering with them.

    study = repurpose.open("results/organism")
    study.table("rollouts").filter(split="heldout").collect()
    with study.steer(model, "backtracking", study.selected.magnitude):
        model.generate(...)

Nothing is read before it is asked for.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from repurpose.data.files import TableError, read_provenance
from repurpose.data.selected import Selected, read_selected
from repurpose.directions.unit_directions import Directions, read_pair_directions
from repurpose.model.hooks import SteeringError, change_layers
from repurpose.model.loading import load_model
from repurpose.model.tokens import load_tokenizer
from repurpose.study.conditions import VectorKey
from repurpose.study.pair_files import ROLES
from repurpose.study.settings import Pair, Role, SettingsError, locate

SKIPPED = {".made", "benchmarks", "logs"}
"""Folders of a study that hold no tables."""


@dataclass
class Counted:
    """What steering did while its block ran."""

    positions: int = 0
    """At how many the residual stream changed, of all rows and forward passes."""


@dataclass(frozen=True)
class OpenStudy:
    """The files of one study; a table is read when it is collected."""

    folder: Path
    files: Mapping[str, list[Path]] = field(repr=False)
    """Each table's files: `rollouts`, `labels/lexicon`, `sweeps/two_by_two`, `tables/2x2`, ..."""

    @property
    def tables(self) -> list[str]:
        """The names of all tables; docs/tables.md says what is in them."""
        return list(self.files)

    def table(self, name: str) -> pl.LazyFrame:
        """A table by name, all of its files one after the other.

        Raises:
            SettingsError: where there is none of that name; it names those that are there.
        """
        if name not in self.files:
            raise SettingsError(f"{self.folder}: no table {name}; there are {', '.join(self.files)}")
        paths = self.files[name]
        return pl.scan_csv(paths) if paths[0].suffix == ".csv" else pl.scan_parquet(paths)

    @cached_property
    def selected(self) -> Selected:
        """The site and magnitude that were chosen on training prompts."""
        return read_selected(self.folder / "selection.json")

    @cached_property
    def directions(self) -> Directions:
        """Unit directions (d,) float32 by `VectorKey`, in `.units`, and median residual norms in `.norms`."""
        return read_pair_directions(list(map(str, self.files.get("vectors", []))))

    def direction(
        self, name: str, reader: Role = "base", layer: int | None = None, window_start: int | None = None
    ) -> NDArray[np.float32]:
        """One unit direction (d,); left out, layer and window are the selected ones."""
        layer = self.selected.layer if layer is None else layer
        window_start = self.selected.window_start if window_start is None else window_start
        return self.directions.unit(VectorKey(name, reader, layer, window_start))

    @cached_property
    def pair(self) -> Pair:
        """The two models, with paths found from the repository."""
        noted: dict[str, Any] = read_provenance(self.files["vectors"][0])["pair"]
        pair = Pair(**noted)
        return replace(pair, base=locate(pair.base), reasoning=locate(pair.reasoning))

    def load_model(self, role: Role) -> PreTrainedModel:
        """One of the two models, as the study's steps load it."""
        return load_model(self.pair, role)

    def load_tokenizer(self, role: Role) -> PreTrainedTokenizerBase:
        """One of the two tokenizers."""
        return load_tokenizer(self.pair, role)

    @contextmanager
    def steer(
        self, model: nn.Module, direction: str | NDArray[np.float32], magnitude: float, layer: int | None = None
    ) -> Iterator[Counted]:
        """Add a direction at every position of every forward pass inside the block; yields what it did.

        Args:
            direction: the name of one read from the base model, or any vector (d,), of which the direction is taken.
            magnitude: the L2 norm that is added; negative reverses.
            layer: resid_post[layer], 0-based; left out, the selected one.

        Raises:
            SteeringError: where the block ends and nothing was steered: no forward pass of this model ran in it.
        """
        layer = self.selected.layer if layer is None else layer
        vector = self.direction(direction, layer=layer) if isinstance(direction, str) else direction
        with add_vector(model, layer, vector, magnitude) as counted:
            yield counted


@contextmanager
def add_vector(model: nn.Module, layer: int, vector: NDArray[np.float32], magnitude: float) -> Iterator[Counted]:
    """Add a vector's direction, of a given L2 norm, to resid_post[layer] inside the block; see `OpenStudy.steer`."""
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if not norm > 0:
        raise SettingsError(f"direction: a vector of norm {norm:g} has no direction; give another")
    added = torch.from_numpy((vector * (magnitude / norm)).astype(np.float32))
    counted = Counted()

    def change(_: int, hidden: Tensor) -> Tensor:
        steered = hidden + added.to(hidden.device, hidden.dtype)
        counted.positions += int((steered != hidden).any(-1).sum())
        return steered

    with change_layers(model, [layer], change):
        yield counted
    if not counted.positions:
        raise SteeringError("nothing was steered: the block ran no forward pass of this model, or magnitude is 0")


def open_study(folder: str | Path) -> OpenStudy:
    """Open results/<study>; a TableError where it is no study's folder."""
    root, files = Path(folder), dict[str, list[Path]]()
    for file in sorted((*root.rglob("*.parquet"), *root.glob("tables/*.csv"), *root.glob("claims.csv"))):
        place = file.relative_to(root)
        if not SKIPPED & set(place.parts) and file.name != "usage.parquet" and not is_merged(place):
            files.setdefault(_name(place), []).append(file)
    if not files:
        raise TableError(f"{root}: no table of a study; give its folder, such as results/smollm2")
    return OpenStudy(root, files)


def is_merged(place: Path) -> bool:
    """Whether a file is a part of a sweep, all of which stand in one table beside it."""
    return place.parts[0] == "sweeps" and re.fullmatch(f"({'|'.join(ROLES)})-[0-9]+", place.stem) is not None


def _name(place: Path) -> str:
    """What a table is called: by its folder where its files are parts of it, else by its own name, too."""
    is_part = place.suffix == ".parquet" and (place.stem.isdigit() or place.stem in ROLES)
    return (place.parent if is_part else place.with_suffix("")).as_posix()
