"""speed.svg from results.json: every table's entries in times of its floor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.page import ratio
from repurpose.results.figures.style import BASE, INK, RANDOM, WIDTH

COLOURS = {"ours": BASE, "peer": RANDOM}
BAR, HEAD = 0.24, 0.5
"""Inches of a bar, and of what each panel needs besides."""


def times_floor(table: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """(label, role, times the floor) of all entries but the floor."""
    floor = next(entry for entry in table["entries"] if entry["role"] == "floor")
    return [(e["label"].replace("`", ""), e["role"], ratio(e, floor)) for e in table["entries"] if e is not floor]


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw one panel a table, and write the SVG."""
    tables = [table for part in results.values() for table in part.get("tables", [])]
    heights = [HEAD + BAR * len(times_floor(table)) for table in tables]
    figure = Figure(figsize=(WIDTH, sum(heights)))
    panels = figure.subplots(len(tables), 1, height_ratios=heights, squeeze=False, sharex=True)[:, 0]
    for panel, table in zip(panels, tables, strict=True):
        draw_panel(panel, table)
    panels[-1].set_xlabel("speed, in times of the floor")
    figure.savefig(path, metadata={"Date": None})


def draw_panel(panel: Axes, table: Mapping[str, Any]) -> None:
    """One table."""
    labels, roles, values = zip(*times_floor(table), strict=True)
    drawn = panel.barh(labels, values, height=0.72, color=[COLOURS[role] for role in roles])
    panel.bar_label(drawn, [f"{value:.2f}" for value in values], padding=3)
    panel.axvline(1, color=INK, linewidth=0.8)
    panel.invert_yaxis()
    panel.set_title(table["title"])
    panel.tick_params(axis="y", length=0)
