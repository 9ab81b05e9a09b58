"""The command line that steps share: settings as JSON, named inputs, one output."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

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

    def write(self, rows: pl.DataFrame | list[dict[str, Any]], schema: pa.Schema, **notes: Any) -> None:
        """Write the output under its schema; the file says how it was made, and the notes."""
        write_table(self.given.output, rows, schema, provenance(self.settings.values, **notes))


@contextmanager
def run_step(
    name: str, description: str | None, one: Sequence[str] = (), many: Sequence[str] = (), optional: Sequence[str] = ()
) -> Iterator[Step]:
    """Run a step of one output; the command line is as `read_arguments` says, and errors of the study are one line."""
    given = read_arguments(description, one, many, optional)
    with one_line_errors(name):
        yield Step(StepSettings(name, given.settings), given)


def read_arguments(
    description: str | None,
    one: Sequence[str] = (),
    many: Sequence[str] = (),
    optional: Sequence[str] = (),
    maybe: Sequence[str] = (),
    outputs: bool = False,
) -> argparse.Namespace:
    """Parse a step's command line.

    Args:
        description: what the step does; its first line is shown by --help.
        one: names of inputs that are one path each.
        many: names of inputs that are lists of paths.
        optional: names of inputs that are one path or left out.
        maybe: names of inputs that are lists of paths that may be empty.
        outputs: whether there are several outputs.
    """
    parser = argparse.ArgumentParser(description=(description or "").split("\n", 1)[0])
    parser.add_argument("--settings", required=True, help="the step's settings as JSON")
    kinds: tuple[tuple[Sequence[str], dict[str, Any]], ...] = (
        (one, {"required": True}),
        (many, {"required": True, "nargs": "+"}),
        (optional, {}),
        (maybe, {"nargs": "*", "default": []}),
    )
    for names, options in kinds:
        for name in names:
            parser.add_argument(f"--{name}", **options)
    parser.add_argument("--output", required=True, nargs="+" if outputs else None)
    return parser.parse_args()
