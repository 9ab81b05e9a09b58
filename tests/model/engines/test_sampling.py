from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repurpose.model.engines import row_seed
from repurpose.model.engines.transformers import BLOCK, draw_tokens, row_uniforms


def test_zero_temperature_takes_the_likeliest() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, -1.0, 0.0]])
    assert draw_tokens(logits, 0, torch.zeros(2, dtype=torch.float64)).tolist() == [1, 0]


def test_draws_follow_the_tempered_distribution() -> None:
    logits, count = torch.tensor([0.3, -1.0, 2.0, 0.0]), 20000
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    drawn = draw_tokens(logits.expand(count, 4), 0.7, uniforms)
    shares = torch.bincount(drawn, minlength=4) / count
    torch.testing.assert_close(shares, torch.softmax(logits / 0.7, 0), atol=1e-4, rtol=0)


@given(st.floats(0, 1, exclude_max=True))
def test_impossible_tokens_are_never_drawn(uniform: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf]])
    assert draw_tokens(logits, 1.0, torch.tensor([uniform], dtype=torch.float64)).item() in (1, 3)


@given(st.integers(1, 3 * BLOCK), st.integers(0, 99))
def test_the_draw_inverts_the_whole_cumulative_sum(v: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(1, v, generator=generator).expand(40, -1).double()
    uniforms = torch.rand(40, generator=generator, dtype=torch.float64)
    cumulative = logits.softmax(-1).cumsum(-1)
    wanted = torch.searchsorted(cumulative, uniforms[:, None], right=True).squeeze(1).clamp(max=v - 1)
    assert torch.equal(draw_tokens(logits, 1.0, uniforms), wanted)


@pytest.mark.parametrize("kept", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 3])
def test_the_only_possible_token_is_drawn_at_every_uniform(kept: int) -> None:
    logits = torch.full((3, 2 * BLOCK + 7), -torch.inf)
    logits[:, kept] = 1.0
    uniforms = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert draw_tokens(logits, 1.0, uniforms).tolist() == [kept] * 3


def test_uniforms_belong_to_the_row_and_longer_ones_begin_with_shorter() -> None:
    both = row_uniforms([5, 6], 8)
    assert torch.equal(row_uniforms([6], 3), both[1:, :3])
    assert not torch.equal(both[0], both[1])


def test_seeds_are_stable_and_distinct() -> None:
    assert row_seed(0, "sums-0001", 0) == 121191408637952772
    names = {row_seed(s, p, k) for s in (0, 1) for p in ("a", "b") for k in (0, 1)}
    assert len(names) == 8 and all(0 <= seed < 2**63 for seed in names)


def test_top_k_keeps_the_likeliest_and_goes_before_top_p() -> None:
    logits, count = torch.tensor([[2.0, 1.0, 0.5, 0.0, -1.0]]), 20_000
    uniforms = torch.linspace(0, 1, count + 1, dtype=torch.float64)[:-1]
    for top_p, kept in ((1.0, [0, 1, 2]), (0.8, [0, 1])):  # of all, 0.8 would need three: 0.58, 0.21, 0.13
        wanted = torch.zeros(5)
        wanted[kept] = logits[0, kept].softmax(-1)
        drawn = draw_tokens(logits.expand(count, -1), 1.0, uniforms, top_p, 3).bincount(minlength=5) / count
        torch.testing.assert_close(drawn, wanted, atol=2e-4, rtol=0)


@pytest.mark.parametrize("top_p", [0.3, 0.6, 0.95, 1.0])
def test_a_nucleus_holds_the_likeliest_tokens_and_keeps_their_proportions(top_p: float) -> None:
    """Against the definition: the fewest likeliest tokens that together have at least `top_p`."""
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(3))
    probabilities = (logits / 0.7).double().softmax(-1)[0]
    order = sorted(range(12), key=lambda token: -float(probabilities[token]))
    kept = order[: next(n for n in range(1, 13) if float(probabilities[order[:n]].sum()) >= min(top_p, 1 - 1e-9))]
    count = 20_000
    uniforms = torch.linspace(0, 1, count + 1, dtype=torch.float64)[:-1]
    drawn = draw_tokens(logits.expand(count, -1), 0.7, uniforms, top_p).bincount(minlength=12) / count
    wanted = torch.zeros(12, dtype=torch.float64)
    wanted[kept] = probabilities[kept] / probabilities[kept].sum()
    assert torch.allclose(drawn.double(), wanted, atol=2e-4)
