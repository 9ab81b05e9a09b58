"""Draw docs/rulegraph.svg: the rules of the default study and what each needs. Wants graphviz's `dot`.

    python docs/make_rulegraph.py

It is Snakemake's own graph of jobs, each drawn as its rule, without `all` and without arrows that follow from others.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "rulegraph.svg"
Edges = set[tuple[str, str]]


def read_edges(dot: str) -> Edges:
    """The arrows between rules in Snakemake's graph of jobs.

    An arrow between jobs is left out where a longer way joins them. That is seen among jobs only: among rules there is
    a circle, because sweeps are measured both before and after the site is chosen.
    """
    rules = dict(re.findall(r'(\d+)\[label = "(\w+)', dot))
    jobs = set(re.findall(r"(\d+) -> (\d+)", dot))
    kept = {(one, other) for one, other in jobs if other not in _beyond(jobs, _after(jobs, one) - {other})}
    return {(rules[one], rules[other]) for one, other in kept if rules[other] != "all"}


def _after(edges: Edges, node: str) -> set[str]:
    return {other for one, other in edges if one == node}


def _beyond(edges: Edges, nodes: Iterable[str]) -> set[str]:
    found, waiting = set[str](), list(nodes)
    while waiting:
        new = _after(edges, waiting.pop()) - found
        found |= new
        waiting += new
    return found


def write_dot(edges: Edges) -> str:
    """The graph in graphviz's language, in a fixed order."""
    arrows = [f"{one} -> {other};" for one, other in sorted(edges)]
    look = 'rankdir=TB; node [shape=box, style=rounded, fontname="sans-serif", fontsize=11]; edge [color=grey40];'
    return "\n".join(["digraph rules {", look, *arrows, "}"])


def drawn_edges(svg: str) -> Edges:
    """The arrows that a picture shows."""
    return set(re.findall(r"<title>(\w+)&#45;&gt;(\w+)</title>", svg))


def main() -> None:
    command = [str(Path(sys.executable).with_name("snakemake")), "--dag", "dot", "--forceall"]
    graph = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    picture = write_dot(read_edges(graph))
    try:
        drawn = subprocess.run(["dot", "-Tsvg"], input=picture, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        sys.exit("docs/make_rulegraph.py: graphviz's `dot` is not installed (on Debian: apt-get install graphviz)")
    PICTURE.write_text(drawn.stdout, encoding="utf-8")


if __name__ == "__main__":
    main()
