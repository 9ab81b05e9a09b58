"""Says at the end of a run why jobs failed: the one line that each step ends with, once more and last.

Standard library only, because the Snakefile imports it.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from repurpose.study.jobs.job_log import BAR

EVENT = re.compile(
    r"^Error in (?:rule|checkpoint) (?P<rule>\w+):\n(?P<body>(?: .*\n?)*)|^Finished jobid: (?P<finished>\d+)",
    re.MULTILINE,
)
JOB = re.compile(r"^ +jobid: (\d+)$", re.MULTILINE)
LOG = re.compile(r"^ +log: (.*?) \(check log file", re.MULTILINE)
OWN_LINE = re.compile(r"^repurpose [\w.]+: ")
"""How a step says what is wrong with the study, a model or a table."""
LAST_LINES = 3


def explain_failures(run_logs: Iterable[str]) -> str:
    """Return two lines or a few for each job that failed in a run, from Snakemake's own log files of it."""
    text = "".join(Path(file).read_text(encoding="utf-8", errors="replace") for file in run_logs)
    told = ""
    for rule, log in find_failures(text):
        if Path(log).is_file():
            words = last_words(Path(log).read_text(encoding="utf-8", errors="replace"))
            told += "\n".join([f"\n{rule} failed; {log} ends with:", *words, ""])
        else:
            told += f"\n{rule} failed before it wrote a log\n"
    return told


def find_failures(run_log: str) -> list[tuple[str, str]]:
    """Rule and log file (or empty) of each job that failed and did not succeed at another attempt, in their order."""
    failed: dict[str, tuple[str, str]] = {}
    for event in EVENT.finditer(run_log):
        if event["finished"]:
            failed.pop(event["finished"], None)
        elif job := JOB.search(event["body"]):
            log = LOG.search(event["body"])
            failed[job[1]] = event["rule"], log[1] if log else ""
    return list(failed.values())


def last_words(log: str) -> list[str]:
    """The step's own line of a job's log, or the last lines where it has none."""
    lines = [line for line in log.splitlines() if line.strip() and not BAR.match(line)]
    own = [line for line in lines if OWN_LINE.match(line)]
    return own[-1:] or lines[-LAST_LINES:]
