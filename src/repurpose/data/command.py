"""The command line that steps share: settings as JSON, named inputs, outputs."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from repurpose.data.files import noting_written, read_table, write_table
from repurpose.data.made import check_inputs, write_notes
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


@contextmanager
def run_step(
    name: str,
    description: str | None,
    one: Sequence[str] = (),
    many: Sequence[str] = (),
    optional: Sequence[str] = (),
    maybe: Sequence[str] = (),
    flags: Mapping[str, str] | None = None,
    outputs: bool | None = False,
    batches: bool = False,
    texts: Mapping[str, str] | None = None,
) -> Iterator[Step]:
    """Run a step; errors of the study are one line, and --help shows the description's first line.

    Args:
        one, many, optional, maybe: names of inputs: one path, a list, one path or left out, a list that may be empty.
        flags: options that are given or not, with what --help says of them.
        outputs: whether there are several outputs, not one; None where there is none.
        texts: options with a text, given or not, with what --help says of them.
        batches: whether the size of a batch may be given beside the settings.
    """
    parser = argparse.ArgumentParser(description=(description or "").split("\n", 1)[0])
    parser.add_argument("--settings", required=True, help="the step's settings as JSON")
    kinds: tuple[tuple[Sequence[str], dict[str, Any]], ...] = (
        (one, {"required": True}),
        (many, {"required": True, "nargs": "+"}),
        (optional, {}),
        (maybe, {"nargs": "*", "default": []}),
        (() if outputs is None else ("output",), {"required": True, "nargs": "+" if outputs else None}),
    )
    for names, options in kinds:
        for argument in names:
            parser.add_argument(f"--{argument}", **options)
    for flag, told in (flags or {}).items():
        parser.add_argument(f"--{flag}", action="store_true", help=told)
    for option, told in (texts or {}).items():
        parser.add_argument(f"--{option}", help=told)
    if batches:
        parser.add_argument("--batch", type=int, help="rows or tokens in a batch; left out: as the settings say")
    given = parser.parse_args()
    with one_line_errors(name), noting_written() as written:
        groups = [_files(getattr(given, argument.replace("-", "_"))) for argument in (*one, *many, *optional, *maybe)]
        values = json.loads(given.settings)
        read = check_inputs(groups, values, _study_folder(given) if "code" in values else None)
        yield Step(StepSettings(name, given.settings, batch=vars(given).get("batch")), given)
        write_notes(name, values, written, {path: digest for path, digest in read.items() if path not in written})


def _study_folder(given: argparse.Namespace) -> Path | None:
    """`results/<study>`, where the workflow lets a step write; None of a step that writes nothing."""
    outputs = _paths(vars(given).get("output"))
    return Path(*outputs[0].parts[:2]) if outputs else None


def _files(named: str | list[str] | None) -> list[Path]:
    """The files among what an argument names."""
    return [path for path in _paths(named) if path.is_file()]


def _paths(named: str | list[str] | None) -> list[Path]:
    return [Path(path) for path in ([named] if isinstance(named, str) else named or [])]
