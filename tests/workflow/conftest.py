"""A finished project to look at, empty ones to run, copies to change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from copied_project import Project, copy_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in a path with spaces whose study is complete; not to be changed by a test."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "a path with spaces")
    project.run("--cores", "2")
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with nothing made yet."""
    return copy_project(tmp_path / "a path with spaces")


@pytest.fixture
def edited(finished: Project, tmp_path: Path) -> Callable[[], Project]:
    """Make copies of the finished project, to be changed at will."""

    def copy() -> Project:
        root = tmp_path / "edited"
        shutil.copytree(finished.root, root, symlinks=True)
        return Project(root, dict(finished.environment))

    return copy
