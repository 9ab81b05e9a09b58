"""The selection is one file whose fields every step reads by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.tiny import SELECTED

from repurpose.data.files import TableError
from repurpose.data.selected import read_selected, write_selected


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_selected(tmp_path / "selection.json", SELECTED)
    assert read_selected(tmp_path / "selection.json") == SELECTED
    text = (tmp_path / "selection.json").read_text()
    assert text == json.dumps(vars(SELECTED), indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize(
    "text", ["{", "[1]", "{}", json.dumps({**vars(SELECTED), "site": 3})], ids=["torn", "list", "empty", "other field"]
)
def test_another_file_is_an_error_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "selection.json").write_text(text)
    with pytest.raises(TableError, match=r"^selection\.json: .*select the site again$"):
        read_selected(tmp_path / "selection.json")
