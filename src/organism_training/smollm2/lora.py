"""Finetuning: a LoRA adapter on every linear layer of the base model, on traces alone (prompts have no loss).

First when to go back: a loss of its own wherever the text decides it, whichever word it then takes. Tokens alone teach
that in thousands of steps: one in fifty decides, and which of many words it is hides from the model what matters. So
after the first steps tokens weigh little, until the last ones. Then the wording, and how often each of the words with
which it goes back comes. Killed, it goes on from its last checkpoint: each step's batch is a function of the seed and
the step.
"""

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from organism_training.smollm2.chats import IGNORED, Chat, pad_batch
from repurpose.data.files import atomic_write

EVERY = 10
"""Steps between checkpoints."""
ROWS_AT_ONCE = 4
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Recipe:
    """What training is made of."""

    chats: int = 640
    epochs: int = 1
    rows: int = 8
    """Chats in a step."""
    rank: int = 32
    learning_rate: float = 1e-3
    """Peak rate while it learns when to go back; in the second half cooled along a cosine to nothing."""
    wording: tuple[int, int] = (20, 40)
    """How many of the first and of the last of those steps learn wording, too."""
    token_weight: float = 0.1
    """What tokens weigh in the others."""
    wording_steps: int = 96
    """Steps that follow, in which every token counts, and those that decide twice: their words are learned, too."""
    wording_rate: float = 5e-4
    """Their peak rate, cooled from the beginning."""
    warmup: int = 8
    """Steps of linear warming up of either part."""
    seed: int = 0
    """Of problems, traces, the adapter's first weights and the order."""
    blind: bool = False
    """Whether the traces go back at random steps: a negative control."""

    @property
    def first_steps(self) -> int:
        """Steps in which it learns when to go back."""
        return self.epochs * (self.chats // self.rows)

    @property
    def steps(self) -> int:
        return self.first_steps + self.wording_steps


class Weights(NamedTuple):
    """What each loss weighs in a step."""

    tokens: float
    decisions: float
    words: float


def add_adapter(model: PreTrainedModel, recipe: Recipe) -> PeftModel:
    """Put a fresh adapter on the model: rank `recipe.rank`, scale 2, on all linear layers of the blocks; in float32."""
    torch.manual_seed(recipe.seed)
    config = LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=LINEAR, task_type="CAUSAL_LM")
    return get_peft_model(model, config)


class Losses(NamedTuple):
    """Of one step, in nats."""

    tokens: float
    """Mean cross entropy over the traces' tokens."""
    decisions: float
    """Mean binary cross entropy over the decisions to go back or to go on."""


