"""What was selected on training prompts: one small JSON file that every later step reads."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from repurpose.data.files import TableError, write_text


@dataclass(frozen=True)
class Selected:
    """The selected cell of the sweep, and what it was compared with; shares lie between 0 and 1, null is not known."""

    layer: int
    window_start: int
    window_length: int
    magnitude: float
    """L2 norm."""
    dose: float
    prompts: int
    """Training prompts that the cell was measured on."""
    share: float | None
    """Of keywords among words."""
    backtracking_share: float | None
    """Of the study's behaviour among labelled sentences."""
    distinct_2: float
    longest_run: float
    unsteered_share: float | None
    unsteered_backtracking_share: float | None
    unsteered_distinct_2: float
    rule: str
    """How it was selected, in words."""
    annotator: str | None = None
    """Whose labels these are."""
    valid_backtracking: float | None = None
    """Of sentences that the embedded pair's grammar produces as backtracking among all."""
    unsteered_valid_backtracking: float | None = None
    grammatical: float | None = None
    """Of sentences that it can produce at all."""
    unsteered_grammatical: float | None = None
    nll: float | None = None
    """Nats per token under the unsteered target."""
    unsteered_nll: float | None = None
    nll_limit: float | None = None
    """Text with more is not coherent."""
    unsteered_above_limit: float | None = None
    """Of unsteered texts that have more: the rule's own false alarms."""
    finished: float | None = None
    """Of texts that end."""
    unsteered_finished: float | None = None
    correct: float | None = None
    """Of texts that give the right answer, where it is known."""
    unsteered_correct: float | None = None
    beside_layer: int | None = None
    """The best coherent cell of the window that is reported beside the selected one; null where that is the same, where
    the window is not read, and where none of its cells is coherent."""
    beside_window_start: int | None = None
    beside_magnitude: float | None = None


def write_selected(path: Path | str, selected: Selected) -> None:
    """Write the selection."""
    write_text(path, json.dumps(asdict(selected), indent=2, sort_keys=True) + "\n")


def read_selected(path: Path | str) -> Selected:
    """Read the selection; raises TableError where the file is no selection, or one of other code."""
    try:
        return Selected(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as problem:
        raise TableError(f"{Path(path).name}: {problem}; select the site again") from None
