"""What was selected on training prompts: one small JSON file that every later step reads."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from repurpose.data.files import TableError, write_text


@dataclass(frozen=True)
class Selected:
    """The selected cell of the sweep, and what it was compared with; shares lie between 0 and 1."""

    layer: int
    window_start: int
    window_length: int
    magnitude: float
    """L2 norm."""
    dose: float
    prompts: int
    """Training prompts that the cell was measured on."""
    share: float
    """Of keywords among words."""
    backtracking_share: float
    """Of the study's behaviour among sentences."""
    distinct_2: float
    longest_run: float
    unsteered_share: float
    unsteered_backtracking_share: float
    unsteered_distinct_2: float
    rule: str
    """How it was selected, in words."""


def write_selected(path: Path | str, selected: Selected) -> None:
    """Write the selection."""
    write_text(path, json.dumps(asdict(selected), indent=2, sort_keys=True) + "\n")


def read_selected(path: Path | str) -> Selected:
    """Read the selection; raises TableError where the file is no selection, or one of other code."""
    try:
        return Selected(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as problem:
        raise TableError(f"{Path(path).name}: {problem}; select the site again") from None
