"""Slopes: to first order, what a vector that is added to every token would change, for all vectors in one pass back."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from repurpose.model.hooks import change_layers


class Slope(NamedTuple):
    """A score of the unsteered text, and its gradient."""

    score: float
    gradient: NDArray[np.float64]
    """(d,): adding v at every token changes the score by about v @ gradient."""


def read_slope(
    model: PreTrainedModel,
    token_ids: Sequence[int],
    positions: Sequence[int],
    layer: int,
    score: Callable[[Tensor], Tensor],
) -> Slope:
    """Slope of a text's mean score by a vector at resid_post[layer].

    Args:
        positions: where logits are read; position p gives those that predict token p + 1.
        score: takes logits (positions, v) float32, gives (positions,).
    """
    added = torch.zeros(model.config.get_text_config().hidden_size, device=model.device, requires_grad=True)
    ids = torch.tensor([list(token_ids)], device=model.device)
    with torch.enable_grad(), change_layers(model, [layer], lambda _, hidden: hidden + added.to(hidden.dtype)):
        value = score(model(input_ids=ids, use_cache=False).logits[0, list(positions)].float()).mean()
    (gradient,) = torch.autograd.grad(value, added)
    return Slope(float(value.detach()), gradient.double().cpu().numpy())
