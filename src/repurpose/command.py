"""The command line that steps share: settings as JSON, named inputs, one output, errors in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from repurpose.settings import SettingsError
from repurpose.tables import TableError


def read_arguments(
    description: str,
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
    parser = argparse.ArgumentParser(description=description.split("\n", 1)[0])
    parser.add_argument("--settings", required=True, help="the step's settings as JSON")
    for name in one:
        parser.add_argument(f"--{name}", required=True)
    for name in many:
        parser.add_argument(f"--{name}", required=True, nargs="+")
    for name in optional:
        parser.add_argument(f"--{name}")
    for name in maybe:
        parser.add_argument(f"--{name}", nargs="*", default=[])
    parser.add_argument("--output", required=True, nargs="+" if outputs else None)
    return parser.parse_args()


@contextmanager
def one_line_errors(step: str) -> Iterator[None]:
    """End the process with one line where the study, a model, a table or a card's memory is at fault."""
    try:
        yield
    except (SettingsError, TableError, RuntimeError) as problem:
        if type(problem).__name__ == "OutOfMemoryError":  # torch's, which many steps never import
            first = str(problem).strip().partition("\n")[0]
            sys.exit(f"repurpose {step}: {first} Lower the step's batch_size, or take a larger card.")
        if not type(problem).__module__.startswith("repurpose"):  # a traceback says more than its first line
            raise
        sys.exit(f"repurpose {step}: {problem}")
