"""Put a finished run of the default study into docs/sample and its numbers into README.md and the model card.

    python docs/make_sample.py results/organism     the sample, the model card, the README
    python docs/make_sample.py                      the README alone, from what is recorded

The numbers come from resources/organism/seeds/*.json, one file a training seed, and docs/sample/baselines.csv.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from organism_training.card import format_verdict
from organism_training.record import record

ROOT = Path(__file__).parents[1]
PAIR = ROOT / "resources" / "organism"
SAMPLE = ROOT / "docs" / "sample"
COPIED = ("claims.md", "claims.csv", "report.html", "tables/baselines.csv", "figures/2x2.svg")
BEGIN = "<!-- numbers: written by `make sample` -->"
END = "<!-- end of numbers -->"
ROWS = {
    "1b": "words that are “wait” or “hmm”: the base model's direction, added to the reasoning model",
    "1c": "sentences that backtrack, by their label: change",
    "+j": "*right* calculations that the model then backtracks from",
    "2a": "“wait” and “hmm” when the base model itself is steered, where its text is coherent",
    "3a": "cosine of the two models' directions, on disjoint prompts, noise taken out",
    "+f": "the base model's log-odds of marking a calculation as a mistake: change in nats",
}
"""Parts of claims that the README quotes, and what each is the number of."""


def copy_sample(results: Path) -> None:
    """Copy what a reader may want to see before running anything."""
    SAMPLE.mkdir(exist_ok=True)
    for name in COPIED:
        shutil.copyfile(results / name, SAMPLE / Path(name).name)


def recorded() -> list[dict[str, dict[str, Any]]]:
    """The claims of each recorded training seed, by part; the shipped pair's first."""
    files = sorted((PAIR / "seeds").glob("*.json"))
    return [{claim["part"]: claim for claim in json.loads(file.read_text())["claims"]} for file in files]


def rivals(part: str, claim: dict[str, Any]) -> str:
    """What the estimate is compared with, in words."""
    threshold = claim["threshold"]
    return {
        "1b": f"{_share('none')} unsteered, {_share('best random')} for the best random direction",
        "1c": "0",
        "+j": f"{100 * threshold:.0f} %, the upper end of the strongest control",
        "2a": f"below {100 * threshold:.0f} %",
        "3a": f"{threshold:g}",
        "+f": f"{threshold:.1f}, the upper end of the best random direction",
    }[part]


def _share(which: str) -> str:
    """Keyword share with its interval, of the unsteered model or of the strongest random direction."""
    with (SAMPLE / "baselines.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    best = [row for row in rows if row["best_random"] == row["selected"] == "true"]
    (row,) = [row for row in rows if row["direction"] == "none"] if which == "none" else best
    share, low, high = (100 * float(row[name]) for name in ("share", "low", "high"))
    return f"{share:.2f} % ({low:.2f} to {high:.2f})"


def overall() -> str:
    """The verdict on each of the paper's claims, in one sentence."""
    page = (SAMPLE / "claims.md").read_text(encoding="utf-8")
    verdicts = re.findall(r"^\| (\d)\. .* \| \*\*(.+)\*\* \|$", page.partition("\n## ")[0], re.MULTILINE)
    said = ", ".join(f"{number} {verdict}" for number, verdict in verdicts)
    return f"The verdicts on the paper's claims, for the shipped pair: {said}."


def write_numbers() -> Iterator[str]:
    """The README's table and the line under it."""
    shipped, *others = recorded()
    yield "| on held-out prompts, with 95 % intervals | the shipped pair | compared with | a second seed |"
    yield "|---|---|---|---|"
    for part, meaning in ROWS.items():
        seeds = " | ".join(format_verdict(seed.get(part)) for seed in others)
        yield f"| {meaning} | {format_verdict(shipped[part])} | {rivals(part, shipped[part])} | {seeds} |"
    yield ""
    yield overall()


def fill(text: str) -> str:
    """The README with its block of numbers written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, *write_numbers(), END]) + after


def main() -> None:
    for results in sys.argv[1:]:
        copy_sample(Path(results))
        record(PAIR, Path(results), PAIR)
    readme = ROOT / "README.md"
    readme.write_text(fill(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
