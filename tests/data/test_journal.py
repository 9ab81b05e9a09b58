from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repurpose.data.journal import Journal, journal_path, record_key

RECORDS = {f"k{i}": {"token_ids": [i, i + 1], "text": "Wait,\u2028 no\n é"} for i in range(4)}


def test_records_survive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "j"
    with Journal(path) as journal:
        journal.add(RECORDS)
        assert path.stat().st_size > 0  # on disk before the file is closed
    with Journal(path) as journal:
        assert {key: journal[key] for key in RECORDS} == RECORDS
        assert list(journal.missing(["k1", "new", "k3"])) == [1]


@settings(deadline=None)
@given(st.data())
def test_a_journal_cut_anywhere_keeps_whole_records_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    with Journal(path) as journal:
        journal.add(RECORDS)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    with Journal(path) as journal:
        assert len(journal) == content[:cut].count(b"\n")
        journal.add(RECORDS)
    with Journal(path) as journal:
        assert {key: journal[key] for key in RECORDS} == RECORDS


def test_keys_tell_every_part_apart() -> None:
    keys = [record_key(*parts) for parts in ((1, [2]), (1, [2, 3]), ("1", [2]), (1, [2], None), (1.5, [2]))]
    assert len(set(keys)) == len(keys)
    assert record_key({"b": 1, "a": 2}) == record_key({"a": 2, "b": 1})


def test_the_journal_lies_hidden_beside_its_output() -> None:
    assert journal_path("results/x/sweeps/a/base.parquet") == Path("results/x/sweeps/a/.base.parquet.journal")
