"""The house: data goes one way, so a room imports only from rooms before it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
ROOMS = (
    "repurpose.study",
    "repurpose.data",
    "repurpose.model",
    "repurpose.model.engines",
    "repurpose.organism",
    "repurpose.rollouts",
    "repurpose.labels",
    "repurpose.directions",
    "repurpose.steering",
    "repurpose.results.tables",
    "repurpose.results.claims",
    "repurpose.results.figures",
    "repurpose.results.report",
    "repurpose.results.explorer",
    "organism_training",
)
"""From the first to the last on the way of the data."""
DOOR = {"repurpose.steering.opened.open_study"}
"""What the package itself names for type checkers, as `repurpose.open`; it is loaded when it is asked for."""
MODULES = sorted(SOURCE.rglob("*.py"))


def room_of(module: str) -> str | None:
    """The innermost room that a module lies in; None for the package itself, which uses the first."""
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len, default=None)


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows() -> set[tuple[str, str]]:
    """(room, room that it imports from), each once."""
    found = set()
    for file in MODULES:
        here = room_of(file.relative_to(SOURCE).with_suffix("").as_posix().replace("/", "."))
        found |= {(here, there) for name in imports(file) if (there := room_of(name)) not in (None, here) and here}
    return found


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.relative_to(SOURCE).as_posix())
def test_a_room_imports_only_from_rooms_before_it(file: Path) -> None:
    here = room_of(file.relative_to(SOURCE).with_suffix("").as_posix().replace("/", "."))
    before = ROOMS[: ROOMS.index(here) + 1] if here else ROOMS[:1]
    door = DOOR if file == SOURCE / "repurpose" / "__init__.py" else set()
    late = {name for name in imports(file) if (room := room_of(name)) is not None and room not in before} - door
    assert not late, f"{here} imports {sorted(late)}, which comes after it"


def test_there_are_few_rooms_and_few_arrows() -> None:
    top = [path for path in (SOURCE / "repurpose").iterdir() if path.name != "__pycache__"]
    assert len(top) <= 10, sorted(path.name for path in top)
    assert len(arrows()) <= 48, sorted(arrows())
