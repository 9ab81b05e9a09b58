from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from repurpose.model.engines.attention import BLOCK, SlotCache, compacted_order, grouped_attention


class Heads(nn.Module):
    """What an attention function reads of its module."""

    is_causal = True

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = groups


@settings(max_examples=30, deadline=None)
@given(
    b=st.integers(1, 4),
    g=st.integers(1, 3),
    groups=st.integers(1, 4),
    k=st.integers(1, 9),
    prompt=st.booleans(),
    masked=st.booleans(),
)
def test_grouped_attention_equals_the_stock_one(
    b: int, g: int, groups: int, k: int, prompt: bool, masked: bool
) -> None:
    generator = torch.Generator().manual_seed(k)
    s = k if prompt else 1
    query = torch.randn(b, g * groups, s, 8, generator=generator)
    key, value = (torch.randn(b, g, k + 2, 8, generator=generator)[:, :, :k] for _ in range(2))
    mask = None
    if masked:
        mask = torch.zeros(b, 1, s, k)
        mask[0, 0, :, : k // 2] = torch.finfo(torch.float32).min
    ours, _ = grouped_attention(Heads(groups), query, key, value, mask, scaling=0.3)
    stock, _ = sdpa_attention_forward(Heads(groups), query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(ours, stock, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_in_half_precision_on_a_cpu_equals_the_stock_one(groups: int, dtype: torch.dtype) -> None:
    """What is masked lies behind as well as before, as in memory that is taken but not yet written."""
    generator = torch.Generator().manual_seed(groups)
    query = torch.randn(3, 2 * groups, 1, 8, generator=generator, dtype=dtype)
    key, value = (torch.randn(3, 2, 9, 8, generator=generator, dtype=dtype) for _ in range(2))
    mask = torch.zeros(3, 1, 1, 9, dtype=dtype)
    mask[0, ..., :3] = mask[:, ..., 7:] = torch.finfo(dtype).min
    for scale in (None, 0.3):
        ours, _ = grouped_attention(Heads(groups), query, key, value, mask, scaling=scale)
        stock, _ = sdpa_attention_forward(Heads(groups), query, key, value, mask, scaling=scale)
        torch.testing.assert_close(ours, stock, atol=2e-2, rtol=2e-2)


def cache_of(*prompts: int, capacity: int = 3 * BLOCK, whole: bool = False) -> tuple[SlotCache, list[DynamicCache]]:
    """Two layers of rows with random keys and values, and the same rows alone."""
    cache, alone = SlotCache(2, 8, capacity, whole, torch.device("cpu")), list[DynamicCache]()
    return cache, add(cache, alone, *prompts)


def add(cache: SlotCache, alone: list[DynamicCache], *prompts: int) -> list[DynamicCache]:
    states = [[torch.randn(len(prompts), 2, max(prompts), 3) for _ in range(2)] for _ in range(2)]
    cache.add(torch.tensor(prompts), states)
    for row, length in enumerate(prompts):
        alone.append(DynamicCache())
        for layer, pair in enumerate(states):
            alone[-1].update(*(one[row : row + 1, :, :length] for one in pair), layer)
    return alone


def step(cache: SlotCache, alone: list[DynamicCache]) -> None:
    """Write a token a row; what each row sees is what it has alone, then zeros or what is behind its end."""
    seen = cache.prepare()
    for layer in range(2):
        pair = torch.randn(2, len(alone), 2, 1, 3).unbind(0)
        held = cache.update(*pair, layer)
        for row, other in enumerate(alone):
            wanted = other.update(*(one[row : row + 1] for one in pair), layer)
            for one, two in zip(held, wanted, strict=True):
                assert one.shape == (len(alone), 2, seen, 3)
                assert torch.equal(one[row, :, : two.shape[2]], two[0])
                assert one.isfinite().all()
    cache.advance()


@pytest.mark.parametrize("whole", [True, False])
def test_rows_in_slots_hold_what_they_hold_alone(whole: bool) -> None:
    """Rows of any length, that leave and come while others go on, past several blocks of memory."""
    cache, alone = cache_of(5, BLOCK - 1, 3, whole=whole)
    for _ in range(4):
        step(cache, alone)
    order = compacted_order([True, False, True])
    cache.keep(order)
    alone = add(cache, [alone[place] for place in order], 7, 2, 9)
    for _ in range(BLOCK + 3):
        step(cache, alone)
    assert cache.lengths.tolist() == [5 + BLOCK + 7, 3 + BLOCK + 7, 7 + BLOCK + 3, 2 + BLOCK + 3, 9 + BLOCK + 3]
    assert cache.seen == (2 * BLOCK if whole else BLOCK + 12)


def test_memory_ends_at_the_longest_text() -> None:
    cache, alone = cache_of(4, capacity=BLOCK + 6, whole=True)
    for _ in range(BLOCK + 2):
        step(cache, alone)
    assert (cache.width, cache.own_layers[1].stores[0].shape[2]) == (BLOCK + 6, BLOCK + 6)


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_compaction_keeps_the_live_rows_and_moves_few(alive: list[bool]) -> None:
    order = compacted_order(alive)
    assert sorted(order) == [place for place, lives in enumerate(alive) if lives]
    assert all(order[place] == place for place in range(len(order)) if alive[place])
