"""Check every file of a study against the note of its making: results/<study> in, a line for each bad file out.

    repurpose verify results/<study>

A file is bad if it is not what its step wrote there, or nobody says who wrote it; if what it was made from is missing
or is another file by now; if it was made with another seed, pair or prompts than its neighbours. Logs, benchmarks and
hidden and empty files are left out. Exit status 1 where there is a bad file.
"""

import argparse
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from repurpose.data.files import TableError
from repurpose.data.made import FOLDER, SHARED, Note, content_digest, foreign, read_note, unlike
from repurpose.study.errors import one_line_errors
from repurpose.study.messages import as_line
from repurpose.study.settings import canonical_json

LEFT_OUT = ("logs", "benchmarks")
Digest = Callable[[Path], str]


def verify(folder: Path) -> tuple[list[str], int]:
    """Return a line for each bad file of a study, by path, and how many files were looked at."""
    faults, notes = defaultdict[Path, list[str]](list), dict[Path, Note]()
    digest: Digest = cache(content_digest)
    for path in sorted({*_files(folder), *_noted(folder)}):
        try:
            note = read_note(path)
        except TableError as problem:
            faults[path].append(str(problem).removeprefix(f"{path}: "))
            continue
        if note is None:
            faults[path].append("no step says that it wrote it")
        elif not path.is_file():
            faults[path].append(f"it is missing; {note['step']} wrote it")
        else:
            notes[path] = note
            if digest(path) != note["sha256"]:
                faults[path].append(f"it is not what {note['step']} wrote there")
            faults[path] += _changed(path, note, digest)
    for path, fault in _mixed(notes):
        faults[path].append(fault)
    bad = [f"{path}: {'; '.join(told)}" for path, told in sorted(faults.items()) if told]
    return bad, len(faults)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder, but for those left out and for empty ones, which only mark that a rule is done."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in inside)
        if path.is_file() and path.stat().st_size and inside[0] not in LEFT_OUT and not hidden:
            yield path


def _noted(folder: Path) -> Iterator[Path]:
    """The files that some note is of, whether they are there or not."""
    for note in folder.rglob(f"{FOLDER}/*.json"):
        yield note.parent.parent / note.name.removesuffix(".json")


def _changed(path: Path, note: Note, digest: Digest) -> Iterator[str]:
    """Yield what is wrong with the files that one was made from."""
    for name, before in note["inputs"].items():
        source = Path(os.path.normpath(path.parent / name))
        if not source.is_file():
            yield f"it was made from {source}, which is missing"
        elif digest(source) != before:
            yield f"it was made from another {source} than is there now"


def _mixed(notes: dict[Path, Note]) -> Iterator[tuple[Path, str]]:
    """Yield files that were made of another study than most, or with other settings than their neighbours."""
    told = [note["settings"] for note in notes.values()]
    most = {name: Counter(canonical_json(one[name]) for one in told if name in one).most_common(1) for name in SHARED}
    yield from foreign(notes, {name: json.loads(found[0][0]) for name, found in most.items() if found})
    folders = defaultdict[Path, dict[Path, Note]](dict)
    for path, note in notes.items():
        folders[path.parent][path] = note
    for together in folders.values():
        yield from unlike(together)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="results/<study>")
    folder = parser.parse_args().folder
    with one_line_errors("verify"):
        if not folder.is_dir():
            raise TableError(f"{folder}: no such folder; give results/<study>")
        bad, count = verify(folder)
    sys.stdout.writelines(f"{as_line(line)}\n" for line in bad)
    sys.stdout.write(f"{len(bad)} of {count} files are bad\n" if bad else f"All {count} files are as they were made\n")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
