from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from repurpose.model.engines.attention import BLOCK, PreallocatedCache, compacted_order, grouped_attention


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


def test_a_cache_that_is_seen_whole_grows_block_by_block_and_holds_numbers_only() -> None:
    ours, stock = PreallocatedCache(1, 2 * BLOCK + 5, whole=True), DynamicCache()
    key, value = torch.randn(2, 3, 2, BLOCK - 1, 4).unbind(0)
    assert ours.update(key, value, 0)[0].shape[2] == BLOCK - 1  # a prompt sees itself alone
    stock.update(key, value, 0)
    for length in range(BLOCK, 2 * BLOCK + 6):
        key, value = torch.randn(2, 3, 2, 1, 4).unbind(0)
        held, wanted = ours.update(key, value, 0), stock.update(key, value, 0)
        assert ours.seen(length) == held[0].shape[2] == min(-(-length // BLOCK) * BLOCK, 2 * BLOCK + 5)
        for one, other in zip(held, wanted, strict=True):
            assert torch.equal(one[:, :, :length], other) and not one[:, :, length:].any()


def test_a_cache_takes_the_lowest_layers_of_another() -> None:
    below, ours = PreallocatedCache(1, 4), PreallocatedCache(2, 8)
    key, value = torch.randn(2, 2, 1, 4, 3).unbind(0)
    below.update(key, value, 0)
    ours.take(below, torch.tensor([0, 1, 1]))
    assert (ours.own_layers[0].length, ours.own_layers[1].length) == (4, 0)
    held, _ = ours.update(torch.ones(3, 1, 1, 3), torch.ones(3, 1, 1, 3), 0)
    assert torch.equal(held[:, :, :4], key[[0, 1, 1]])


def test_cache_holds_what_the_dynamic_one_holds_after_rows_left() -> None:
    ours, stock = PreallocatedCache(1, 8), DynamicCache()
    for step, s in enumerate((4, 1, 1)):
        key, value = torch.randn(2, 5, 2, s, 3).unbind(0)
        if step == 2:
            kept = [0, 4, 2]
            ours.keep(kept)
            stock.batch_select_indices(torch.tensor(kept))
            key, value = key[kept], value[kept]
        held, wanted = ours.update(key, value, 0), stock.update(key, value, 0)
        assert all(torch.equal(a, b) for a, b in zip(held, wanted, strict=True))
    assert ours.get_seq_length() == 6


def test_cache_is_written_in_place() -> None:
    cache = PreallocatedCache(1, 8)
    first, _ = cache.update(torch.randn(1, 1, 2, 4), torch.randn(1, 1, 2, 4), 0)
    second, _ = cache.update(torch.randn(1, 1, 1, 4), torch.randn(1, 1, 1, 4), 0)
    assert first.data_ptr() == second.data_ptr()


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_compaction_keeps_the_live_rows_and_moves_few(alive: list[bool]) -> None:
    order = compacted_order(alive)
    assert sorted(order) == [place for place, lives in enumerate(alive) if lives]
    assert all(order[place] == place for place in range(len(order)) if alive[place])
