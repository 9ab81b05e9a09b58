"""The executor that is tested is the one that envs/slurm.txt pins."""

from __future__ import annotations

import re
from importlib import metadata

import pytest
from on_cluster import ROOT

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_the_pinned_releases_of_the_executor_are_those_tested() -> None:
    text = (ROOT / "envs" / "slurm.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pins = dict(re.fullmatch(r"([a-z-]+)==([0-9.]+)", line).groups() for line in lines)  # type: ignore[union-attr]
    assert "snakemake-executor-plugin-slurm" in pins
    for name, version in pins.items():
        assert metadata.version(name) == version
