"""The command line that steps share: settings as JSON, named inputs, outputs."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import polars as pl
import pyarrow as pa

from repurpose.data.files import read_table, write_table
from repurpose.data.provenance import provenance
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import StepSettings


@dataclass(frozen=True)
class Step:
    """A running step: its settings, and the files that its command line names."""

    settings: StepSettings
    given: argparse.Namespace

    def read(self, name: str) -> pl.DataFrame:
        """Read the table of an input, of all its files."""
        return read_table(getattr(self.given, name))

    def write(
        self, rows: pl.DataFrame | list[dict[str, Any]], schema: pa.Schema, path: str | None = None, **notes: Any
    ) -> None:
        """Write the output, or another, under its schema; the file says how it was made, and the notes."""
        write_table(path or self.given.output, rows, schema, provenance(self.settings.values, **notes))


class Inputs(TypedDict, total=False):
    """What a step's command line has beside its settings."""

    one: Sequence[str]
    """Names of inputs that are one path each."""
    many: Sequence[str]
    """Names of inputs that are lists of paths."""
    optional: Sequence[str]
    """Names of inputs that are one path or left out."""
    maybe: Sequence[str]
    """Names of inputs that are lists of paths that may be empty."""
    flags: Mapping[str, str]
    """Options that are given or not, with what --help says of them."""
    outputs: bool | None
    """Whether there are several outputs, not one; None where there is none."""


@contextmanager
def run_step(name: str, description: str | None, **inputs: Unpack[Inputs]) -> Iterator[Step]:
    """Run a step; errors of the study are one line, and --help shows the description's first line."""
    given = read_arguments(description, **inputs)
    with one_line_errors(name):
        yield Step(StepSettings(name, given.settings), given)


def read_arguments(description: str | None, **inputs: Unpack[Inputs]) -> argparse.Namespace:
    """Parse a step's command line."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n", 1)[0])
    parser.add_argument("--settings", required=True, help="the step's settings as JSON")
    outputs = inputs.get("outputs", False)
    kinds: tuple[tuple[Sequence[str], dict[str, Any]], ...] = (
        (inputs.get("one", ()), {"required": True}),
        (inputs.get("many", ()), {"required": True, "nargs": "+"}),
        (inputs.get("optional", ()), {}),
        (inputs.get("maybe", ()), {"nargs": "*", "default": []}),
        (() if outputs is None else ("output",), {"required": True, "nargs": "+" if outputs else None}),
    )
    for names, options in kinds:
        for name in names:
            parser.add_argument(f"--{name}", **options)
    for name, told in inputs.get("flags", {}).items():
        parser.add_argument(f"--{name}", action="store_true", help=told)
    return parser.parse_args()
