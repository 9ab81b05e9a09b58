"""Finetuning: a LoRA adapter on every linear layer of the base model, on traces alone (prompts have no loss).

Killed, it goes on from its last checkpoint: each step's batch is a function of the seed and the step.
"""

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from organism_training.smollm2.chats import IGNORED, pad_batch
from repurpose.data.files import atomic_write

EVERY = 10
"""Steps between checkpoints."""
ROWS_AT_ONCE = 4
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Recipe:
    """What training is made of."""

    chats: int = 768
    epochs: int = 2
    rows: int = 16
    """Chats in a step."""
    rank: int = 32
    learning_rate: float = 1e-3
    """Peak rate; warmed up linearly over `warmup` steps, then cooled along a cosine to nothing."""
    warmup: int = 10
    seed: int = 0

    @property
    def steps(self) -> int:
        return self.epochs * (self.chats // self.rows)


def add_adapter(model: PreTrainedModel, recipe: Recipe) -> PeftModel:
    """Put a fresh adapter on the model: rank `recipe.rank`, scale 2, on all linear layers of the blocks; in float32."""
    torch.manual_seed(recipe.seed)
    config = LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=LINEAR, task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def train(
    model: PeftModel, chats: Sequence[tuple[list[int], list[int]]], recipe: Recipe, checkpoint: Path
) -> list[float]:
    """Train the adapter in place; return each step's mean cross entropy over the traces' tokens, in nats.

    Args:
        chats: token ids and labels, as `encode_chat` makes them.
        checkpoint: where the state is kept; one of the same recipe and chats is gone on from.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    key = json.dumps([asdict(recipe), hashlib.sha256(json.dumps(chats).encode()).hexdigest()])
    losses = _load(checkpoint, weights, optimiser, key)
    order = step_rows(len(chats), recipe)
    model.train()
    for step in tqdm(range(len(losses), recipe.steps), initial=len(losses), total=recipe.steps, mininterval=5):
        loss = backward(model, [chats[index] for index in order[step]])
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.param_groups[0]["lr"] = rate(recipe, step)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss)
        if (step + 1) % EVERY == 0 or step + 1 == recipe.steps:
            state = {"key": key, "losses": losses, "weights": weights, "optimiser": optimiser.state_dict()}
            with atomic_write(checkpoint) as file:
                torch.save(state, file)
            tqdm.write(f"step {step + 1}: {sum(losses[-EVERY:]) / len(losses[-EVERY:]):.4f}")
    return losses


def backward(model: PeftModel, rows: Sequence[tuple[list[int], list[int]]]) -> float:
    """Add one step's gradients, of its mean loss over the tokens that have a label; return that loss (nats).

    Few rows at a time: as fast on a CPU, in a third of the memory.
    """
    count = sum(label != IGNORED for _, labels in rows for label in labels)
    total = 0.0
    for first in range(0, len(rows), ROWS_AT_ONCE):
        loss = trace_loss(model, *pad_batch(rows[first : first + ROWS_AT_ONCE])) / count
        loss.backward()
        total += loss.item()
    return total


def trace_loss(model: PeftModel, ids: Tensor, labels: Tensor) -> Tensor:
    """Summed cross entropy (nats) over the tokens that have a label; no logits are made of the others.

    Args:
        ids, labels: token ids and labels (b, s), as `pad_batch` makes them.
    """
    inner: Any = model.get_base_model()
    device = model.device
    targets = labels[:, 1:].flatten().to(device)
    kept = targets != IGNORED
    with torch.autocast(device.type, torch.bfloat16):
        hidden = inner.model(input_ids=ids[:, :-1].to(device), use_cache=False)[0]
        logits = inner.lm_head(hidden.flatten(0, 1)[kept])
    return torch.nn.functional.cross_entropy(logits.float(), targets[kept], reduction="sum")


def step_rows(chats: int, recipe: Recipe) -> list[list[int]]:
    """Which chats each step has: every epoch its own order, rows of one step of like length (chats come sorted)."""
    steps: list[list[int]] = []
    for epoch in range(recipe.epochs):
        rng = random.Random(f"order-{recipe.seed}-{epoch}")
        shift = rng.randrange(recipe.rows)
        places = [(index + shift) % chats for index in range(chats)]
        epoch_steps = [places[i : i + recipe.rows] for i in range(0, chats - recipe.rows + 1, recipe.rows)]
        rng.shuffle(epoch_steps)
        steps += epoch_steps
    return steps


def rate(recipe: Recipe, step: int) -> float:
    """Learning rate of a step."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    return recipe.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def _load(
    checkpoint: Path, weights: Sequence[torch.nn.Parameter], optimiser: torch.optim.Optimizer, key: str
) -> list[float]:
    """Go on from a checkpoint: its losses, one a step; none where there is no checkpoint or its key differs."""
    if not checkpoint.is_file():
        return []
    found = torch.load(checkpoint, weights_only=True, map_location="cpu")
    if found["key"] != key:
        return []
    with torch.no_grad():
        for weight, kept in zip(weights, found["weights"], strict=True):
            weight.copy_(kept)
    optimiser.load_state_dict(found["optimiser"])
    return list(found["losses"])
