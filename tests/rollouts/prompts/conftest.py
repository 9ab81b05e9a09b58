"""Answers of the file of prompts are computed again when the file or a check changed since they were last found right.

Nothing else can make them wrong. `make answers` computes them whatever happened and records what it found right.
"""

from __future__ import annotations

import pytest
from tests.rollouts.prompts.ten_categories import RECORD, digest_of_answers


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the checks of answers, and leave them out where their digest is the recorded one."""
    found = [item for item in items if item.path.parent == RECORD.parent and item.path.stem != "test_ten_categories"]
    for item in found:
        item.add_marker(pytest.mark.answers)
    asked_for = "answers" in config.getoption("markexpr")
    if not asked_for and RECORD.read_text(encoding="ascii").strip() == digest_of_answers():
        items[:] = [item for item in items if item not in set(found)]
        config.hook.pytest_deselected(items=found)