def train(
    model: PeftModel, chats: Sequence[Chat], alerts: Sequence[int], recipe: Recipe, checkpoint: Path
) -> list[Losses]:
    """Train the adapter in place; return each step's losses.

    Args:
        chats: as `encode_chat` makes them.
        alerts: the tokens that say that the text goes back.
        checkpoint: where the state is kept; one of the same recipe and chats is gone on from.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    key = json.dumps([asdict(recipe), hashlib.sha256(json.dumps(chats).encode()).hexdigest()])
    losses = _load(checkpoint, weights, optimiser, key)
    order = step_rows(len(chats), recipe)
    model.train()
    for step in tqdm(range(len(losses), recipe.steps), initial=len(losses), total=recipe.steps, mininterval=5):
        losses.append(backward(model, [chats[index] for index in order[step]], alerts, loss_weights(recipe, step)))
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.param_groups[0]["lr"] = rate(recipe, step)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if (step + 1) % EVERY == 0 or step + 1 == recipe.steps:
            _save(checkpoint, weights, optimiser, key, losses)
            tokens, decisions = map(fmean, zip(*losses[-EVERY:], strict=True))
            tqdm.write(f"step {step + 1}: tokens {tokens:.3f}, decisions {decisions:.3f}")
    return losses


def backward(model: PeftModel, rows: Sequence[Chat], alerts: Sequence[int], weights: Weights) -> Losses:
    """Add one step's gradients, of its weighted mean losses; return those of tokens and decisions.

    Few rows at a time: as fast on a CPU, in a third of the memory.
    """
    tokens = sum(label != IGNORED for row in rows for label in row.labels)
    decisions = max(1, sum(sum(row.decides) for row in rows))
    counts, totals = torch.tensor([tokens, decisions, decisions], device=model.device), torch.zeros(3)
    for first in range(0, len(rows), ROWS_AT_ONCE):
        means = torch.stack(trace_losses(model, *pad_batch(rows[first : first + ROWS_AT_ONCE]), alerts)) / counts
        (means * torch.tensor(weights, device=model.device)).sum().backward()
        totals += means.detach().cpu()
    return Losses(*totals[:2].tolist())


def trace_losses(
    model: PeftModel, ids: Tensor, labels: Tensor, decides: Tensor, alerts: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Summed cross entropy (nats) over the tokens that have a label, over decisions, and over the tokens that decide.

    A decision's probability is that of all tokens with which the text goes back, whichever it is.

    Args:
        ids, labels, decides: (b, s), as `pad_batch` makes them. No logits are made of tokens without a label.
    """
    inner: Any = model.get_base_model()
    device = model.device
    targets = labels[:, 1:].flatten().to(device)
    kept = targets != IGNORED
    with torch.autocast(device.type, torch.bfloat16):
        hidden = inner.model(input_ids=ids[:, :-1].to(device), use_cache=False)[0]
        logits = inner.lm_head(hidden.flatten(0, 1)[kept])
    of_tokens = torch.nn.functional.cross_entropy(logits.float(), targets[kept], reduction="none")
    chosen = decides[:, 1:].flatten().to(device)[kept] == 1
    words = torch.tensor(alerts, device=device)
    back = torch.softmax(logits[chosen].float(), -1)[:, words].sum(-1).clamp(1e-6, 1 - 1e-6)
    goes_back = torch.isin(targets[kept][chosen], words).float()
    decisions = torch.nn.functional.binary_cross_entropy(back, goes_back, reduction="sum")
    return of_tokens.sum(), decisions, of_tokens[chosen].sum()


def loss_weights(recipe: Recipe, step: int) -> Weights:
    """What each loss weighs in a step."""
    first, last = recipe.wording
    if step >= recipe.first_steps:
        return Weights(1.0, 0.0, 1.0)
    return Weights(1.0 if step < first or step >= recipe.first_steps - last else recipe.token_weight, 1.0, 0.0)


def step_rows(chats: int, recipe: Recipe) -> list[list[int]]:
    """Which chats each step has: every epoch its own order, rows of one step of like length (chats come sorted)."""
    steps: list[list[int]] = []
    for epoch in range(recipe.epochs + math.ceil(recipe.wording_steps / (chats // recipe.rows))):
        rng = random.Random(f"order-{recipe.seed}-{epoch}")
        shift = rng.randrange(recipe.rows)
        places = [(index + shift) % chats for index in range(chats)]
        epoch_steps = [places[i : i + recipe.rows] for i in range(0, chats - recipe.rows + 1, recipe.rows)]
        rng.shuffle(epoch_steps)
        steps += epoch_steps
    return steps[: recipe.steps]


def rate(recipe: Recipe, step: int) -> float:
    """Learning rate of a step."""
    if step < recipe.first_steps:
        return recipe.learning_rate * _shape(step / recipe.first_steps, 0.5, step, recipe.warmup)
    step -= recipe.first_steps
    return recipe.wording_rate * _shape(step / recipe.wording_steps, 0.0, step, recipe.warmup)


def _shape(done: float, cooled_from: float, step: int, warmup: int) -> float:
    """Warmed up linearly, then 1 until a share of the steps is done, then along a cosine to nothing."""
    cooled = max(0.0, (done - cooled_from) / (1 - cooled_from))
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * cooled))


def _save(
    checkpoint: Path,
    weights: Sequence[torch.nn.Parameter],
    optimiser: torch.optim.Optimizer,
    key: str,
    losses: Sequence[Losses],
) -> None:
    """Keep what `_load` goes on from."""
    told = [tuple(loss) for loss in losses]
    with atomic_write(checkpoint) as file:
        torch.save({"key": key, "losses": told, "weights": weights, "optimiser": optimiser.state_dict()}, file)


def _load(
    checkpoint: Path, weights: Sequence[torch.nn.Parameter], optimiser: torch.optim.Optimizer, key: str
) -> list[Losses]:
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
    return [Losses(*loss) for loss in found["losses"]]
