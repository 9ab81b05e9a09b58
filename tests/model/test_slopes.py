"""Slopes are derivatives: half the change that twice as small a vector makes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tiny import WIDTH
from transformers import LlamaForCausalLM

from repurpose.model.slopes import read_slope
from repurpose.model.steer import Steer
from repurpose.model.teacher_forcing import ForcedRow, log_odds, read_logits

IDS, POSITIONS, LAYER = [3, 9, 14, 7, 21, 5], [1, 4], 1


def score(logits: torch.Tensor) -> torch.Tensor:
    return log_odds(logits, [7, 8])


@pytest.mark.parametrize("seed", range(3))
def test_a_slope_is_what_little_steering_changes(model: LlamaForCausalLM, seed: int) -> None:
    direction = np.random.default_rng(seed).standard_normal(WIDTH)
    direction /= np.linalg.norm(direction)
    model.requires_grad_(False)
    slope = read_slope(model, IDS, POSITIONS, LAYER, score)
    rows = [None, *(Steer("x", "add", LAYER, size, direction.astype(np.float32)) for size in (-0.02, 0.02))]
    read = dict(read_logits(model, [ForcedRow(IDS, POSITIONS, steer) for steer in rows]))
    values = [float(score(read[place].logits).mean()) for place in range(3)]
    assert slope.score == pytest.approx(values[0], abs=1e-4)
    assert direction @ slope.gradient == pytest.approx((values[2] - values[1]) / 0.04, rel=0.03, abs=0.02)


def test_nothing_of_a_slope_stays_in_the_model(model: LlamaForCausalLM) -> None:
    model.requires_grad_(False)
    before = read_slope(model, IDS, POSITIONS, LAYER, score)
    after = read_slope(model, IDS, POSITIONS, LAYER, score)
    assert np.array_equal(before.gradient, after.gradient)
    assert all(parameter.grad is None for parameter in model.parameters())
