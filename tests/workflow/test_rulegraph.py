"""The picture of the rules shows the rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import make_rulegraph


def test_the_picture_shows_the_default_studys_rules(tmp_path: Path) -> None:
    default = ["-s", make_rulegraph.ROOT / "Snakefile", "--configfile", make_rulegraph.ROOT / "config.yaml"]
    command = [sys.executable, "-m", "snakemake", "--dag", "dot", "--forceall", *default]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    edges = make_rulegraph.read_edges(printed)
    assert len(edges) > 15
    assert make_rulegraph.drawn_edges(make_rulegraph.PICTURE.read_text()) == edges, "run `make docs`"


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    nodes = "".join(f'{n}[label = "{name}", color = "x"];\n' for n, name in enumerate(("all", "a", "b\\nx: 1", "c")))
    graph = nodes + "1 -> 2\n2 -> 3\n1 -> 3\n3 -> 0\n1 -> 0\n"
    assert make_rulegraph.read_edges(graph) == {("a", "b"), ("b", "c")}
