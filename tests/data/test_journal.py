from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import from_source

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
        whole = [line for line in content.splitlines() if content.index(line) + len(line) <= cut]
        assert list(journal) == [json.loads(line)[0] for line in whole]
        journal.add(RECORDS)
    with Journal(path) as journal:
        assert {key: journal[key] for key in RECORDS} == RECORDS


@pytest.mark.parametrize("damage", [b"\x00", b"\xff", b"]", b"\n"])
def test_a_damaged_line_is_named_and_left_out_alone(
    damage: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.add(RECORDS)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:7] + damage + lines[1][8:]
    path.write_bytes(b"".join(lines))
    with Journal(path) as journal:
        assert {key for key in RECORDS if key in journal} == {"k0", "k2", "k3"}
        journal.add({"k1": RECORDS["k1"]})
    assert f"{path}: line 2 is damaged and left out" in capsys.readouterr().err
    with Journal(path) as journal:
        assert {key: journal[key] for key in RECORDS} == RECORDS


@pytest.mark.faults
def test_one_damaged_byte_anywhere_loses_one_record_at_most_and_changes_none(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.add(RECORDS)
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        damage = (content[place] ^ 1, 0, ord("\n"), ord("3"))[place // 3 % 4]
        path.write_bytes(content[:place] + bytes([damage]) + content[place + 1 :])
        before = path.stat().st_size
        with Journal(path) as journal:
            kept = {key: journal[key] for key in journal}
            assert {key: RECORDS.get(key) for key in kept} == kept and len(kept) >= len(RECORDS) - 1, place
            assert path.stat().st_size >= before - len(content) // 4
            journal.add(RECORDS)
        with Journal(path) as journal:
            assert dict(journal) == RECORDS


@pytest.mark.faults
@pytest.mark.parametrize("damage", [b"", b" ", b"\x00", b"x"])
def test_where_lines_run_together_both_are_read(
    damage: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.add(RECORDS)
    lines = path.read_bytes().splitlines()
    path.write_bytes(lines[0] + b"\n" + damage.join(lines[1:]) + damage)
    for _ in range(2):
        with Journal(path) as journal:
            assert dict(journal) == RECORDS
    assert f"{path}: line 2 is damaged and in it 3 records are whole" in capsys.readouterr().err


def test_lines_without_a_sum_are_read(tmp_path: Path) -> None:
    """As they were written before."""
    (tmp_path / "j").write_text("".join(f"{json.dumps(line)}\n" for line in RECORDS.items()))
    with Journal(tmp_path / "j") as journal:
        assert dict(journal) == RECORDS
        journal.add({"k9": RECORDS["k0"]})
    with Journal(tmp_path / "j") as journal:
        assert dict(journal) == {**RECORDS, "k9": RECORDS["k0"]}


FULL = """
import resource, sys
from pathlib import Path
from repurpose.data.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with Journal(Path(sys.argv[1])) as journal:
    for number in range(100):
        try:
            journal.add({f"n{number}": {"text": "x" * 50}})
        except OSError:
            assert f"n{number}" not in journal
            sys.exit(number)
"""


def test_what_finds_no_room_is_no_record_and_harms_none(tmp_path: Path) -> None:
    """A limit on the file's size stands for a disk that is full: it, too, takes a part of what is written."""
    path = tmp_path / "j"
    kept = subprocess.run([sys.executable, "-c", FULL, str(path)], env=from_source()).returncode
    assert 5 < kept < 20
    with Journal(path) as journal:
        assert len(journal) == kept and path.read_bytes().count(b"\n") == kept
        journal.add(RECORDS)
    with Journal(path) as journal:
        assert len(journal) == kept + len(RECORDS)


def test_keys_tell_every_part_apart() -> None:
    keys = [record_key(*parts) for parts in ((1, [2]), (1, [2, 3]), ("1", [2]), (1, [2], None), (1.5, [2]))]
    assert len(set(keys)) == len(keys)
    assert record_key({"b": 1, "a": 2}) == record_key({"a": 2, "b": 1})


def test_the_journal_lies_hidden_beside_its_output() -> None:
    assert journal_path("results/x/sweeps/a/base.parquet") == Path("results/x/sweeps/a/.base.parquet.journal")
