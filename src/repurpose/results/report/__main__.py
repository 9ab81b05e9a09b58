"""Write report.html and claims.md: claims, tables and figures in, one self-contained page and one of claims out."""

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from repurpose.data.command import run_step
from repurpose.data.csv_tables import read_csv
from repurpose.data.files import read_provenance, read_table, write_text
from repurpose.data.selected import read_selected
from repurpose.results.names import why_empty
from repurpose.results.report.page import (
    CAPTIONS,
    POLICY,
    show_claims,
    show_provenance,
    show_rollouts,
    show_section,
    show_stability,
)
from repurpose.study.catalogue import AGREEMENT_FIGURES
from repurpose.study.settings import StepSettings


def visible(value: object) -> object:
    """Return a text without control characters and marks that turn the writing direction; markup as it is."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "".join(
        c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in value
    )


def escape_markdown(value: object) -> str:
    """Return a value for the cell of a Markdown table: no cell, tag or line ends early."""
    escaped = str(visible(value)).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
    return " ".join(escaped.split())


HTML = Environment(
    loader=PackageLoader("repurpose.results.report", ""),
    autoescape=True,
    finalize=visible,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
"""Fills the templates so that every value is text: a model's words may hold anything. A missing value is an error."""
MARKDOWN = HTML.overlay(autoescape=False, finalize=escape_markdown)


def prepare_page(settings: StepSettings, paths: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the templates show; annotators are compared only where there are several."""
    tables = {Path(path).stem: read_csv(path) for path in paths["tables"]}
    figures = {Path(path).stem: Path(path) for path in paths["figures"] if Path(path).suffix == ".svg"}
    shown = [name for name in CAPTIONS if name not in AGREEMENT_FIGURES or name in tables]
    files = {f"{kind}/{Path(path).name}": path for kind in ("rollouts", "labels") for path in paths[kind]}
    return {
        "policy": POLICY,
        "study": settings.study,
        "base": settings.values["pair"]["base"],
        "reasoning": settings.values["pair"]["reasoning"],
        "behaviour": settings.vectors.behaviour,
        "why_empty": why_empty,
        "selection": read_selected(paths["selection"]),
        "stability": show_stability(tables.get("selection_stability", pl.DataFrame())),
        "claims": show_claims(read_csv(paths["claims"])),
        "sections": [show_section(name, tables.get(name, pl.DataFrame()), figures.get(name)) for name in shown],
        "rollouts": show_rollouts(tables.get("rollout", pl.DataFrame())),
        "counts": count_rows(paths),
        "provenance": list(show_provenance({name: read_provenance(path) for name, path in files.items()})),
    }


def count_rows(paths: Mapping[str, Any]) -> dict[str, int]:
    """Count what the study read, by split and label."""
    rollouts = read_table(paths["rollouts"], ["prompt_id", "split"])
    sentences = read_table(paths["labels"], ["label", "split"])
    settings = read_provenance(paths["labels"][0]).get("settings", {})
    units = f"{settings.get('labels', {}).get('unit', 'sentence')}s"
    by_split = rollouts.group_by("split").len().sort("split").iter_rows()
    labelled = sentences.drop_nulls("label").group_by("label").len().sort("len", descending=True).iter_rows()
    return {
        **{f"{split} rollouts": count for split, count in by_split},
        **{f"{label} {units}": count for label, count in labelled},
        f"{units} without a label": sentences["label"].null_count(),
    }


def main() -> None:
    many = ["tables", "figures", "rollouts", "labels"]
    with run_step("results.report", __doc__, one=["claims", "selection"], many=many, outputs=True) as step:
        values = prepare_page(step.settings, vars(step.given))
        page, claims = step.given.output
        write_text(page, HTML.get_template("report.html.jinja").render(values))
        write_text(claims, MARKDOWN.get_template("claims.md.jinja").render(values))


if __name__ == "__main__":
    main()
