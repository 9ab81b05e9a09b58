"""The picture of the rules shows the rules."""

from __future__ import annotations

from copied_project import Project

import make_rulegraph


def test_the_picture_shows_the_default_studys_rules(project: Project) -> None:
    printed = project.run("--dag", "dot", "--forceall")
    edges = make_rulegraph.read_edges(printed)
    assert len(edges) > 15
    assert make_rulegraph.drawn_edges(make_rulegraph.PICTURE.read_text()) == edges, "run `make docs`"


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    nodes = "".join(f'{n}[label = "{name}", color = "x"];\n' for n, name in enumerate(("all", "a", "b\\nx: 1", "c")))
    graph = nodes + "1 -> 2\n2 -> 3\n1 -> 3\n3 -> 0\n1 -> 0\n"
    assert make_rulegraph.read_edges(graph) == {("a", "b"), ("b", "c")}
