"""A file says what made it: the commit, and whether the code differed from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from repurpose.data import provenance
from repurpose.data.provenance import _commit


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit that the package seems to lie in."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "module.py").write_text("a = 1\n")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "code" / "provenance.py"))
    return tmp_path / "code"


def test_the_commit_says_where_tracked_files_differ(repository: Path) -> None:
    git(repository, "init", "--quiet")
    git(repository, "add", "module.py")
    git(repository, "commit", "--quiet", "--message", "one")
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "new.py").write_text("untracked\n")
    assert _commit() == commit
    (repository / "module.py").write_text("a = 2\n")
    assert _commit() == f"{commit}-dirty"


def test_without_a_repository_there_is_no_commit(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert repository.is_dir() and _commit() is None
    monkeypatch.setenv("PATH", str(repository))
    assert _commit() is None
    assert capfd.readouterr() == ("", "")
