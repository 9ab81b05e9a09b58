"""Judge the paper's claims by the study's tables: tables in, claims.csv out."""

from __future__ import annotations

from pathlib import Path

from repurpose.data.command import read_arguments
from repurpose.data.csv_tables import read_csv, to_csv
from repurpose.data.files import write_text
from repurpose.results.claims.weighing import Setup, weigh_claims
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import StepSettings


def main() -> None:
    arguments = read_arguments(__doc__ or "", many=["tables"])
    with one_line_errors("results.claims"):
        settings = StepSettings("results.claims", arguments.settings)
        tables = {Path(path).stem: read_csv(path) for path in arguments.tables}
        write_text(arguments.output, to_csv(weigh_claims(tables, Setup.of(settings))))


if __name__ == "__main__":
    main()
