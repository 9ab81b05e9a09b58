"""What made each file: a note beside it, by which steps and `repurpose verify` know the file again.

The note of `rollouts/0.parquet` is `rollouts/.made/0.parquet.json`: the step, its settings and their digest, the
versions and the machine, the digest of the file's content, and those of all files that the step read. So a file that
was cut off, edited or put there from another study is told, and so is what was made from one.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from repurpose.data.files import TableError, atomic_write
from repurpose.data.provenance import provenance
from repurpose.study.jobs.parameters import section_digests, told_sections, without_batches
from repurpose.study.messages import as_line
from repurpose.study.settings import STEP_SECTIONS

FOLDER = ".made"
LONGEST = 200
"""Characters that a message repeats of what is wrong with a note."""
SHARED = ("seed", "pair", "prompts")
"""Sections that decide what a study is of: no step may mix files of different ones."""
VARYING = ("sweeps", "labels")
"""Sections of which each file of a step has its own part."""
Note = dict[str, Any]


def note_path(path: Path) -> Path:
    """Where the note of a file lies."""
    return path.parent / FOLDER / f"{path.name}.json"


def read_note(path: Path) -> Note | None:
    """The note of a file; None where it has none, and a TableError where that is damaged."""
    file = note_path(path)
    try:
        note = json.loads(file.read_text(encoding="utf-8"))
        parts = {
            "step": as_line(str(note["step"])),
            "sha256": str(note["sha256"]),
            "sections": section_digests(note["settings"]),
        }
        return {**note, **parts, "inputs": dict(note["inputs"]), "settings": dict(note["settings"])}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
        said = as_line(repr(problem)[:LONGEST])
        raise TableError(f"{path}: the note of its making cannot be read ({said}); make it again") from None


def content_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_notes(step: str, settings: Mapping[str, Any], written: Iterable[Path], read: Mapping[Path, str]) -> None:
    """Note of each file that a step wrote what made it; `read` are the digests of what the step read."""
    told = provenance(settings)
    for path in tuple(written):  # the notes are written, too
        inputs = {Path(os.path.relpath(one, path.parent)).as_posix(): digest for one, digest in sorted(read.items())}
        note = {**told, "step": step, "sha256": content_digest(path), "inputs": inputs}
        with atomic_write(note_path(path)) as temporary:
            temporary.write_text(json.dumps(note, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def check_inputs(groups: Sequence[Sequence[Path]], settings: Mapping[str, Any], study: Path | None) -> dict[Path, str]:
    """Return the digest of each file that a step is about to read; a TableError names one that is not as it was made.

    Args:
        groups: the files, those of one kind together. settings: of the step that reads them.
        study: the folder in which every file must have a note; None where a step is called by hand.
    """
    found = {}
    for paths in groups:
        notes = {path: read_note(path) for path in paths}
        for path, note in notes.items():
            if note is None and study is not None and study in path.parents:
                raise TableError(f"{path}: no step says that it wrote it; remove it, and run again")
            found[path] = content_digest(path)
            if note is not None and note["sha256"] != found[path]:
                raise TableError(f"{path}: it is not what {note['step']} wrote there; remove it, and run again")
        known = {path: note for path, note in notes.items() if note is not None}
        other = outdated(known, told_sections() if study is not None else {})
        for path, fault in [*foreign(known, settings), *other, *unlike(known)]:
            raise TableError(f"{path}: {fault}; remove it, and run again")
    return found


def foreign(notes: Mapping[Path, Note], settings: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Files that were made of another study than some settings are of, and by what that shows."""
    return [
        (path, f"it was made with another {name} than the study has")
        for path, note in notes.items()
        for name in SHARED
        if name in settings and name in _sections(note) and _same(_sections(note)[name]) != _same(settings[name])
    ]


def outdated(notes: Mapping[Path, Note], sections: Mapping[str, str]) -> list[tuple[Path, str]]:
    """Files that were made with other settings than a study has now, by digests of its sections."""
    return [
        (path, f"it was made with other settings ({name}) than the study has")
        for path, note in notes.items()
        for name, digest in note["sections"].items()
        if name.partition(".")[0] in _deciding(note) and sections.get(name, digest) != digest
    ]


def unlike(notes: Mapping[Path, Note]) -> list[tuple[Path, str]]:
    """Files that a step made with other settings than the first of its files here, and which these are."""
    first: dict[str, tuple[Path, Mapping[str, Any]]] = {}
    found = []
    for path, note in notes.items():
        sections = without_batches(_sections(note))
        before, same = first.setdefault(note["step"], (path, sections))
        if other := [name for name in same.keys() | sections.keys() if same.get(name) != sections.get(name)]:
            found.append((path, f"it was made with other settings ({', '.join(sorted(other))}) than {before}"))
    return found


def _deciding(note: Note) -> set[str]:
    """Sections that decide what a note's step writes; the study's name, where it is one, says who pays."""
    return set(STEP_SECTIONS.get(note["step"], ())) - {"study"}


def _sections(note: Note) -> dict[str, Any]:
    """The sections of a study that all files of the note's step share."""
    names = set(STEP_SECTIONS.get(note["step"], ())) - set(VARYING)
    return {name: value for name, value in note["settings"].items() if name in names}


def _same(section: Any) -> Any:
    """A section without what decides no result."""
    return {k: v for k, v in section.items() if k != "parameters"} if isinstance(section, dict) else section
