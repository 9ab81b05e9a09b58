"""Make the embedded pair: train both models into a folder, measure what was saved."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import Any

import polars as pl
import torch
import torch.distributed as dist
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from organism_training.abilities import heldout_documents, sample_traces, score_marks, score_traces
from organism_training.tokenizer import train_tokenizer
from organism_training.training import Shape, Stage, make_model, train
from repurpose.data.files import write_text

STAGES = (
    Stage("drill", 650, 4e-3, cool_share=0.01, corpus="drill", ease_share=0.8),
    Stage("base", 1300, 3e-3, cool_share=0.5, ease_share=0.3),
    Stage("settle", 300, 1e-3, cool_share=0.8, corpus="settled", ease_share=0.01),
    Stage("reasoning", 550, 1.5e-3, cool_share=0.8, corpus="reasoning"),
    Stage("polish", 450, 1e-3, cool_share=0.8, corpus="reasoning"),
)
"""What the shipped weights were trained with: 4,096 tokens a step."""
PRACTICE = {
    "base": Stage("practice", 900, 3e-3, cool_share=0.4, corpus="faltering", ease_share=0.6),
    "polish": Stage("rehearsal", 450, 1e-3, cool_share=0.8, corpus="reasoning"),
}
"""Repeated after a stage until the model finds mistakes, and mends them. These abilities rise late and all at once, and
not for every seed by themselves: a base model can find mistakes at the marks alone, looking back from each, and carry
nothing through the sentences between (its closing lists of marks are then no better than guesses); no vector is read
from such a model. Practice makes the step's own last token tell the mistake."""
ROUNDS = 3
"""At most."""
ENOUGH = {
    "base": {"at_once": 0.97, "later": 0.97, "at_end": 0.7},
    "polish": {"right_answers": 0.9, "backtracks_after_mistakes": 0.85},
}
"""From which on there is no more of it, on other documents and problems than those that the card reports."""
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
    for stage in stages(scale, lambda name: is_skilled(model, tokenizer, name, scale)):
        checkpoint = output / ".checkpoints" / f"{stage.name}-{seed}.pt"
        losses[stage.name] = train(model, tokenizer, stage, seed=seed, checkpoint=checkpoint, compiled=compiled)
        if stage.corpus != "drill" and rank == 0:
            folder = output / ("reasoning" if stage.corpus == "reasoning" else "base")
            copy = LlamaForCausalLM(model.config).bfloat16()  # half the bytes; the model keeps training in float32
            copy.load_state_dict(model.state_dict())
            copy.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    if rank == 0:
        _write_losses(output, losses)
    if workers > 1:
        dist.destroy_process_group()


def stages(scale: float, skilled: Callable[[str], bool]) -> Iterator[Stage]:
    """Yield the stages, with as much practice after one as the model turns out to need.

    Args:
        scale: share of each stage's steps.
        skilled: whether what a stage is to teach is there; asked after it, and after each round of practice.
    """

    def scaled(stage: Stage, name: str) -> Stage:
        return replace(stage, name=name, steps=max(2, round(stage.steps * scale)))

    for stage in STAGES:
        yield scaled(stage, stage.name)
        practice = PRACTICE.get(stage.name)
        for number in range(1, max(1, round(ROUNDS * min(1.0, scale))) + 1):
            if practice is None or skilled(stage.name):
                break
            yield scaled(practice, f"{practice.name}-{number}")


def is_skilled(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, stage: str, scale: float) -> bool:
    """Whether the model can do what a stage is to teach; the first process decides, so that none trains on alone."""
    count = max(4, round(DOCUMENTS * min(1.0, scale)))
    model.eval()
    if stage == "base":
        scores = score_marks(model, tokenizer, heldout_documents(1, count))
    else:
        scores = score_traces(*sample_traces(model, tokenizer, count, seed=1))
    enough = torch.tensor([all(scores.get(name, 0.0) >= least for name, least in ENOUGH[stage].items())])
    if dist.is_initialized():
        dist.broadcast(enough, src=0)
    return bool(enough)


def _write_losses(output: Path, losses: dict[str, list[float]]) -> None:
    """Write mean losses of ten steps each, of a shortened run each step's."""
    rows = [
        {"stage": stage, "step": end, "loss": round(mean(values[end - every : end]), 4)}
        for stage, values in losses.items()
        for every in [10 if len(values) >= 100 else 1]
        for end in range(every, len(values) + 1, every)
    ]
    write_text(output / "losses.csv", pl.DataFrame(rows).write_csv())


def measure(output: Path, seed: int, scale: float) -> dict[str, Any]:
    """The card's facts: settings, and abilities of the saved weights on problems that training never showed."""
    count = max(4, round(PROBLEMS * min(1.0, scale)))
    base = LlamaForCausalLM.from_pretrained(output / "base", dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(output / "base")
    marks = score_marks(base, tokenizer, heldout_documents(0, max(4, count * DOCUMENTS // PROBLEMS)))
    reasoning = LlamaForCausalLM.from_pretrained(output / "reasoning", dtype=torch.float32).eval()
    trained = set(pl.read_csv(output / "losses.csv")["stage"])
    return {
        "seed": seed,
        "scale": scale,
        "shape": asdict(Shape()),
        "stages": [asdict(stage) for stage in stages(scale, lambda _: False) if stage.name in trained],
        "parameters": base.num_parameters(),
        "marks": marks,
        "traces": score_traces(*sample_traces(reasoning, tokenizer, count, seed=0)),
    }
