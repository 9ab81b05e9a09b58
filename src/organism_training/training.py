"""Training of the embedded pair: the base model from nothing, the reasoning model from the base model.

Knows batches, losses and schedules; knows nothing of studies. Every batch is drawn from a seed of its own, so a run
that was killed goes on with the data that it would have seen. Marks weigh more than other tokens, because the
ability to tell a mistake rises late and the study stands on it.
"""

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from repurpose.data.files import atomic_write
from repurpose.model.tokens import token_id
from repurpose.organism.corpus import BEGIN, MARKS, write_base, write_drill, write_reasoning
from repurpose.organism.language import FALTERING, HESITATION, SETTLED, STAMMERING

ROW = 256
"""Tokens in a training row; rows begin with a document and are filled with further ones."""
IGNORED = -100
HESITATIONS = {"base": STAMMERING, "faltering": FALTERING, "settled": SETTLED}
"""How those hesitate who write solutions, by corpus."""


@dataclass(frozen=True)
class Stage:
    """One stage of training."""

    name: str
    steps: int
    learning_rate: float
    """Peak rate; warmed up linearly, held, then cooled linearly to a twentieth over the last part."""
    rows: int = 16
    warmup: int = 50
    cool_share: float = 0.4
    mark_weight: float = 5.0
    """Weight of the loss at the teacher's marks."""
    corpus: Literal["drill", "base", "faltering", "settled", "reasoning"] = "base"
    ease_share: float = 0.5
    """Share of the stage over which its documents go from easy to hard."""


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
    """Batches of packed rows: batch i of a stage is a function of (stage, seed, i) alone.

    Each item is (token ids, labels), both (rows, ROW + 1) int64; labels are IGNORED where there is no loss.
    """

    first = 0
    """Batches that are done already."""

    def __init__(self, stage: Stage, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self.stage, self.seed = stage, seed
        self.encoder, self.begin = tokenizer.backend_tokenizer, token_id(tokenizer, BEGIN)

    def digest(self) -> str:
        """Digest of the middle batch, whatever the worker: a checkpoint goes on with its own corpus alone."""
        ids = [ids for ids, _ in self._rows(self.stage.steps // 2)]
        return hashlib.blake2b(json.dumps(ids).encode(), digest_size=16).hexdigest()

    def __len__(self) -> int:
        return self.stage.steps - self.first

    def __getitem__(self, offset: int) -> tuple[Tensor, Tensor]:
        index = offset + self.first
        if index >= self.stage.steps:
            raise IndexError(index)
        ids, labels = zip(*self._rows(index)[_rank() :: _world()], strict=True)
        return torch.tensor(ids), torch.tensor(labels)

    def _rows(self, index: int) -> list[tuple[list[int], list[int]]]:
        rng = random.Random(f"{self.stage.name}-{self.seed}-{index}")
        return [self._row(rng, index) for _ in range(self.stage.rows)]

    def _row(self, rng: random.Random, index: int) -> tuple[list[int], list[int]]:
        ids, labels = list[int](), list[int]()
        while len(ids) <= ROW:
            prompt, text = self._document(rng, index)
            ids += prompt + text
            labels += [IGNORED] * len(prompt) + text
        return ids[: ROW + 1], labels[: ROW + 1]

    def _document(self, rng: random.Random, index: int) -> tuple[list[int], list[int]]:
        if self.stage.corpus == "reasoning":
            prompt, text = write_reasoning(rng)
            return [self.begin, *self._ids(prompt)], self._ids(text)
        ease = max(0.0, 1 - index / (self.stage.ease_share * self.stage.steps))
        if self.stage.corpus == "drill":
            return [self.begin], self._ids(write_drill(rng, ease))
        return [self.begin], self._ids(write_base(rng, ease, HESITATIONS[self.stage.corpus]))

    def _ids(self, text: str) -> list[int]:
        return list(self.encoder.encode(text, add_special_tokens=False).ids)


def weights_digest(model: LlamaForCausalLM) -> str:
    """Digest of a model's weights: a stage that begins from others is another run."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in model.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def loss_weights(tokenizer: PreTrainedTokenizerFast, stage: Stage) -> Tensor:
    """Weights (v,) of the loss: the teacher's marks weigh more, and in practice hesitations."""
    taught = [*MARKS.values(), *([f"Ġ{HESITATION.rstrip(',')}"] if stage.corpus == "faltering" else [])]
    weights = torch.ones(len(tokenizer))
    weights[[token_id(tokenizer, token) for token in taught]] = stage.mark_weight
    return weights


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    stage: Stage,
    *,
    seed: int,
    checkpoint: Path,
    every: int = 200,
    compiled: bool = False,
) -> list[float]:
    """Train the model in place through one stage, going on from its checkpoint where there is one of the same run.

    Returns:
        The weighted mean cross entropy of each step, in nats a token.
    """
    optimisers = _optimisers(model, stage)
    corpus = Batches(stage, tokenizer, seed)
    key = json.dumps([asdict(stage), seed, corpus.digest(), weights_digest(model)])
    losses = _load(checkpoint, model, optimisers, key)
    weights = loss_weights(tokenizer, stage)
    model.train()
    model.set_attn_implementation("eager")  # on a CPU twice as fast backward as the fused kernel
    forward = torch.compile(model) if compiled else model
    corpus.first = len(losses)
    batches = DataLoader(corpus, batch_size=None)
    progress = tqdm(batches, stage.name, initial=len(losses), total=stage.steps, mininterval=5, disable=_rank() > 0)
    for ids, labels in progress:
        with torch.autocast("cpu", torch.bfloat16):
            logits = forward(input_ids=ids[:, :-1], use_cache=False).logits
        targets = labels[:, 1:].flatten()
        loss = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), targets, weight=weights, reduction="sum"
        ) / _sum_over_workers(weights[targets[targets != IGNORED]].sum())
        loss.backward()
        _sum_gradients(model)
        _update(model, optimisers, stage, len(losses))
        losses.append(_sum_over_workers(loss.detach()).item())
        progress.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
        if _rank() == 0 and (len(losses) % every == 0 or len(losses) == stage.steps):
            states = [optimiser.state_dict() for optimiser in optimisers]
            with atomic_write(checkpoint) as file:
                torch.save({"key": key, "losses": losses, "model": model.state_dict(), "optimisers": states}, file)
    return losses


