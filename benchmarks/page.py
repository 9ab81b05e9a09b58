"""README.md of this folder from results.json: a pure function, so the page holds no number that was not measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.race import median_seconds
from benchmarks.sweep import FIXED_BATCHES, PLACES_TAKEN

HEAD = """# Speed, beside the peers

<!-- written by `make bench` from results.json; a change here is lost -->

`make bench` measures this project's hot paths and those of other libraries, each in an environment and a process of its
own, with the same weights, inputs and batches. What they return is compared after the first round, and where it differs
there is no table. A speed is the median over the rounds; beside it stand the slowest and the fastest. Seconds are of
the process's CPU time, on one thread, so that other jobs on the machine count little: they still share its caches. Peak
memory is that of the process while it runs, with Python, libraries and weights. The floor is the least that the work
can cost by plain means.

Models are random and float32: Llama-3.1-8B's shape with every width an eighth (512 wide), so that a run takes seconds.

![Speed in times of the floor](speed.svg)
"""

FOOT = """## On a GPU

Nothing on this page was measured on a GPU, and the two scripts for one have not been run on any yet. They are there,
and run in small on a CPU (the first in `tests/benchmarks`, the second by hand):

- `PYTHONPATH=src .venv/bin/python -m benchmarks.extraction --shape llama-3.1-8b --dtype bfloat16 --help` reads
  activations of a random Llama of that shape, made on the GPU: tokens a second beside a bare forward pass, the share
  of the speed that a large product of bfloat16 matrices reaches on the same GPU, and the peak of memory.
- `PYTHONPATH=src envs/.venvs/vllm/bin/python -m benchmarks.engines --model PATH` writes with vLLM and with
  transformers, steered and not, after their tokens and log-probabilities were compared ([engines](../docs/engines.md)).

## Other scripts here

`python -m benchmarks.scale` grows a synthetic study to a million rollouts, and `python -m benchmarks.job_demands`
holds what jobs asked for against what they took ([scale](../docs/scale.md)). `python -m benchmarks --page` writes this
page again without measuring; `--only sweep` measures one part anew.
"""


class Bar(NamedTuple):
    """A number that was asked for before it was measured."""

    text: str
    measured: float
    limit: float
    at_least: bool

    @property
    def is_met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def render(results: Mapping[str, Any]) -> str:
    """The page, in Markdown."""
    parts = [line for name, part in results.items() for line in part_lines(name, part)]
    return "\n".join([HEAD, *bar_lines(list(bars(results))), *parts, FOOT])


def bars(results: Mapping[str, Any]) -> Iterator[Bar]:
    """What was asked for, of what was measured."""
    tables = tables_by_key(results)
    if "ragged" in tables:
        speeds = speeds_of(tables["ragged"])
        taken = speeds[PLACES_TAKEN]
        yield Bar(
            "texts that end by themselves: places taken, against `generate`", taken / floor_speed(speeds), 1.5, True
        )
        yield Bar("the same, against our engine batch after batch", taken / speeds[FIXED_BATCHES], 1.5, True)
    for key, text in (("store-write", "writing activations"), ("store-read", "reading a layer")):
        if key in tables:
            speeds = speeds_of(tables[key])
            yield Bar(f"{text}, against `np.save`", speeds["ours"] / floor_speed(speeds), 0.7, True)
    if "store-write" in tables:
        written = next(entry["bytes"] for entry in tables["store-write"]["entries"] if entry["role"] == "ours")
        yield Bar(
            "bytes on the disk, in times of the numbers'", written / tables["store-write"]["amount"] / 1e6, 1.03, False
        )
    if "vectors" in tables:
        floor, ours = speeds_of(tables["vectors"]).values()
        yield Bar("time of vectors and resamples, in passes over memory", floor / ours, 3, False)
    if "wall" in results.get("rerun", {}):
        yield Bar("seconds until a finished study says so", statistics.median(results["rerun"]["wall"]), 2, False)


def tables_by_key(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {table["key"]: table for part in results.values() for table in part.get("tables", [])}


def speeds_of(table: Mapping[str, Any]) -> dict[str, float]:
    """Median speed by label; the floor comes first."""
    return {entry["label"]: table["amount"] / median_seconds(entry) for entry in table["entries"]}


def floor_speed(speeds: Mapping[str, float]) -> float:
    return next(iter(speeds.values()))


def bar_lines(found: list[Bar]) -> Iterator[str]:
    """The table of what was asked for."""
    if found:
        yield "| asked for | bar | measured | met |\n|---|---|---|---|"
        for bar in found:
            limit = f"{'at least' if bar.at_least else 'at most'} {bar.limit:g}"
            yield f"| {bar.text} | {limit} | {number(bar.measured)} | {'yes' if bar.is_met else '**no**'} |"
        yield ""


def part_lines(name: str, part: Mapping[str, Any]) -> Iterator[str]:
    """One part: its tables, then where and when."""
    for table in part.get("tables", []):
        yield from table_lines(table)
    if name == "rerun":
        yield from rerun_lines(part)
    where = f"{part['cpu_model']}, {part['cores']} cores, {part['memory_gb']} GB; Python {part['python']}"
    yield f"*{where}{versions_line(part)}; {part['rounds']} rounds; {part['date']}, commit {part['commit']}.*\n"


def rerun_lines(part: Mapping[str, Any]) -> Iterator[str]:
    """How long nothing takes."""
    yield "## A finished study, run again\n"
    if "skipped" in part:
        yield f"Not measured: {part['skipped']}.\n"
        return
    wall, cpu = (", ".join(f"{seconds:.2f}" for seconds in part[name]) for name in ("wall", "cpu"))
    yield f"`snakemake --cores 1` of the study {part['study']}, where nothing is to do: {wall} seconds, of which the "
    yield f"processor worked {cpu}.\n"


def versions_line(part: Mapping[str, Any]) -> str:
    """Versions in this project's own environment."""
    return "".join(f", {name} {version}" for name, version in sorted(own_versions(part).items()))


