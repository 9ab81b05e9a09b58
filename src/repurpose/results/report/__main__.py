"""Write report.html and claims.md: claims, tables and figures in, one self-contained page and one of claims out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from repurpose.data.command import read_arguments
from repurpose.data.csv_tables import read_csv
from repurpose.data.files import read_provenance, read_table, write_text
from repurpose.data.selected import read_selected
from repurpose.results.report.page import CAPTIONS, POLICY, show_claims, show_provenance, show_rollouts, show_section
from repurpose.results.report.render import HTML, MARKDOWN
from repurpose.study.catalogue import AGREEMENT_FIGURES
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import StepSettings


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
        "selection": read_selected(paths["selection"]),
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
    by_split = rollouts.group_by("split").len().sort("split").iter_rows()
    labelled = sentences.drop_nulls("label").group_by("label").len().sort("len", descending=True).iter_rows()
    return {
        **{f"{split} rollouts": count for split, count in by_split},
        **{f"{label} sentences": count for label, count in labelled},
        "sentences without a label": sentences["label"].null_count(),
    }


def main() -> None:
    many = ["tables", "figures", "rollouts", "labels"]
    arguments = read_arguments(__doc__ or "", one=["claims", "selection"], many=many, outputs=True)
    with one_line_errors("results.report"):
        settings = StepSettings("results.report", arguments.settings)
        values = prepare_page(settings, vars(arguments))
        page, claims = arguments.output
        write_text(page, HTML.get_template("report.html.jinja").render(values))
        write_text(claims, MARKDOWN.get_template("claims.md.jinja").render(values))


if __name__ == "__main__":
    main()
