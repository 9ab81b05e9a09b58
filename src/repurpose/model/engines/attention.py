"""What makes decoding fast: a key-value cache whose slots are used again, attention that never repeats grouped keys.

Knows shapes and nothing of sampling or steering. Legend: b rows, h query heads, g key-value heads, s query positions,
k key positions, e head width.
"""

from collections.abc import Sequence
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


class _SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, a slot for each row of the batch, in which its tokens stand from the beginning."""

    is_sliding = False
    stores: list[Tensor]
    """Keys and values (slots, g, k, e); zeros where nothing is written, since what is masked must be a number."""

    def __init__(self, cache: "SlotCache") -> None:
        CacheLayerMixin.__init__(self)
        self.cache, self.stores = cache, []

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        slots, width = self.cache.slots, self.cache.width
        self.stores = [s.new_zeros(slots, s.shape[1], width, s.shape[-1]) for s in (key_states, value_states)]
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write each row's next token; return the rows' slots, as far as attention sees them."""
        cache = self.cache
        rows = torch.arange(cache.rows, device=key_states.device)
        for store, states in zip(self.stores, (key_states, value_states), strict=True):
            store[rows, :, cache.lengths] = states[:, :, 0]
        keys, values = (store[: cache.rows, :, : cache.seen] for store in self.stores)
        return keys, values

    def add(self, states: Sequence[Tensor]) -> None:
        """Fill the slots behind the rows with keys and values (b, g, s, e)."""
        if not self.is_initialized:
            self.lazy_initialization(*states)
        slots = slice(self.cache.rows, self.cache.rows + states[0].shape[0])
        for store, new in zip(self.stores, states, strict=True):
            store[slots, :, : new.shape[2]] = new

    def grow(self, more: int) -> None:
        self.stores = [nn.functional.pad(store, (0, 0, 0, more)) for store in self.stores]

    def move(self, targets: Tensor, sources: Tensor) -> None:
        """Move rows to other slots."""
        for store in self.stores:
            store[targets] = store[sources]

    def get_mask_sizes(self, _query_length: int) -> tuple[int, int]:
        return self.cache.seen, 0

    def get_seq_length(self) -> int:
        return self.cache.seen

    def get_max_length(self) -> int:
        return self.cache.capacity


class SlotCache(Cache):
    """Keys and values of the rows that are being decoded, each of a length of its own, in slots that are used again."""

    def __init__(self, layers: int, slots: int, capacity: int, whole: bool, device: torch.device) -> None:
        """Of so many rows at once, at most, and of so many tokens of the longest text.

        `whole`: whether attention is to see all memory, masked where nothing is written: see `_multiply`.
        """
        self.slots, self.capacity, self.whole = slots, capacity, whole
        self.rows = self.width = self.seen = 0
        self.lengths = torch.zeros(0, dtype=torch.int64, device=device)
        """(b,) tokens of each row that are written."""
        self.own_layers = [_SlotLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self.own_layers))

    def add(self, lengths: Tensor, states: Sequence[Sequence[Tensor]]) -> None:
        """Take rows in: how long each is, and each layer's keys and values (b, g, s, e) of their prompts."""
        self._make_room(states[0][0].shape[2])
        for layer, pair in zip(self.own_layers, states, strict=True):
            layer.add(pair)
        self.rows += len(lengths)
        self.lengths = torch.cat([self.lengths, lengths])

    def prepare(self) -> int:
        """Make room for each row's next token; return how many keys attention then sees (`seen`)."""
        longest = int(self.lengths.max()) + 1
        self._make_room(longest)
        self.seen = self.width if self.whole else longest
        return self.seen

    def advance(self) -> None:
        """Count the token that each row has written."""
        self.lengths = self.lengths + 1

    def keep(self, places: Sequence[int]) -> None:
        """Keep the rows at `places`, in this order; see `compacted_order` for orders that move the fewest rows."""
        moves = [(target, source) for target, source in enumerate(places) if target != source]
        targets, sources = torch.tensor(moves, dtype=torch.int64, device=self.lengths.device).reshape(-1, 2).T
        for layer in self.own_layers:
            layer.move(targets, sources)
        self.rows, self.lengths = len(places), self.lengths[list(places)]

    def _make_room(self, width: int) -> None:
        """Take memory for so many tokens, by blocks; where not all of it is seen, with some to spare."""
        if width > self.width:
            wanted = width if self.whole else max(width, self.width + self.width // 2)
            self.width, before = min(self.capacity, -(-wanted // BLOCK) * BLOCK), self.width
            for layer in self.own_layers:
                layer.grow(self.width - before)


def compacted_order(alive: list[bool]) -> list[int]:
    """Order in which the live rows fill the front: those there already stay, those behind move into the gaps."""
    count = sum(alive)
    movers = [place for place in range(count, len(alive)) if alive[place]]
    return [place if alive[place] else movers.pop() for place in range(count)]
