"""Ends each job's pipe: all that the job says goes to its log file, and to the terminal what is worth reading there.

    command 2>&1 | python -m repurpose.study.jobs.job_log results/organism/logs/rollouts/0.log

Jobs run side by side, so no progress bar is drawn on the terminal: a job says a line of its own now and then, such as
`rollouts/0: 40 % done, 02:10 to go`. Other lines pass, each whole and with the job's name before it.
"""

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

LINE_END = re.compile(rb"[\r\n]")
BAR = re.compile(r"(?:(?P<what>[^|]*?):)? *(?P<percent>\d+)%\|.*\[[\d:]+<(?P<left>[\d:?]+)")
COUNTER = re.compile(r"(?:[^|]*?: *)?\d+\S* \[\d\d:\d\d, ")
"""A bar whose end is not known."""
SHARE, PAUSE, LONGEST_PAUSE = 20, 10.0, 300.0
"""Progress is told every so many per cent, but not within PAUSE seconds, and again after LONGEST_PAUSE in any case."""


class Filter:
    """Turns a job's output into the lines that are worth showing."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = name, clock
        self._rest, self._told, self._last = b"", 0, clock()

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines to show of what came; `b""` ends the output."""
        *lines, self._rest = LINE_END.split(self._rest + (data or b"\n"))
        for line in lines:
            if text := self._show(line.decode(errors="replace").rstrip()):
                yield f"{self._name}: {text}\n"

    def _show(self, line: str) -> str:
        if bar := BAR.match(line):
            return self._progress(int(bar["percent"]), bar["what"], bar["left"])
        return "" if COUNTER.match(line) else line

    def _progress(self, percent: int, what: str | None, left: str) -> str:
        waited = self._clock() - self._last
        self._told = min(self._told, percent)  # the next bar of several
        if waited < PAUSE or percent == 100 or (percent < self._told + SHARE and waited < LONGEST_PAUSE):
            return ""
        self._told, self._last = percent, self._clock()
        return f"{what + ' ' if what else ''}{percent} % done, {left} to go"


def job_name(log: Path) -> str:
    """A job's name by its log file: `rollouts/0` of results/organism/logs/rollouts/0.log."""
    *_, name = log.with_suffix("").as_posix().rpartition("/logs/")
    return name if "/logs/" in log.as_posix() else log.stem


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # the job's last words come after the signal; the pipe's end ends us
        signal.signal(number, signal.SIG_IGN)
    log = Path(sys.argv[1])
    shown = Filter(job_name(log))
    with log.open("wb", buffering=0) as file:
        while True:
            data = os.read(sys.stdin.fileno(), 1 << 16)
            with suppress(OSError):  # a full disk: what is said is shown all the same, and the job goes on
                file.write(data)
            for line in shown.feed(data):
                os.write(sys.stderr.fileno(), line.encode())
            if not data:
                return


if __name__ == "__main__":
    main()
