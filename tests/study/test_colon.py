"""A checkout whose path holds a `:`, which would end a path in PYTHONPATH, is refused at once."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from repurpose.study.jobs.parameters import step_variables
from repurpose.study.settings import SettingsError

MAKEFILE = Path(__file__).parents[2] / "Makefile"


def test_no_step_starts_from_such_a_path() -> None:
    assert step_variables(Path("/a b/src"))["PYTHONPATH"] == "/a b/src"
    with pytest.raises(SettingsError, match=r"^/a:b: no ':' may be in this path, it ends a path in PYTHONPATH; rename"):
        step_variables(Path("/a:b/src"))


def test_make_says_so_before_it_builds_an_environment(tmp_path: Path) -> None:
    (folder := tmp_path / "a:b").mkdir()
    shutil.copy(MAKEFILE, folder)
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(["make", "study"], cwd=folder, env=outside, capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert f"{folder}: no ':' may be in this path, it ends a path in PYTHONPATH; rename it" in line
