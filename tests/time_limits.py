"""Every test ends: at its time limit it fails under its name, and no process that it started stays.

Two watches: pytest-timeout's signal, which fails the test and lets the next one start; and pytest's faulthandler
(`faulthandler_timeout`), a thread in C that ends pytest itself with a traceback, for code that never lets Python look
at a signal.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator
from types import FrameType

import psutil
import pytest

SECONDS = {"vllm": 1200, "slow": 900, "workflow": 900}
"""By marker, the first one counts; other tests have the limit of pyproject.toml. Several times what they take."""


@pytest.hookimpl(trylast=True)  # when all markers are there
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        seconds = [limit for name, limit in SECONDS.items() if item.get_closest_marker(name)]
        if seconds and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(seconds[0]))


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer() -> Generator[None, object, object]:
    """End what the test started before the test fails: afterwards nobody knows whose children they were."""
    before = descendants()
    result = yield
    fail = signal.getsignal(signal.SIGALRM)
    assert callable(fail)

    def end_children(number: int, frame: FrameType | None) -> None:
        for process in descendants() - before:
            with contextlib.suppress(psutil.Error):
                process.kill()
        fail(number, frame)

    signal.signal(signal.SIGALRM, end_children)
    return result


def descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))
