"""The command line that steps share: settings as JSON, named inputs, one output."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


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
