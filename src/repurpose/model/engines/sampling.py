"""Drawing tokens: each row has uniforms of its own, so that a row's tokens do not depend on its batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def row_uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """Uniforms (rows, count) in [0, 1), float64; a longer row begins with the shorter one's."""
    return torch.from_numpy(np.stack([np.random.default_rng([seed, 0]).random(count) for seed in seeds]))


def draw_tokens(
    logits: Tensor, temperature: float, uniforms: Tensor, top_p: float = 1.0, top_k: int | None = None
) -> Tensor:
    """Draw one token a row by inverting the cumulative distribution at its uniform.

    Float64 throughout: what float32 sums leave uncertain at a boundary would let a batch's shape choose the
    token.

    Args:
        logits: (b, v). temperature: 0 takes the likeliest token. uniforms: (b,) float64.
        top_p: keeps the likeliest tokens that together have at least this probability.
        top_k: keeps so many of the likeliest tokens, before `top_p`.

    Returns:
        Token ids (b,), int64.
    """
    if temperature == 0:
        return logits.argmax(-1)
    weights = logits.double()
    weights = weights.sub_(weights.amax(-1, keepdim=True)).div_(temperature).exp_()
    if top_p < 1 or top_k is not None:
        weights = _likeliest(weights, top_p, top_k)
    cumulative = weights.cumsum(-1)
    thresholds = uniforms[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, thresholds, right=True).squeeze(1)
    return tokens.clamp_(max=logits.shape[-1] - 1)


def _likeliest(weights: Tensor, top_p: float, top_k: int | None) -> Tensor:
    """Weights (b, v) with 0 for the tokens that are cut off."""
    falling, order = weights.sort(-1, descending=True)
    if top_k is not None:
        falling[:, top_k:] = 0
    before = falling.cumsum(-1) - falling
    return torch.zeros_like(weights).scatter(-1, order, falling * (before < top_p * falling.sum(-1, keepdim=True)))
