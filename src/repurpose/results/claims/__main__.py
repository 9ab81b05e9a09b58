"""Judge the paper's claims by the study's tables: tables in, claims.csv out."""

from pathlib import Path

from repurpose.data.command import run_step
from repurpose.data.csv_tables import read_csv, to_csv
from repurpose.data.files import write_text
from repurpose.results.claims.weighing import weigh_claims


def main() -> None:
    with run_step("results.claims", __doc__, many=["tables"]) as step:
        tables = {Path(path).stem: read_csv(path) for path in step.given.tables}
        write_text(step.given.output, to_csv(weigh_claims(tables, step.settings)))


if __name__ == "__main__":
    main()
