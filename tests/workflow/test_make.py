"""`make clean` removes one study's results, or says in one line why it removes none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The Makefile beside the results of two studies."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for study in ("mine", "other"):
        (tmp_path / "results" / study).mkdir(parents=True)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The suite itself may have been started by make, which says so to what it calls.
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *arguments], cwd=folder, env=outside, capture_output=True, text=True)


@pytest.mark.parametrize("line", ["mine", '"mine"', "'mine'", "mine   # a comment", '"mine" # a comment', "  mine  "])
def test_clean_removes_the_study_that_the_file_names(folder: Path, line: str) -> None:
    (folder / "mine.yaml").write_text(f"# study: other\nstudy: {line}\nseed: 0\n")
    assert make(folder, "clean", "CONFIG=mine.yaml").returncode == 0
    assert [path.name for path in (folder / "results").iterdir()] == ["other"]


@pytest.mark.parametrize(
    "text", [None, "", "seed: 0\n", "study:\n", "study: ''\n", "study: ..\n", "study: mine/..\n", "study: replies\n"]
)
@pytest.mark.parametrize("target", ["clean", "study"])
def test_no_name_removes_and_starts_nothing(folder: Path, target: str, text: str | None) -> None:
    if text is not None:
        (folder / "mine.yaml").write_text(text)
    done = make(folder, target, "CONFIG=mine.yaml")
    assert done.returncode != 0 and done.stdout == ""
    first, *rest = done.stderr.splitlines()
    assert first.startswith("mine.yaml: no study file, or none with a name")
    assert len(rest) == 1 and rest[0].startswith("make: ***")
    assert {path.name for path in (folder / "results").iterdir()} == {"mine", "other"}
