"""docs/look.ipynb runs on a study that Snakemake makes, and its outputs are what it says they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

import make_notebook
import repurpose
from repurpose.data.schemas import TRACES

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("a study to look at")
    make_notebook.run_study(made)
    return made


def results_of(notebook: Any) -> list[str]:
    """The text of each code cell's result; an error has none."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [output.data["text/plain"] for cell in cells for output in cell.outputs if "data" in output]


def test_the_notebook_runs_and_its_outputs_are_as_recorded(folder: Path) -> None:
    """On another processor a sampled text may differ: what must be equal is the shape of each result."""
    found, recorded = results_of(make_notebook.execute(folder)), results_of(nbformat.read(make_notebook.NOTEBOOK, 4))
    assert len(found) == len(recorded) == 7
    assert found[0] == recorded[0], "the names of the tables"
    for one, other in zip(found, recorded, strict=True):
        assert one.splitlines()[:1] == other.splitlines()[:1] or "shape" not in other
    steered = int(found[-1].strip("()").split(",")[1])
    assert steered > int(found[-1].strip("()").split(",")[0])


def test_the_rules_make_the_page_and_the_traces_of_both_models(folder: Path) -> None:
    study = repurpose.open(folder / "results" / "look")
    traces = study.table("traces").collect()
    assert traces.columns == TRACES.names and set(traces["reader"]) == {"base", "reasoning"}
    assert traces["prompt_id"].n_unique() == 52
    page = (folder / "results" / "look" / "explorer.html").read_text(encoding="utf-8")
    assert "block-steered" in page and len(page) < 15_000_000
