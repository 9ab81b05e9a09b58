"""What a study's jobs asked for, beside what they took by Snakemake's `benchmark:` files: the table of docs/scale.md.

PYTHONPATH=src python -m benchmarks.job_demands config.yaml results/smollm2/benchmarks
"""

from __future__ import annotations

import sys
from collections import defaultdict
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


def main() -> None:
    study, folder = sys.argv[1:]
    demands = study_demands(load_study(study))
    took: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for file in sorted(Path(folder).rglob("*.tsv")):
        rule, *rest = file.relative_to(folder).with_suffix("").parts
        names, values = (line.split("\t") for line in file.read_text().splitlines()[:2])
        row = dict(zip(names, values, strict=True))
        sweep = rest[0] if rule.startswith("steer") else ""
        took[rule, sweep].append((float(row["max_rss"]) * MEBIBYTE, float(row["s"]) / 60))
    sys.stdout.write("| job | MB taken | asked | ratio | minutes taken | asked |\n|---|---|---|---|---|---|\n")
    for (rule, sweep), jobs in took.items():
        memory, minutes = map(max, zip(*jobs, strict=True))
        room, time = asked(demands, rule, sweep)
        name = f"{rule} {sweep}".strip()
        sys.stdout.write(f"| {name} | {memory:,.0f} | {room:,} | {room / memory:.1f} | {minutes:.1f} | {time} |\n")


if __name__ == "__main__":
    main()
