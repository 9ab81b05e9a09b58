"""Training of the embedded pair: the base model from nothing, the reasoning model from the base model.

Knows batches, losses and schedules; knows nothing of studies. Every batch is drawn from a seed of its own, so the
data do not depend on the number of loader processes, and marks weigh more than other tokens, because the
ability to tell a mistake rises late and the study stands on it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from repurpose.organism.corpus import BEGIN, MARKS, write_base, write_reasoning

ROW = 256
"""Tokens in a training row; rows begin with a document and are filled with further ones."""
IGNORED = -100


@dataclass(frozen=True)
class Stage:
    """One stage of training: its name, length and optimiser."""

    name: str
    steps: int
    rows: int
    learning_rate: float
    """Peak rate of AdamW, warmed up over `warmup` steps and decayed linearly to a tenth."""
    warmup: int = 100
    mark_weight: float = 5.0
    """Weight of the loss at the teacher's marks."""
    ease_share: float = 0.5
    """Share of the stage over which the base corpus goes from easy to hard."""


@dataclass(frozen=True)
class Shape:
    """Size of the pair's Llama models."""

    hidden: int = 256
    layers: int = 6
    feed_forward: int = 512
    heads: int = 4
    kv_heads: int = 2


def make_model(shape: Shape, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Build a randomly initialised Llama model, seeded."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """Batches of packed rows: batch i of a stage is a function of (seed, stage, i) alone.

    Each item is (token ids, labels), both (rows, ROW + 1) int64; labels are IGNORED where there is no loss.
    """

    def __init__(self, stage: Stage, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self.stage, self.tokenizer, self.seed = stage, tokenizer, seed
        self.pad = tokenizer.pad_token_id
        self.begin = tokenizer.convert_tokens_to_ids(BEGIN)

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = random.Random(f"{self.stage.name}-{self.seed}-{index}")
        rows = [self._row(rng, index) for _ in range(self.stage.rows)]
        ids, labels = zip(*rows, strict=True)
        return torch.tensor(ids), torch.tensor(labels)

    def _row(self, rng: random.Random, index: int) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        labels: list[int] = []
        while len(ids) <= ROW:
            prompt, text = self._document(rng, index)
            ids += prompt + text
            labels += [IGNORED] * len(prompt) + text
        return ids[: ROW + 1], labels[: ROW + 1]

    def _document(self, rng: random.Random, index: int) -> tuple[list[int], list[int]]:
        if self.stage.name == "reasoning":
            prompt, text = write_reasoning(rng)
            return [self.begin, *self._ids(prompt)], self._ids(text)
        ease = 1 - index / (self.stage.ease_share * self.stage.steps)
        return [self.begin], self._ids(write_base(rng, max(0.0, ease)))

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    stage: Stage,
    *,
    seed: int,
    workers: int = 1,
    compiled: bool = False,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train the model in place through one stage.

    Args:
        on_step: called with (step, loss); the loss is the weighted mean cross entropy in nats per token.
    """
    device = next(model.parameters()).device
    weights = torch.ones(len(tokenizer), device=device)
    weights[[tokenizer.convert_tokens_to_ids(mark) for mark in MARKS.values()]] = stage.mark_weight
    optimisers = _optimisers(model, stage)
    model.set_attn_implementation("eager")  # on CPUs twice as fast in the backward pass as the fused kernel
    forward = torch.compile(model) if compiled else model
    for step, (ids, labels) in enumerate(_load(stage, tokenizer, seed, workers)):
        ids, labels = ids.to(device), labels.to(device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = forward(input_ids=ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), labels[:, 1:].flatten(), weight=weights
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = _rate(stage, step)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        on_step(step, loss.detach())


def _optimisers(model: LlamaForCausalLM, stage: Stage) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, head and norms.

    The ability to tell a mistake needs far fewer tokens under Muon than under AdamW alone.
    """
    inside = [p for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2]
    chosen = {id(p) for p in inside}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    if not MUON:
        inside, rest = [], inside + rest
    adam = torch.optim.AdamW(rest, lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    if not inside:
        return [adam]
    muon = torch.optim.Muon(inside, lr=stage.learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    return [muon, adam]


MUON = True


def _rate(stage: Stage, step: int) -> float:
    warm = min(1.0, (step + 1) / stage.warmup)
    return stage.learning_rate * warm * (1 - 0.9 * step / stage.steps)


def _load(
    stage: Stage, tokenizer: PreTrainedTokenizerFast, seed: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    batches = Batches(stage, tokenizer, seed)
    yield from DataLoader(batches, batch_size=None, shuffle=False, num_workers=workers)


def detect(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, documents: list[str]
) -> dict[str, float]:
    """Balanced accuracy of the mark that the model finds likelier, over all marks of the documents.

    Returns:
        `at_once` for marks right after their step, `later` for the other inline marks, `at_end` for the final list.
    """
    right, wrong = (tokenizer.convert_tokens_to_ids(MARKS[k]) for k in (True, False))
    hits: dict[tuple[str, int], list[bool]] = {}
    device = next(model.parameters()).device
    for text in documents:
        encoding = tokenizer.backend_tokenizer.encode(text)
        ids = torch.tensor([encoding.ids], device=device)
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        for position in range(1, ids.shape[1]):
            truth = int(ids[0, position])
            if truth not in (right, wrong):
                continue
            guess = right if logits[position - 1, right] > logits[position - 1, wrong] else wrong
            hits.setdefault((_place(text, encoding.offsets[position][0]), truth), []).append(guess == truth)
    means = {key: sum(values) / len(values) for key, values in hits.items()}
    places = {place for place, _ in hits}
    return {p: (means.get((p, right), 0.0) + means.get((p, wrong), 0.0)) / 2 for p in places}


def _place(text: str, char: int) -> str:
    if text.rfind("\nMarks:", 0, char) >= 0:
        return "at_end"
    sentence = text[:char].rstrip(" [").rsplit(". ", 1)[-1].rsplit("] ", 1)[-1]
    from repurpose.organism.language import read_step

    return "at_once" if read_step(sentence) else "later"
