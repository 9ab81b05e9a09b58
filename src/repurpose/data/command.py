"""The command line that steps share: settings as JSON, named inputs, one output."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


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
