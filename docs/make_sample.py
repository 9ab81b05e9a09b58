"""Record finished runs of our two pairs' studies, and write what README and docs quote of them.

    python docs/make_sample.py results/smollm2 results/organism     records either or both, then as below
    python docs/make_sample.py                      README.md and docs/comparison.md from what is recorded

A run of the default study is recorded in resources/smollm2/results, one of the embedded pair's in resources/organism:
its claims (`seeds/`, one file a training seed) and the model card.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from organism_training.card import format_verdict
from organism_training.record import record
from repurpose.data.csv_tables import read_csv, to_csv
from repurpose.directions.probes import probe_study

ROOT = Path(__file__).parents[1]
SMOLLM2 = ROOT / "resources" / "smollm2" / "results"
ORGANISM = ROOT / "resources" / "organism"
COMPARISON = ROOT / "docs" / "comparison.md"
COPIED = ("claims.md", "claims.csv", "report.html", "tables/*.csv", "figures/*.svg")
BEGIN = "<!-- numbers: written by `make sample` -->"
END = "<!-- end of numbers -->"
QUESTIONS = {"behaviour": "the next sentence backtracks", "mistake": "the last calculation is wrong"}
"""What probes are asked, in words."""
ROWS = {
    "1b": "words that are “wait” or “hmm”: the base model's direction, added to the reasoning model",
    "1c": "sentences that backtrack, by their label: change",
    "+j": "*right* calculations that the model then backtracks from",
    "2a": "“wait” and “hmm” when the base model itself is steered, where its text is coherent",
    "3a": "cosine of the two models' directions, on disjoint prompts, noise taken out",
    "5c": "change, in times that of the strongest control",
}
"""Parts of claims that the README quotes, and what each is the number of."""
PUBLISHED = {
    "1a": "+35.4 points, at norm 12",
    "1b": "36.1 %, at norm 12; no fixed random directions",
    "1c": "keywords held against GPT-4o's labels in one table (C.1)",
    "2a": "about 0 at every norm (Fig. 3)",
    "2b": "about 0 at every norm (Fig. 3)",
    "3a": "0.74; no reference, noise left in",
    "4a": "does not decode to “wait” or “but” (Fig. 5)",
    "5a": "36.1 % against at most 4.0 % (noise, norm 20)",
    "5c": "9 times the best control, at any norm",
    "6a": "shown on one text (Fig. 6)",
    "6b": "shown on one text (Fig. 6)",
    "+b": "up to 4.0 % from 0.7 %",
}
"""What Ward et al. found for Llama-3.1-8B and R1-Distill-Llama-8B, in the paper or in the files published with it: on
the prompts that vectors were computed on, without intervals."""


class Column(NamedTuple):
    """The claims of one pair by part."""

    title: str
    claims: dict[str, dict[str, Any]]


def copy_results(results: Path) -> None:
    """Copy what a reader may want to see before running anything."""
    shutil.rmtree(SMOLLM2, ignore_errors=True)
    for file in (file for pattern in COPIED for file in sorted(results.glob(pattern))):
        target = SMOLLM2 / file.relative_to(results)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    (SMOLLM2 / "probes.csv").write_text(to_csv(probe_study(results, None)), encoding="utf-8")


def columns() -> list[Column]:
    """The recorded pairs: that of others' base model, then the embedded ones by training seed."""
    found = [Column("SmolLM2 pair", {claim["part"]: claim for claim in read_csv(SMOLLM2 / "claims.csv").to_dicts()})]
    for file in sorted((ORGANISM / "seeds").glob("*.json")):
        claims = json.loads(file.read_text(encoding="utf-8"))["claims"]
        found.append(Column(f"embedded pair, seed {file.stem}", {claim["part"]: claim for claim in claims}))
    parts = found[0].claims.keys()
    return [
        one if one.claims.keys() == parts else Column(f"{one.title} (by earlier rules)", one.claims) for one in found
    ]


def rivals(part: str, claim: dict[str, Any]) -> str:
    """What the estimate is compared with, in words."""
    threshold = claim["threshold"]
    return {
        "1b": f"{_share('none')} unsteered, {_share('best random')} for the best random direction",
        "1c": "0",
        "+j": "the upper end of the strongest control"
        if threshold is None
        else f"{100 * threshold:.0f} %, the upper end of the strongest control",
        "2a": f"below {100 * threshold:.0f} %",
        "3a": f"{threshold:.3g}, the most alike other pair",
        "5c": f"{threshold:g}",
    }[part]


