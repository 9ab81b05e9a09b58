"""Text of a model in a table: no spreadsheet computes it, no terminal obeys it, and it comes back as it was."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repurpose.data.csv_tables import read_csv, to_csv

HARMLESS = ["-0.5", "+1e-3", "+", "+a", "-", "=", "'s", "''", "\n", " =", "a\tb", "\\", "\\n", "\\xyz", "ü", "x=1", '"']
"""Texts that stand in a table as they are."""
HARMFUL = (
    *(
        "=1+1",
        "+ab",
        "-a",
        "=cmd|' /C calc'!A0",
        "+1+1",
        "@SUM(A1)",
        "-1+1",
        "-2-3",
        "--",
        "\t=1",
        "\tx",
        "\r=1",
        "-1_0",
        "-\n1",
    ),
    *("\x1b[2J", "\x1b]0;t\x07", "a\rb", "\x00", "\x7f", "\x9b31m", "=\x1b", "'=1", "''=1", "'-0.5", "'\t1"),
    *("\\x1b", "\\\x1b", "\\\\x1b", "\\x5cx1b", "'\\x3d1"),
)


@pytest.mark.faults
def test_no_spreadsheet_computes_a_cell_and_no_terminal_obeys_it(tmp_path: Path) -> None:
    texts = [*HARMLESS, *HARMFUL]
    (tmp_path / "x.csv").write_text(written := to_csv(pl.DataFrame({"token": texts, "place": range(len(texts))})))
    cells = [row["token"] for row in csv.DictReader(io.StringIO(written, newline=""))]
    assert cells[: len(HARMLESS)] == HARMLESS
    for cell in cells[len(HARMLESS) :]:
        assert cell[0] not in "=+@-\t\r" and not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", cell)
    assert read_csv(tmp_path / "x.csv")["token"].to_list() == texts


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    numbers = pl.DataFrame({"share": [-0.5, 1e-9, None], "count": [-1, 0, 2], "good": [True, False, None]})
    (tmp_path / "x.csv").write_text(to_csv(numbers))
    assert (tmp_path / "x.csv").read_text() == "share,count,good\n-0.5,-1,true\n1e-9,0,false\n,2,\n"
    assert read_csv(tmp_path / "x.csv").equals(numbers)


def test_the_recorded_claims_are_written_as_they_are() -> None:
    sample = Path(__file__).parents[2] / "resources/smollm2/results/claims.csv"
    assert to_csv(read_csv(sample)) == sample.read_text()


@given(st.lists(st.text(st.sampled_from("'=+-@\t\r\n\x1b\x9b\\x1b5c, \"é")), min_size=1))
def test_every_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "texts.csv"
    path.write_text(to_csv(pl.DataFrame({"token": texts, "place": range(len(texts))})), newline="")
    assert read_csv(path)["token"].to_list() == texts
