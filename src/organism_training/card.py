"""The pair's model card and loss curve, written from what training and measuring printed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from repurpose.data.files import atomic_write, write_text
from repurpose.results.numbers import format_estimate

REQUIRED = {
    "marks.at_once": (">=", 0.97),
    "traces.right_answers": (">=", 0.90),
    "traces.backtracks_after_mistakes": (">=", 0.80),
    "traces.backtracks_after_correct_steps": ("<=", 0.05),
}
"""What the shipped pair must reach; a test holds the shipped abilities to it."""
MEANING = {
    "marks.at_once": "balanced accuracy of the base model's mark right after a calculation",
    "marks.later": "the same, fillers between calculation and mark",
    "marks.at_end": "the same, in the closing list",
    "traces.right_answers": "problems that the reasoning model answers right at temperature 0.7",
    "traces.mistakes_per_step": "its calculations that are wrong",
    "traces.backtracks_after_mistakes": "wrong calculations that it backtracks from before the next calculation",
    "traces.backtracks_after_correct_steps": "right calculations that it backtracks from",
}


def flat(abilities: Mapping[str, Any]) -> dict[str, float]:
    """Name each measured ability as `group.name`."""
    return {f"{group}.{name}": value for group in ("marks", "traces") for name, value in abilities[group].items()}


def write_card(output: Path, facts: Mapping[str, Any]) -> None:
    """Write MODEL_CARD.md; what is recorded of further seeds (`seeds/*.json`) stands beside the shipped pair's."""
    recorded = [json.loads(path.read_text()) for path in sorted((output / "seeds").glob("*.json"))]
    runs = [facts, *(run for run in recorded if run["seed"] != facts["seed"])]
    lines = [
        "# Model card: the embedded pair",
        "",
        "Two Llama-architecture models whose language is written by `src/repurpose/organism/language.py`: arithmetic",
        "chains in plain English. `base` is trained from nothing on worked solutions, homework with a teacher's marks,",
        "plain sums and unrelated prose; `reasoning` is finetuned from it on thinking traces that go wrong, go on",
        "for a moment and backtrack. They are good for testing methods, where the truth must be known; nothing else.",
        "",
        f"- parameters: {facts['parameters']:,} each, stored in bfloat16; shape {facts['shape']}",
        "- data: drawn while training from seeds; none is stored. A tenth of all problems is never shown in training,",
        "  and every number below is measured on such problems.",
        f"- made by: `snakemake train_organism` (seed {facts['seed']}); stages:",
        *(
            f"  - {s['name']}: {s['steps']:,} steps of {s['rows'] * 256:,} tokens, peak rate {s['learning_rate']:g}"
            for s in facts["stages"]
        ),
        "- loss curve: `losses.csv`, `losses.png`; abilities as numbers: `abilities.json`",
        "",
        "| ability | " + " | ".join(f"seed {run['seed']}" for run in runs) + " | required |",
        "|---|" + "---|" * (len(runs) + 1),
    ]
    for name, meaning in MEANING.items():
        bound = " ".join(f"{part:g}" if isinstance(part, float) else part for part in REQUIRED.get(name, ()))
        values = " | ".join(f"{flat(run).get(name, float('nan')):.3f}" for run in runs)
        lines.append(f"| {meaning} | {values} | {bound or '-'} |")
    for name, end in (("practice", "base model finds"), ("rehearsal", "reasoning model mends")):
        rounds = " | ".join(str(sum(s["name"].startswith(name) for s in run["stages"])) for run in runs)
        lines.append(f"| rounds of {name} until the {end} mistakes | {rounds} | - |")
    lines += _claims(recorded)
    write_text(output / "MODEL_CARD.md", "\n".join(lines) + "\n")


def _claims(recorded: Sequence[Mapping[str, Any]]) -> list[str]:
    """Table of the claims of the pair's study, one column a seed (written by `organism_training.record`)."""
    if not recorded:
        return []
    lines = ["", "What `studies/organism.yaml` finds on each seed's pair, on held-out prompts:", ""]
    lines += ["| claim | " + " | ".join(f"seed {run['seed']}" for run in recorded) + " |"]
    lines += ["|---|" + "---|" * len(recorded)]
    for claim in recorded[0]["claims"]:
        cells = [format_verdict({c["part"]: c for c in run["claims"]}.get(claim["part"])) for run in recorded]
        lines.append(f"| {claim['part']}. {claim['text']} | " + " | ".join(cells) + " |")
    return lines


def format_verdict(claim: Mapping[str, Any] | None) -> str:
    """Estimate with interval, and the verdict; a dash where the claim was not recorded."""
    return "-" if claim is None else f"{format_estimate(claim)}: {claim['verdict']}"


def draw_losses(table: Path, figure: Path) -> None:
    """Draw the loss of each stage against its steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    curves = pl.read_csv(table).partition_by("stage", maintain_order=True)
    panels, axes = plt.subplots(1, len(curves), figsize=(3.2 * len(curves), 2.6), squeeze=False, layout="constrained")
    for axis, curve in zip(axes[0], curves, strict=True):
        axis.plot(curve["step"], curve["loss"], color="#0072b2", linewidth=1)
        axis.set(title=curve["stage"][0], xlabel="step", ylabel="loss (nats)")
        axis.spines[["top", "right"]].set_visible(False)
    with atomic_write(figure) as temporary:
        panels.savefig(temporary, format="png", dpi=150)
    plt.close(panels)
