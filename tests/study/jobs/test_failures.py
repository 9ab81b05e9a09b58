"""What a run says last of its failed jobs, from logs as Snakemake writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from repurpose.study.jobs.failures import explain_failures, find_failures, last_words

FAILED = """[Mon Jan  1 00:00:00 2024]
Error in rule sample_rollouts:
    message: Sampling rollouts, shard 0
    jobid: 3
    input: results/a/prompts.parquet
    output: results/a/rollouts/0.parquet
    log: {log} (check log file(s) for error details)
    shell:
        python -m repurpose.rollouts.sampling --settings '{{}}' 2>&1 | log_to {log}
        (command exited with non-zero exit code)
"""
FINISHED = "[Mon Jan  1 00:00:01 2024]\nFinished jobid: 3 (Rule: sample_rollouts)\n3 of 9 steps (33%) done\n"
OTHER = FAILED.replace("jobid: 3", "jobid: 33").replace("sample_rollouts", "make_tables")


def test_each_failed_job_is_named_once_whatever_its_attempts() -> None:
    text = "Building DAG of jobs...\n" + FAILED.format(log="a.log") * 2 + OTHER.format(log="b.log")
    assert find_failures(text) == [("sample_rollouts", "a.log"), ("make_tables", "b.log")]


def test_a_job_that_succeeds_at_another_attempt_did_not_fail() -> None:
    assert find_failures(FAILED.format(log="a.log") + FINISHED) == []
    assert find_failures(OTHER.format(log="b.log") + FINISHED) == [("make_tables", "b.log")]


def test_a_job_without_a_log_is_named() -> None:
    text = "Error in rule all:\n    jobid: 0\n\n"
    assert find_failures(text) == [("all", "")]


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("a warning\nrepurpose rollouts.sampling: pair.base: no\n", ["repurpose rollouts.sampling: pair.base: no"]),
        ("repurpose a.b: first\nnoise\nrepurpose a.b: second\nnoise\n", ["repurpose a.b: second"]),
        ("one\ntwo\n 10%|#  | 1/10 [00:01<00:09]\rthree\n\nfour\n", ["two", "three", "four"]),
        ("Killed\n", ["Killed"]),
        ("", []),
    ],
)
def test_a_log_s_last_words(log: str, expected: list[str]) -> None:
    assert last_words(log) == expected


def test_what_is_said_of_a_run(tmp_path: Path) -> None:
    job, run = tmp_path / "job.log", tmp_path / "run.log"
    job.write_text("loading\nrepurpose rollouts.sampling: pair.base: no model\n")
    run.write_text(FAILED.format(log=job) + OTHER.format(log=tmp_path / "none.log"))
    assert explain_failures([str(run)]) == (
        f"\nsample_rollouts failed; {job} ends with:\nrepurpose rollouts.sampling: pair.base: no model\n"
        "\nmake_tables failed before it wrote a log\n"
    )
    assert explain_failures([]) == ""
