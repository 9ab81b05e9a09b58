"""pyproject.toml and CITATION.cff agree with the pinned lists and the version."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import yaml

from repurpose import __version__

ROOT = Path(__file__).parents[2]


def project() -> dict[str, Any]:
    """The table [project] of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def bounds(text: str) -> list[str]:
    """Each pin of a list as the lower bound that it gives, sorted."""
    return sorted(line.replace("==", ">=") for line in text.splitlines() if line and not line.startswith("#"))


def test_dependencies_are_the_pinned_releases_that_the_code_imports() -> None:
    main = (ROOT / "envs" / "main.txt").read_text()
    imported = bounds(main.split("# What the code imports\n")[1].split("\n#")[0])
    test = bounds((ROOT / "envs" / "test.txt").read_text())
    pytest = [bound for bound in imported if bound.startswith("pytest")]
    assert sorted(project()["dependencies"]) == [bound for bound in imported if bound not in pytest]
    assert sorted(project()["optional-dependencies"]["test"]) == sorted([*test, *pytest])


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project()["version"] == citation["version"] == __version__
    assert citation["license"] == project()["license"] == "Apache-2.0"
    (paper,) = citation["references"]
    assert paper["url"] == project()["urls"]["Paper"] == "https://arxiv.org/abs/2507.12638"
    assert [author["family-names"] for author in paper["authors"]] == ["Ward", "Lin", "Venhoff", "Nanda"]


def test_the_newest_change_log_entry_is_this_version() -> None:
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    released = [heading for heading in headings if "Unreleased" not in heading]
    assert released[0].startswith(f"## {__version__}")
