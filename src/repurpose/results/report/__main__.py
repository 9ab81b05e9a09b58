"""Write report.html from claims, tables and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from repurpose.data.command import read_arguments
from repurpose.data.csv_tables import read_csv
from repurpose.data.files import read_provenance, read_table, write_text
from repurpose.results.report.page import ReportData, write_page
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import StepSettings

STYLE = Path(__file__).with_name("style.css")


def read_report_data(settings: StepSettings, paths: dict[str, Any]) -> ReportData:
    """Read everything that the page shows."""
    return ReportData(
        study=settings.study,
        pair=(settings.values["pair"]["base"], settings.values["pair"]["reasoning"]),
        keywords=settings.keywords,
        behaviour=settings.vectors.behaviour,
        selection=json.loads(Path(paths["selection"]).read_text(encoding="utf-8")),
        claims=read_csv(paths["claims"]),
        tables={Path(path).stem: read_csv(path) for path in paths["tables"]},
        figures={Path(path).stem: Path(path) for path in paths["figures"] if Path(path).suffix == ".svg"},
        provenance={
            f"{kind}/{Path(path).name}": read_provenance(path)
            for kind in ("rollouts", "labels")
            for path in paths[kind]
        },
        counts=count_rows(paths),
    )


def count_rows(paths: dict[str, Any]) -> dict[str, int]:
    """Count what the study read, by split and label."""
    rollouts = read_table(paths["rollouts"], ["prompt_id", "split"])
    sentences = read_table(paths["labels"], ["label", "split"])
    by_split = dict(rollouts.group_by("split").len().sort("split").iter_rows())
    labelled = sentences.filter(pl.col("label").is_not_null()).group_by("label").len()
    return {
        **{f"{split} rollouts": count for split, count in by_split.items()},
        **{f"{label} sentences": count for label, count in labelled.sort("len", descending=True).iter_rows()},
        "sentences without a label": sentences["label"].null_count(),
    }


def main() -> None:
    many = ["tables", "figures", "rollouts", "labels"]
    arguments = read_arguments(__doc__ or "", one=["claims", "selection"], many=many)
    with one_line_errors("results.report"):
        settings = StepSettings("results.report", arguments.settings)
        page = write_page(read_report_data(settings, vars(arguments)), STYLE.read_text(encoding="utf-8"))
        write_text(arguments.output, page)


if __name__ == "__main__":
    main()
