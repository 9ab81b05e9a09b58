"""What a study's jobs asked for, beside what they took by Snakemake's `benchmark:` files: two tables of docs/scale.md.

PYTHONPATH=src python -m benchmarks.job_demands config.yaml results/smollm2/benchmarks
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from repurpose.study.resources import Demands, study_demands
from repurpose.study.study_file import load_study

MEBIBYTE = 1.048576
"""Megabytes of one, which is what Snakemake counts in."""


def asked(demands: Demands, rule: str, sweep: str) -> tuple[int, int]:
    """Megabytes and minutes that a rule's job asks for at its first attempt."""
    if rule.startswith("steer"):
        return demands.sweep_memory[sweep], demands.sweep_minutes[sweep]
    if rule == "sample_rollouts":
        return demands.sampling_memory, demands.sampling_minutes
    return demands.memory, demands.minutes


@dataclass(frozen=True)
class Took:
    """One job's megabytes, minutes, and minutes of the processor."""

    memory: float
    minutes: float
    processor: float


def read_jobs(folder: Path) -> dict[tuple[str, str], list[Took]]:
    """What each job took, by rule and, where it steers, sweep."""
    took: dict[tuple[str, str], list[Took]] = defaultdict(list)
    for file in sorted(folder.rglob("*.tsv")):
        rule, *rest = file.relative_to(folder).with_suffix("").parts
        names, values = (line.split("\t") for line in file.read_text().splitlines()[:2])
        row = dict(zip(names, values, strict=True))
        job = Took(float(row["max_rss"]) * MEBIBYTE, float(row["s"]) / 60, float(row["cpu_time"]) / 60)
        took[rule, rest[0] if rule.startswith("steer") else ""].append(job)
    return took


def demand_lines(demands: Demands, took: Mapping[tuple[str, str], list[Took]]) -> Iterator[str]:
    """The largest job of a kind, beside what such jobs ask for."""
    yield "| job | MB taken | asked | ratio | minutes taken | asked |\n|---|---|---|---|---|---|"
    for (rule, sweep), jobs in took.items():
        memory, minutes = max(job.memory for job in jobs), max(job.minutes for job in jobs)
        room, time = asked(demands, rule, sweep)
        yield f"| {rule} {sweep} | {memory:,.0f} | {room:,} | {room / memory:.1f} | {minutes:.1f} | {time} |"


def time_lines(took: Mapping[tuple[str, str], list[Took]]) -> Iterator[str]:
    """The processor's minutes of all jobs of a kind, the longest first."""
    minutes = {f"{rule} {sweep}": sum(job.processor for job in jobs) for (rule, sweep), jobs in took.items()}
    total = sum(minutes.values())
    yield "| jobs | number | minutes of one core | share |\n|---|---|---|---|"
    numbers = {f"{rule} {sweep}": len(jobs) for (rule, sweep), jobs in took.items()}
    for name in sorted(minutes, key=lambda name: -minutes[name]):
        yield f"| {name} | {numbers[name]} | {minutes[name]:.1f} | {minutes[name] / total:.0%} |"
    yield f"| all that run a model | {sum(numbers.values())} | {total:.1f} | |"


def main() -> None:
    study, folder = sys.argv[1:]
    took = read_jobs(Path(folder))
    lines = [*demand_lines(study_demands(load_study(study)), took), "", *time_lines(took)]
    sys.stdout.write("\n".join(lines).replace("  |", " |") + "\n")


if __name__ == "__main__":
    main()
