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
BLOCK = 64
"""Positions for which memory is taken at once, where attention sees all of it."""


def grouped_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention for one query position per row: the queries of a group stand side by side before their shared keys.

    transformers' sdpa repeats keys and values for every query head, a copy of the whole cache at each token. With one
    query position the heads of a group can be its positions instead. Prompts go to the stock function.

    Shapes: query (b, h, s, e), key and value (b, g, k, e), attention_mask (b, 1, s, k), added, or None; returned is
    (b, s, h, e), as transformers wants it.
    """
    b, h, s, e = query.shape
    half = _is_half_on_cpu(query)
    if s != 1 or (h == key.shape[1] and not half):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    grouped = query.view(b, key.shape[1], h // key.shape[1], e)
    scale = kwargs.get("scaling")
    if half:
        return _multiply(grouped, key, value, attention_mask, scale).reshape(b, 1, h, e), None
    mixed = scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask, scale=scale)
    return mixed.reshape(b, 1, h, e), None


def _is_half_on_cpu(states: Tensor) -> bool:
    return states.device.type == "cpu" and states.dtype in (torch.bfloat16, torch.float16)


def _multiply(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Attention (b, g, h / g, e) by two products of matrices.

    In half precision on a CPU that takes a third of the time of sdpa, as long as keys and values lie in one piece.
    """
    scores = torch.matmul(query, key.transpose(-1, -2)).float() * (query.shape[-1] ** -0.5 if scale is None else scale)
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return torch.matmul(weights.to(query.dtype), value)


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)


def use_grouped_attention(model: PreTrainedModel) -> None:
    """Let a model that uses transformers' sdpa use `grouped_attention` instead."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(GROUPED)


def is_whole_faster(model: PreTrainedModel) -> bool:
    """Whether attention is to see a layer's whole memory, what is not yet written masked: see `_multiply`."""
    return model.config._attn_implementation == GROUPED and model.device.type == "cpu" and model.dtype != torch.float32


class _PreallocatedLayer(CacheLayerMixin):
    """Keys and values of one layer in memory allocated once, or block by block; `update` writes in place.

    It returns views of what is written; or, a token at a time, all of the memory where this is to be seen `whole`.
    """

    is_sliding = False

    def __init__(self, capacity: int, whole: bool) -> None:
        CacheLayerMixin.__init__(self)
        self.capacity, self.whole, self.length = capacity, whole, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (
            states.new_empty(*states.shape[:2], 0, states.shape[-1]) for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        start, self.length = self.length, self.length + key_states.shape[2]
        self._grow(self.allocated(self.length))
        self.keys[:, :, start : self.length] = key_states
        self.values[:, :, start : self.length] = value_states
        seen = self.keys.shape[2] if self.whole and key_states.shape[2] == 1 else self.length
        return self.keys[:, :, :seen], self.values[:, :, :seen]

    def allocated(self, length: int) -> int:
        """How many positions have memory when so many are written."""
        return min(self.capacity, -(-length // BLOCK) * BLOCK) if self.whole else self.capacity

    def _grow(self, size: int) -> None:
        """Take memory for more positions; zeros, since what is masked must still be a number."""
        assert self.keys is not None and self.values is not None
        more = size - self.keys.shape[2]
        if more > 0:
            self.keys, self.values = (nn.functional.pad(store, (0, 0, 0, more)) for store in (self.keys, self.values))

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

    def __init__(self, layers: int, capacity: int, whole: bool = False) -> None:
        self.capacity, self.whole = capacity, whole
        self.own_layers = [_PreallocatedLayer(capacity, whole) for _ in range(layers)]
        super().__init__(layers=list(self.own_layers))

    def seen(self, length: int) -> int:
        """How many keys attention sees when so many are written."""
        return self.own_layers[0].allocated(length) if self.whole else length

    def take(self, other: "PreallocatedCache", rows: Tensor) -> None:
        """Fill the lowest layers, still empty, with rows (b,) of another cache's."""
        for layer, source in zip(self.own_layers, other.own_layers, strict=False):
            assert source.keys is not None and source.values is not None
            layer.update(source.keys[rows, :, : source.length], source.values[rows, :, : source.length])

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
