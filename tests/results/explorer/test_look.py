"""`make look`: the folder on this machine alone, under no other name."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tiny import from_source

LOOK = [sys.executable, "-m", "repurpose.results.explorer.look"]


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "explorer.html").write_text("<p>here</p>")
    command = [*LOOK, str(tmp_path), "--no-browser"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=from_source()) as served:
        assert served.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/explorer\.html", served.stderr.readline())
        assert found is not None
        yield int(found[1])
        served.send_signal(signal.SIGINT)
        assert served.wait(20) == 0


def ask(port: int, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_page_is_served_to_this_machine(port: int) -> None:
    assert ask(port, "/explorer.html") == (200, "<p>here</p>")
    assert ask(port, "/explorer.html", Host=f"localhost:{port}")[0] == 200


@pytest.mark.faults
def test_other_names_and_folders_are_refused(port: int) -> None:
    assert ask(port, "/explorer.html", Host=f"evil.example:{port}")[0] == 403
    assert ask(port, "/../../etc/passwd")[0] == 404


@pytest.mark.parametrize(
    ("options", "said"),
    [([], "explorer.html: not there yet; run the study"), (["--port", "99999"], "--port 99999")],
)
def test_what_is_wrong_is_told_in_one_line(options: list[str], said: str, tmp_path: Path) -> None:
    if options:
        (tmp_path / "explorer.html").write_text("")
    command = [*LOOK, str(tmp_path), "--no-browser", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=from_source())
    assert done.returncode == 1 and said in done.stderr and len(done.stderr.splitlines()) == 1
