"""Execute docs/look.ipynb again, on the embedded pair's study in small, and keep its outputs.

    python docs/make_notebook.py [FOLDER]

FOLDER holds results/look; left out, the study of docs/look-study.yaml is made anew, which takes a few minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "look.ipynb"
STUDY = ROOT / "docs" / "look-study.yaml"
SECONDS = 300
"""That one cell may take."""


def run_study(folder: Path) -> None:
    """Make what the notebook reads; a CalledProcessError where a job fails, which Snakemake has told."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "results/look/explorer.html",
        "--cores",
        "2",
        "-s",
        ROOT / "Snakefile",
    ]
    subprocess.run([*command, "--configfile", STUDY], cwd=folder, check=True)


def execute(folder: Path) -> NotebookNode:
    """The notebook with its outputs, executed in a folder that holds results/look."""
    os.environ.update(PYTHONPATH=str(ROOT / "src"), REPURPOSE_ROOT=str(ROOT), OMP_NUM_THREADS="1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.clear()
        cell.get("outputs", [])[:] = [output for output in cell.get("outputs", []) if output.output_type != "stream"]
    return notebook


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(*(sys.argv[1:2] or [made]))
        if not (folder / "results" / "look").is_dir():
            run_study(folder)
        nbformat.write(execute(folder), NOTEBOOK)


if __name__ == "__main__":
    main()
