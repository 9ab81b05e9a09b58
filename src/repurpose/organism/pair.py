"""Make the embedded pair: train both models into a folder, measure what was saved."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import takewhile
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import torch.distributed as dist
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from repurpose.organism.abilities import heldout_documents, sample_traces, score_marks, score_traces
from repurpose.organism.tokenizer import train_tokenizer
from repurpose.organism.training import Shape, Stage, make_model, train
from repurpose.tables import write_text

STAGES = (
    Stage("drill", 650, 4e-3, cool_share=0.01, corpus="drill", ease_share=0.8),
    Stage("base", 1300, 3e-3, cool_share=0.5, ease_share=0.3),
    Stage("settle", 300, 1e-3, cool_share=0.8, corpus="settled", ease_share=0.01),
    Stage("reasoning", 550, 1.5e-3, cool_share=0.8, corpus="reasoning"),
    Stage("polish", 450, 1e-3, cool_share=0.8, corpus="reasoning"),
)
"""What the shipped weights were trained with: 4,096 tokens a step."""
PRACTICE = Stage("practice", 600, 2.5e-3, cool_share=0.5, ease_share=0.01)
"""Repeated after `base` until the model finds mistakes: that ability rises late, all at once, and for some seeds later
than for others, and nothing that a study asks of a pair is robust before it."""
PRACTICES = 5
ENOUGH = {"at_once": 0.97, "later": 0.97, "at_end": 0.9}
"""Balanced accuracy of the marks from which on there is no more practice."""
DOCUMENTS = 150
PROBLEMS = 300


def train_pair(rank: int, workers: int, output: Path, seed: int, scale: float, compiled: bool) -> None:
    """Train tokenizer, base and reasoning model into `output`, as one of several processes that share each batch."""
    torch.set_num_threads(1)  # two processes of one thread are faster than one of two, and do not stall each other
    if workers > 1:
        meeting = (output / ".checkpoints" / "meeting").resolve()
        dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=workers)
    tokenizer = train_tokenizer(seed=0)
    model = make_model(Shape(), tokenizer, seed)
    losses: dict[str, list[float]] = {}
    for stage in stages(scale, lambda: finds_mistakes(model, tokenizer, scale)):
        checkpoint = output / ".checkpoints" / f"{stage.name}-{seed}.safetensors"
        losses[stage.name] = train(model, tokenizer, stage, seed=seed, checkpoint=checkpoint, compiled=compiled)
        if stage.corpus != "drill" and rank == 0:
            _save(model, tokenizer, output / ("reasoning" if stage.corpus == "reasoning" else "base"))
    if rank == 0:
        _write_losses(output, losses)
    if workers > 1:
        dist.destroy_process_group()


def stages(scale: float, skilled: Callable[[], bool]) -> Iterator[Stage]:
    """Yield the stages, with as much practice after `base` as the model turns out to need."""
    for stage in STAGES:
        yield _scaled(stage, scale)
        if stage.name == "base":
            most = max(1, round(PRACTICES * min(1.0, scale)))
            rounds = (replace(PRACTICE, name=f"{PRACTICE.name}-{n}") for n in range(1, most + 1))
            yield from (_scaled(practice, scale) for practice in takewhile(lambda _: not skilled(), rounds))


def _scaled(stage: Stage, scale: float) -> Stage:
    return replace(stage, steps=max(2, round(stage.steps * scale)))


def finds_mistakes(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, scale: float) -> bool:
    """Whether the model's marks are good enough, on other documents than those that the card reports.

    The first process decides for all, so that none can train on while another goes further.
    """
    documents = heldout_documents(1, max(4, round(DOCUMENTS * min(1.0, scale))))
    marks = score_marks(model, tokenizer, documents)
    enough = torch.tensor([all(marks.get(place, 0.0) >= least for place, least in ENOUGH.items())], dtype=torch.int8)
    if dist.is_initialized():
        dist.broadcast(enough, src=0)
    return bool(enough)


def _save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save in bfloat16, half the bytes; the copy keeps training in float32."""
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write_losses(output: Path, losses: dict[str, list[float]]) -> None:
    """Write mean losses of ten steps each, of a shortened run each step's."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["stage", "step", "loss"])
    for stage, values in losses.items():
        every = 10 if len(values) >= 100 else 1
        for end in range(every, len(values) + 1, every):
            writer.writerow([stage, end, round(mean(values[end - every : end]), 4)])
    write_text(output / "losses.csv", text.getvalue())


def _trained(output: Path, scale: float) -> list[Stage]:
    """The stages that the loss curve has."""
    with (output / "losses.csv").open(encoding="utf-8") as file:
        names = {row["stage"] for row in csv.DictReader(file)}
    done = sum(name.startswith(f"{PRACTICE.name}-") for name in names)
    left = iter(range(done))
    return list(stages(scale, lambda: next(left, None) is None))


def measure(output: Path, seed: int, scale: float) -> dict[str, Any]:
    """Measure the saved weights, as a user loads them, on problems that training never showed.

    Returns:
        The card's facts: settings and abilities.
    """
    count = max(4, round(PROBLEMS * min(1.0, scale)))
    base = LlamaForCausalLM.from_pretrained(output / "base", dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(output / "base")
    marks = score_marks(base, tokenizer, heldout_documents(0, max(4, count * DOCUMENTS // PROBLEMS)))
    reasoning = LlamaForCausalLM.from_pretrained(output / "reasoning", dtype=torch.float32).eval()
    problems, texts = sample_traces(reasoning, tokenizer, count, seed=0)
    return {
        "seed": seed,
        "scale": scale,
        "shape": asdict(Shape()),
        "stages": [asdict(stage) for stage in _trained(output, scale)],
        "parameters": base.num_parameters(),
        "marks": marks,
        "traces": score_traces(problems, texts),
    }
