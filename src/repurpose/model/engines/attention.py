"""What makes decoding fast: a preallocated key-value cache, and attention that never repeats keys for grouped queries.

Knows shapes and nothing of sampling or steering. Legend: b rows, h query heads, g key-value heads, s query positions,
k key positions, e head width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

GROUPED = "repurpose_grouped"


def grouped_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention for one query position per row: the queries of a group stand side by side before their shared keys.

    transformers' sdpa repeats keys and values for every query head, a copy of the whole cache at each token. With one
    query position the heads of a group can be its positions instead. Prompts go to the stock function.

    Args:
        query: (b, h, s, e). key, value: (b, g, k, e). attention_mask: (b, 1, s, k), added, or None.

    Returns:
        (b, s, h, e), as transformers wants it.
    """
    b, h, s, e = query.shape
    if s != 1 or h == key.shape[1]:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    grouped = query.view(b, key.shape[1], h // key.shape[1], e)
    mixed = scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask, scale=kwargs.get("scaling"))
    return mixed.reshape(b, 1, h, e), None


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)


def use_grouped_attention(model: PreTrainedModel) -> None:
    """Let a model that uses transformers' sdpa use `grouped_attention` instead."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(GROUPED)


class _PreallocatedLayer(CacheLayerMixin):
    """Keys and values of one layer in memory allocated once; `update` writes in place and returns views."""

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        CacheLayerMixin.__init__(self)
        self.capacity, self.length = capacity, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        b, g, _, e = key_states.shape
        self.keys = key_states.new_empty(b, g, self.capacity, e)
        self.values = value_states.new_empty(b, g, self.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        start, self.length = self.length, self.length + key_states.shape[2]
        keys, values = self.keys[:, :, : self.length], self.values[:, :, : self.length]
        keys[:, :, start:] = key_states
        values[:, :, start:] = value_states
        return keys, values

    def keep(self, targets: Tensor, sources: Tensor, rows: int) -> None:
        """Move rows from `sources` to `targets`, then keep the first `rows`."""
        assert self.keys is not None and self.values is not None
        for store in (self.keys, self.values):
            store[targets, :, : self.length] = store[sources, :, : self.length]
        self.keys, self.values = self.keys[:rows], self.values[:rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.capacity


class PreallocatedCache(Cache):
    """A cache for a known number of positions, whose rows can be dropped without copying those that stay put."""

    def __init__(self, layers: int, capacity: int) -> None:
        self.capacity = capacity
        self.own_layers = [_PreallocatedLayer(capacity) for _ in range(layers)]
        super().__init__(layers=list(self.own_layers))

    def keep(self, places: list[int]) -> None:
        """Keep the rows at `places`; see `compacted_order` for orders that move the fewest rows."""
        moves = [(target, source) for target, source in enumerate(places) if target != source]
        targets, sources = torch.tensor(moves, dtype=torch.int64).reshape(-1, 2).T
        for layer in self.own_layers:
            layer.keep(targets, sources, len(places))


def compacted_order(alive: list[bool]) -> list[int]:
    """Order in which the live rows fill the front: those there already stay, those behind move into the gaps."""
    count = sum(alive)
    movers = [place for place in range(count, len(alive)) if alive[place]]
    return [place if alive[place] else movers.pop() for place in range(count)]