def _share(which: str) -> str:
    """Keyword share with its interval, of the unsteered model or of the strongest random direction."""
    rows = read_csv(SMOLLM2 / "tables" / "baselines.csv").to_dicts()
    best = [row for row in rows if row["best_random"] and row["best"]]
    (row,) = [row for row in rows if row["direction"] == "none"] if which == "none" else best or [{}]
    if not row:
        return "incoherent"
    share, low, high = (100 * float(row[name]) for name in ("share", "low", "high"))
    return f"{share:.2f} % ({low:.2f} to {high:.2f})"


def overall() -> str:
    """The verdict on each of the paper's claims, in one sentence."""
    page = (SMOLLM2 / "claims.md").read_text(encoding="utf-8")
    verdicts = re.findall(r"^\| (\d)\. .* \| \*\*(.+)\*\* \|$", page.partition("\n## ")[0], re.MULTILINE)
    said = ", ".join(f"{number} {verdict}" for number, verdict in verdicts)
    return f"The verdicts on the paper's claims, for the SmolLM2 pair: {said}."


def write_numbers() -> Iterator[str]:
    """The README's table and the line under it."""
    ours, embedded, *_ = columns()
    yield f"| on held-out prompts, with 95 % intervals | {ours.title} | compared with | {embedded.title} |"
    yield "|---|---|---|---|"
    for part, meaning in ROWS.items():
        claim = ours.claims[part]
        cells = (meaning, format_verdict(claim), rivals(part, claim), format_verdict(embedded.claims.get(part)))
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield overall()


def write_comparison() -> Iterator[str]:
    """The page that holds all claims of all pairs against what was published."""
    found = columns()
    titles = [column.title for column in found]
    yield "# Every claim, on every pair"
    yield ""
    yield "Where do a real small model, a toy language and Llama-8B agree? Estimates with 95 % intervals on"
    yield "held-out prompts, and the verdicts of the rules in [claims.md](../resources/smollm2/results/claims.md)."
    yield "The last column is what Ward et al. report for Llama-3.1-8B and R1-Distill-Llama-8B, on the prompts that"
    yield "their vectors come from and without intervals. `make sample` writes this page."
    yield ""
    yield f"| claim | {' | '.join(titles)} | Ward et al. |"
    yield "|---|" + "---|" * (len(titles) + 1)
    for part, claim in found[0].claims.items():
        cells = [format_verdict(column.claims.get(part)) for column in found]
        yield f"| {part}. {claim['text']} | {' | '.join(cells)} | {PUBLISHED.get(part, '-')} |"
    yield ""
    yield from write_probes()


def write_probes() -> Iterator[str]:
    """What the activations of the recorded study tell, at the selected window."""
    (start,) = read_csv(SMOLLM2 / "tables" / "selection_stability.csv").filter(selected=True)["window_start"]
    table = read_csv(SMOLLM2 / "probes.csv").filter(window_start=start)
    layers = sorted(table["layer"].unique())
    yield "## What the SmolLM2 pair's activations tell"
    yield ""
    yield "AUROC on held-out prompts, with 95 % intervals, of `repurpose probes` on windows that start"
    yield f"{-start} tokens before a sentence ([method.md](method.md#where-a-chain-breaks) says what they are;"
    yield "all windows: [probes.csv](../resources/smollm2/results/probes.csv))."
    yield ""
    yield f"| does the window tell that | probe | model read | {' | '.join(f'layer {layer}' for layer in layers)} |"
    yield "|---|---|---|" + "---|" * len(layers)
    for (question, probe, reader), rows in table.group_by("question", "probe", "reader", maintain_order=True):
        cells = [f"{row['auroc']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for row in rows.sort("layer").to_dicts()]
        yield f"| {QUESTIONS[str(question)]} | {probe} | {reader} | {' | '.join(cells)} |"


def fill(text: str) -> str:
    """The README with its block of numbers written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, *write_numbers(), END]) + after


def main() -> None:
    for results in map(Path, sys.argv[1:]):
        if results.name == "organism":
            record(ORGANISM, results, ORGANISM)
        else:
            copy_results(results)
    readme = ROOT / "README.md"
    readme.write_text(fill(readme.read_text(encoding="utf-8")), encoding="utf-8")
    COMPARISON.write_text("\n".join(write_comparison()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
