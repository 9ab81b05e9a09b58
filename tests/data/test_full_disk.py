"""On a disk that fills every write ends in one line that names the file, and nothing half-written is left."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.disks import small_disk

from repurpose.data.files import atomic_write, write_table, write_text
from repurpose.data.journal import Journal
from repurpose.data.schemas import SENTENCES
from repurpose.study.errors import FULL, one_line_errors

pytestmark = pytest.mark.faults
ROOM = 64 << 10
ROW = {"prompt_id": "p", "sample": 0, "sentence": 0, "token_start": 0, "token_end": 1}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", ROOM) as folder:
        yield folder


def write_long_text(path: Path) -> None:
    write_text(path, ROOM * "xy")


def write_long_table(path: Path) -> None:
    noise = [{**dict.fromkeys(SENTENCES.names), **ROW, "text": os.urandom(ROOM).hex()} for _ in range(4)]
    write_table(path, noise, SENTENCES, {})


def write_to_journal(path: Path) -> None:
    with Journal(path) as journal:
        journal.add({"short": {"text": "x"}})
        journal.add({"long": {"text": ROOM * "xy"}})


def ends_in(path: Path, write: Callable[[Path], None]) -> str:
    """The line with which a step ends that writes to a path."""
    with pytest.raises(SystemExit) as ended, one_line_errors("step"):
        write(path)
    return str(ended.value)


def told(path: Path) -> str:
    return f"repurpose step: {path}: {os.strerror(errno.ENOSPC)}; make room, and run again"


@pytest.mark.parametrize("write", [write_long_text, write_long_table])
def test_a_file_that_does_not_fit_is_one_line_and_not_there(disk: Path, write: Callable[[Path], None]) -> None:
    assert ends_in(disk / "a.parquet", write) == told(disk / "a.parquet")
    assert list(disk.iterdir()) == []


def test_an_older_file_stays_where_a_new_one_does_not_fit(disk: Path) -> None:
    write_text(disk / "a.csv", "old")
    ends_in(disk / "a.csv", write_long_text)
    assert (disk / "a.csv").read_text() == "old" and len(list(disk.iterdir())) == 1


def test_a_journal_keeps_what_it_has(disk: Path) -> None:
    assert ends_in(disk / "j", write_to_journal) == told(disk / "j")
    with Journal(disk / "j") as journal:
        assert dict(journal) == {"short": {"text": "x"}}


@pytest.mark.parametrize("number", FULL)
def test_whatever_leaves_no_room_names_the_file_that_was_asked_for(tmp_path: Path, number: int) -> None:
    def write(path: Path) -> None:
        with atomic_write(path):
            raise OSError(number, "Error writing bytes to file. Detail: [errno 28]")

    assert (
        ends_in(tmp_path / "a", write)
        == f"repurpose step: {tmp_path / 'a'}: {os.strerror(number)}; make room, and run again"
    )


def test_another_fault_of_a_system_keeps_its_traceback() -> None:
    with pytest.raises(ConnectionResetError), one_line_errors("step"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")