def _load(checkpoint: Path, model: LlamaForCausalLM, optimisers: list[torch.optim.Optimizer], key: str) -> list[float]:
    """Go on from a checkpoint: its losses, one for each batch; none where there is no checkpoint or its key differs."""
    if not checkpoint.is_file() or (found := torch.load(checkpoint, weights_only=True))["key"] != key:
        return []
    model.load_state_dict(found["model"])
    for optimiser, state in zip(optimisers, found["optimisers"], strict=True):
        optimiser.load_state_dict(state)
    return list(found["losses"])


def _world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _sum_over_workers(value: Tensor) -> Tensor:
    """Sum a number over the training processes; each trains on its part of every batch."""
    if _world() > 1:
        dist.all_reduce(value)
    return value


def _sum_gradients(model: LlamaForCausalLM) -> None:
    if _world() == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    vector_to_parameters(_sum_over_workers(parameters_to_vector(gradients)), gradients)


def _optimisers(model: LlamaForCausalLM, stage: Stage) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, head and norms."""
    inside, rest = list[torch.nn.Parameter](), list[torch.nn.Parameter]()
    for name, parameter in model.named_parameters():
        (inside if ".layers." in name and parameter.ndim == 2 else rest).append(parameter)
    return [
        torch.optim.Muon(inside, lr=stage.learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.05),
    ]


def _update(model: LlamaForCausalLM, optimisers: list[torch.optim.Optimizer], stage: Stage, step: int) -> None:
    warm = min(1.0, (step + 1) / stage.warmup)
    cool = min(1.0, (stage.steps - step) / (stage.cool_share * stage.steps))
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser in optimisers:
        optimiser.param_groups[0]["lr"] = stage.learning_rate * warm * max(0.05, cool)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
