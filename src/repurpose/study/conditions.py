"""The conditions that a sweep asks for: pure functions of settings and of the names of vectors.

A condition is target x direction x reader x layer x window x magnitude x positions; `expand` lists those of a sweep.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from repurpose.study.settings import BEHAVIOURS, TOKEN_CONTROLS, Role, SettingsError, Sweep

Site = tuple[str, str, int, int]
"""(name, reader, layer, window start) of a vector."""


@dataclass(frozen=True)
class KnownVectors:
    """Which vectors there are, and the residual norms at their sites."""

    units: Collection[Site]
    norms: Mapping[tuple[str, int], float]
    """Median residual norm by (reader, layer)."""

    def names(self, direction: str) -> list[str]:
        """All vectors that a study's direction stands for: `random` stands for random-00, random-01, ..."""
        if direction not in ("random", "shuffle"):
            return [direction]
        return sorted({name for name, *_ in self.units if name.startswith(f"{direction}-")})

    def has(self, site: Site) -> bool:
        """Whether a site can be steered: made at each token, or its vector was computed."""
        return site[0] in TOKEN_CONTROLS or site in self.units


def kind_of(name: str) -> str:
    """Whether a vector is of a behaviour or a control."""
    return "behaviour" if name in BEHAVIOURS else "control"


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


def expand(
    sweep: Sweep,
    target: Role,
    directions: KnownVectors,
    layers: Sequence[int],
    window_starts: Sequence[int],
    selected: float | None,
) -> list[Condition]:
    """List the steered conditions of a sweep on one target, each once; sites without a vector are left out.

    Controls that no reader and no window changes (random directions, noise, self-amplification) appear under the
    first reader and the first window. Magnitude 0 is left out: the unsteered rows are there in any case.

    Args:
        sweep: the grid.
        target: who is steered; `dose` is relative to its own residual norms.
        directions: vectors of both readers.
        layers: layers of the grid. window_starts: windows of the grid.
        selected: the magnitude selected on training prompts, where the sweep asks for it.
    """
    multiples = [m for m in sweep.magnitudes.values if m != 0] if sweep.operation == "add" else [1.0]
    sites = [site for site in grid(sweep, directions, layers, window_starts) if directions.has(site)]
    conditions = (
        _condition(sweep, site, multiple, directions, selected, target) for site in sites for multiple in multiples
    )
    return list(dict.fromkeys(conditions))


def missing_sites(
    sweep: Sweep, directions: KnownVectors, layers: Sequence[int], window_starts: Sequence[int]
) -> list[Site]:
    """Sites of a sweep's grid that have no vector: a label that was never seen there."""
    return [site for site in grid(sweep, directions, layers, window_starts) if not directions.has(site)]


def grid(sweep: Sweep, directions: KnownVectors, layers: Sequence[int], window_starts: Sequence[int]) -> Iterator[Site]:
    """Yield the sites of a sweep's grid, in the order of its settings."""
    for direction in sweep.directions:
        free = direction in ("random", *TOKEN_CONTROLS)
        for reader in sweep.readers[:1] if free else sweep.readers:
            for layer in layers:
                for start in window_starts[:1] if free else window_starts:
                    for name in directions.names(direction):
                        yield name, reader, layer, start


def _condition(
    sweep: Sweep,
    site: Site,
    multiple: float,
    directions: KnownVectors,
    selected: float | None,
    target: Role,
) -> Condition:
    name, reader, layer, start = site
    magnitude = _magnitude(sweep, multiple, layer, directions, selected)
    return Condition(
        direction=name,
        kind=kind_of(name),
        reader=reader,
        layer=layer,
        window_start=start,
        operation=sweep.operation,
        positions=sweep.positions,
        magnitude=magnitude,
        dose=None if magnitude is None else magnitude / directions.norms[target, layer],
        multiple=multiple,
    )


def _magnitude(
    sweep: Sweep, multiple: float, layer: int, directions: KnownVectors, selected: float | None
) -> float | None:
    if sweep.operation == "ablate":
        return None
    unit = sweep.magnitudes.unit
    if unit == "l2":
        return multiple
    if unit == "dose":
        return multiple * directions.norms["reasoning", layer]
    if selected is None:
        raise SettingsError("magnitudes.unit: 'selected' needs --selection")
    return multiple * selected