def own_versions(part: Mapping[str, Any]) -> Mapping[str, str]:
    entries = (entry for table in part.get("tables", []) for entry in table["entries"] if entry["role"] == "ours")
    return next((entry["versions"] for entry in entries), {})


def table_lines(table: Mapping[str, Any]) -> Iterator[str]:
    """A table with its heading, and what is missing from it."""
    floor = next(entry for entry in table["entries"] if entry["role"] == "floor")
    ours = next(entry for entry in table["entries"] if entry["role"] == "ours")
    yield f"## {table['title']}\n"
    yield f"{table['text']} Compared: {table['equal']}.\n"
    yield f"| | {table['unit']}/s | slowest, fastest | times the floor | peak memory, MB | versions unlike ours |"
    yield "|---|---|---|---|---|---|"
    for entry in table["entries"]:
        yield row(table, entry, floor, ours["versions"])
    for gone in table["missing"]:
        yield f"| {gone['label']} | not measured: {gone['reason']} | | | | |"
    yield ""


def row(table: Mapping[str, Any], entry: Mapping[str, Any], floor: Mapping[str, Any], ours: Mapping[str, str]) -> str:
    """One entry."""
    speeds = [table["amount"] / seconds for seconds in entry["cpu"]]
    label = f"**{entry['label']}**" if entry["role"] == "ours" else entry["label"]
    others = {name: version for name, version in sorted(entry["versions"].items()) if ours.get(name) != version}
    cells = [
        label + (" (floor)" if entry is floor else ""),
        number(statistics.median(speeds)),
        f"{number(min(speeds))}, {number(max(speeds))}",
        f"{ratio(entry, floor):.2f}",
        f"{entry['peak_mb']:,.0f}",
        ", ".join(f"{name} {version}" for name, version in others.items()),
    ]
    return f"| {' | '.join(cells)} |"


def ratio(entry: Mapping[str, Any], floor: Mapping[str, Any]) -> float:
    """An entry's speed in times of the floor's."""
    return median_seconds(floor) / median_seconds(entry)


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
