"""What a sweep asks for: target x direction x reader x layer x window x magnitude x positions; `expand` lists it."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import NamedTuple

from repurpose.study.settings import (
    BEHAVIOURS,
    CONTROLS,
    NUMBERED,
    TOKEN_CONTROLS,
    Role,
    SettingsError,
    Sweep,
    variants,
)


class VectorKey(NamedTuple):
    """What tells one vector from another."""

    name: str
    reader: str
    layer: int
    window_start: int


@dataclass(frozen=True)
class KnownVectors:
    """Which vectors there are, and the residual norms at their sites."""

    units: Collection[VectorKey]
    norms: Mapping[tuple[str, int], float]
    """Median residual norm by (reader, layer)."""

    def names(self, direction: str) -> list[str]:
        """All vectors that a study's direction stands for: `random` stands for random-00, random-01, ..."""
        if direction not in NUMBERED:
            return [direction]
        return sorted({name for name, *_ in self.units if family_of(name) == direction})

    def outside(self) -> list[str]:
        """All vectors from outside."""
        return sorted({name for name, *_ in self.units if kind_of(name) == "outside"})

    def has(self, key: VectorKey) -> bool:
        """Whether a direction can be steered: it is made at each token, or its vector was computed."""
        return key.name in TOKEN_CONTROLS or key in self.units


def family_of(name: str) -> str:
    """What a vector is one of: `random` for random-07; others are their own."""
    stem, _, number = name.rpartition("-")
    return stem if stem in NUMBERED and number.isdecimal() else name


def kind_of(name: str) -> str:
    """Whether a vector is of a behaviour, a variant of one, a control, or from outside."""
    if name in BEHAVIOURS:
        return "behaviour"
    if name in ALL_VARIANTS:
        return "variant"
    return "control" if family_of(name) in CONTROLS else "outside"


ALL_VARIANTS = frozenset(chain.from_iterable(map(variants, BEHAVIOURS)))


@dataclass(frozen=True)
class Condition:
    """One cell of a sweep's grid; nulls where a column does not apply."""

    direction: str
    kind: str
    reader: str | None
    layer: int | None
    window_start: int | None
    operation: str
    positions: str
    magnitude: float | None
    """L2 norm added; null for ablation, which has none."""
    dose: float | None
    """Magnitude over the target's median residual norm at the layer."""
    multiple: float
    """The value as written in the study."""

    @property
    def label(self) -> str:
        """Name for messages."""
        if self.direction == "none":
            return "none"
        site = f"{self.reader}, layer {self.layer}, start {self.window_start}"
        return f"{self.operation} {self.direction} x {self.multiple} ({site})"


UNSTEERED = Condition("none", "none", None, None, None, "none", "none", 0.0, 0.0, 0.0)


def grid(
    sweep: Sweep, directions: KnownVectors, layers: Sequence[int], window_starts: Sequence[int]
) -> Iterator[VectorKey]:
    """Yield what a sweep asks to steer with, in the order of its settings, whether there is such a vector or not.

    What no reader and no window changes (random directions, noise, self-amplification, vectors from outside) appears
    under the first reader and the first window; so do rivals, which there are of the selected window alone.
    """
    for direction in sweep.directions:
        free = direction in ("random", "rival", *TOKEN_CONTROLS) or kind_of(direction) == "outside"
        readers, starts = (sweep.readers[:1], window_starts[:1]) if free else (sweep.readers, window_starts)
        for reader, layer, start in product(readers, layers, starts):
            for name in directions.names(direction):
                yield VectorKey(name, reader, layer, start)


def expand(
    sweep: Sweep, target: Role, directions: KnownVectors, keys: Iterable[VectorKey], selected: float | None
) -> list[Condition]:
    """List the steered conditions of a sweep on one target, each once; keys without a vector are left out.

    Magnitude 0 is left out, too: the unsteered rows are there in any case. `keys` are the sweep's `grid`, `dose` is
    relative to the target's own residual norms, `selected` is the magnitude selected on training prompts, if needed.
    """
    multiples = [m for m in sweep.magnitudes.values if m != 0] if sweep.operation == "add" else [1.0]
    found: dict[Condition, None] = {}  # an ordered set
    for key, multiple in product(filter(directions.has, keys), multiples):
        magnitude = _magnitude(sweep, multiple, directions.norms["reasoning", key.layer], selected)
        dose = None if magnitude is None else magnitude / directions.norms[target, key.layer]
        how = sweep.operation, sweep.positions, magnitude, dose, multiple
        found[Condition(key.name, kind_of(key.name), key.reader, key.layer, key.window_start, *how)] = None
    return list(found)


def _magnitude(sweep: Sweep, multiple: float, norm: float, selected: float | None) -> float | None:
    """L2 norm of a multiple, by the sweep's unit; none for ablation."""
    if sweep.operation == "ablate":
        return None
    if sweep.magnitudes.unit == "l2":
        return multiple
    if sweep.magnitudes.unit == "dose":
        return multiple * norm
    if selected is None:
        raise SettingsError("magnitudes.unit: 'selected' needs --selection")
    return multiple * selected
