"""A copy of the project that Snakemake can plan and run in a second: stand-ins for the models and for the steps."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from repurpose.study.catalogue import TABLES
from repurpose.study.study_file import load_values

ROOT = Path(__file__).parents[2]
COPIED = ("Snakefile", "workflow", "profiles", "envs", "src", "resources/annotation")

STAND_IN = f"""#!/usr/bin/env bash
# Stands in for `python -m repurpose.<step> ... [--output PATH...]`: writes the call to each output and to calls.txt,
# or nothing for a check, which has no output.
set -euo pipefail
call="$*"
while [[ $# -gt 0 && "$1" != "--output" ]]; do
    if [[ "$1" == "--usage" ]]; then echo "$call" > "$2"; fi
    shift
done
if [[ $# -eq 0 ]]; then exit; fi
echo "$call" >> calls.txt
shift
for path in "$@"; do
    if [[ "$path" == */tables ]]; then
        for name in {" ".join(TABLES)}; do echo "$call" > "$path/$name.csv"; done
    else
        echo "$call" > "$path"
    fi
done
"""


@dataclass
class Project:
    """A copy of the repository in a folder of its own."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, folder: Path | None = None, fails: bool = False) -> str:
        """Call Snakemake as a user does, from the project's folder or another one; return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=folder or self.root,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def plans(self, changes: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
        """Plan once for each named change (file -> new text, undone afterwards); return the jobs that would run."""
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("plan.py"))],
            input=json.dumps(changes),
            cwd=self.root,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def calls(self) -> list[str]:
        """The steps that the stand-in was called for, in order."""
        text = (self.root / "calls.txt").read_text() if (self.root / "calls.txt").exists() else ""
        return [line.split()[1].removeprefix("repurpose.") for line in text.splitlines()]

    def study(self) -> dict[str, object]:
        """The default study, as plain values."""
        return dict(yaml.safe_load((self.root / "config.yaml").read_text()))


def copy_project(root: Path) -> Project:
    """Copy what Snakemake needs, with stand-ins for the embedded pair, whose study it is, and for the interpreter."""
    root.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".venvs")
            shutil.copytree(source, root / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, root / name)
    study = load_values(ROOT / "studies" / "organism.yaml")
    (root / "config.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    for role in ("base", "reasoning"):
        write_model(root / "resources" / "organism" / role)
    interpreter = root / "stand-in python"
    interpreter.write_text(STAND_IN)
    interpreter.chmod(interpreter.stat().st_mode | stat.S_IXUSR)
    return Project(root, {"REPURPOSE_PYTHON_MAIN": str(interpreter)})


def real_project(root: Path) -> Project:
    """Such a copy with the models that ship and this interpreter, so that its steps are real."""
    project = copy_project(root)
    shutil.rmtree(root / "resources")
    (root / "resources").symlink_to(ROOT / "resources")
    project.environment["REPURPOSE_PYTHON_MAIN"] = sys.executable
    return project


def write_model(folder: Path, layers: int = 6, vocabulary: tuple[str, ...] = ("a", "b")) -> None:
    """Write as much of a model as planning looks at."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": layers}))
    tokens = {token: index for index, token in enumerate(vocabulary)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": tokens, "merges": []}}))
    (folder / "model.safetensors").write_text("weights")
