"""The engine `transformers`: a generation loop over a Hugging Face causal model's forward pass.

Rows of like prompt length are batched, padded on the left, decoded with a key-value cache, and leave the batch when
they are done. Each row has uniforms of its own, so that its tokens do not depend on its batch. What is steered, and
that it was, is the business of `model.hooks`.

Legend: b rows in the batch, s positions, v vocabulary.
"""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from repurpose.model.batches import batches_of_prompts
from repurpose.model.engines import Batch, Engine, Generated, Request, Sampling, finish_rows
from repurpose.model.engines.attention import (
    PreallocatedCache,
    compacted_order,
    is_whole_faster,
    use_grouped_attention,
)
from repurpose.model.hooks import BatchSteering, SteeringError, attention_kinds, decoder_layers, sliding_window, steer
from repurpose.model.shared_layers import last_shared_layer, number_texts, read_stream, start_above, unembed_only

COMPACT_SHARE = 0.125
"""Rows that are done leave the batch when they are at least this share of it."""
BLOCK = 256
"""Ids whose weights are summed at once."""
ROWS = 16
"""Rows for which a token is drawn at once."""


class TransformersEngine(Engine):
    """Generates with a transformers model, on its device and in its dtype."""

    name = "transformers"

    def __init__(self, model: PreTrainedModel, stop_ids: Sequence[int], batch_size: int) -> None:
        self.model, self.batch_size = model.train(False), batch_size
        self.stop_ids = torch.tensor(sorted(set(stop_ids)), dtype=torch.int64, device=model.device)
        self.layers = len(decoder_layers(model))
        use_grouped_attention(model)

    def _run(self, requests: Sequence[Request], sampling: Sampling) -> Generator[Batch, None, None]:
        for indices in batches_of_prompts([r.prompt_ids for r in requests], self.batch_size):
            rows = _Rows(self, [requests[i] for i in indices], sampling)
            yield list(zip(indices, rows.run(), strict=True))


class _Below(NamedTuple):
    """What the layers up to one made of the prompts of a batch, before any steering."""

    layer: int
    stream: Tensor
    """(u, s, d), a row for each prompt that differs"""
    cache: PreallocatedCache
    """The keys and values of those layers."""
    rows: Tensor
    """(b,) which of the prompts each row has"""


class _Rows:
    """One batch from prompt to last token."""

    def __init__(self, engine: TransformersEngine, requests: list[Request], sampling: Sampling) -> None:
        self.engine, self.requests, self.sampling, self.model = engine, requests, sampling, engine.model
        seeds, device, steps = [r.seed for r in requests], engine.model.device, sampling.max_new_tokens
        self.steering = BatchSteering([r.steer for r in requests], seeds, engine.model)
        prompts = [torch.tensor(r.prompt_ids) for r in requests]
        self.lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        self.prompts = pad_sequence(prompts, batch_first=True, padding_side="left").to(device)
        self.width = self.prompts.shape[1]
        self.uniforms = row_uniforms(seeds, steps).to(device)
        self.tokens = torch.zeros(len(requests), steps, dtype=torch.int64, device=device)
        self.drawn = torch.full((len(requests),), steps, device=device)
        self.stopped = torch.zeros(len(requests), dtype=torch.bool, device=device)
        self.finite = torch.ones_like(self.stopped)
        self.cache = PreallocatedCache(engine.layers, self.width + steps, is_whole_faster(engine.model))
        self.window, self.kinds = sliding_window(self.model.config), attention_kinds(self.model.config)
        self._make_mask()
        self._lay_out()

    def run(self) -> list[Generated]:
        """Decode all rows, then cut and check them; a SteeringError where one was broken by its magnitude."""
        with torch.inference_mode():
            below = self._read_below()
            with steer(self.model, self.steering):
                self._decode(self._prefill(below))
        self._check_finite()
        drawn = [row[:count] for row, count in zip(self.tokens.tolist(), self.drawn.tolist(), strict=True)]
        return finish_rows(self.requests, drawn, self.stopped.tolist(), self.steering.counted())

    def _check_finite(self) -> None:
        """Refuse what was drawn from logits that are no numbers: it says nothing of the model."""
        broken = (~self.finite).nonzero().flatten().tolist()
        if broken:
            steered = self.requests[broken[0]].steer
            cause = f"under {steered.condition}; lower its magnitude" if steered else "though nothing is steered"
            raise SteeringError(f"the model's logits are not finite in {self.model.dtype}, {cause}")

    def _make_mask(self) -> None:
        """Additive mask over keys (b, 1, 1, capacity), none where no row is padded and no key is seen too early."""
        model = self.model
        self.real = torch.arange(self.width, device=model.device) >= (self.width - self.lengths)[:, None]
        self.keys_mask = None
        if self.cache.whole or not self.real.all():
            hidden = torch.full((len(self.requests), 1, 1, self.cache.capacity), torch.finfo(model.dtype).min)
            hidden[:, 0, 0, : self.width].masked_fill_(self.real.cpu(), 0.0)
            self.keys_mask = hidden.to(model.device, model.dtype)

    def _decode(self, logits: Tensor) -> None:
        """Draw token after token, the first from the logits (b, v) that follow the prompts."""
        places = torch.arange(len(logits), device=logits.device)
        alive = torch.ones_like(places, dtype=torch.bool)
        for step in range(self.sampling.max_new_tokens):
            self.finite[places] &= logits.amax(-1).isfinite()  # a model may rule a token out by minus infinity
            drawn = draw_tokens(
                logits, self.sampling.temperature, self.uniforms[places, step], self.sampling.top_p, self.sampling.top_k
            )
            self.tokens[places, step] = drawn
            ended = alive & torch.isin(drawn, self.engine.stop_ids)
            self.stopped[places[ended]] = True
            self.drawn[places[ended]] = step + 1
            alive = alive & ~ended
            if step + 1 == self.sampling.max_new_tokens or not alive.any():
                return
            if (~alive).sum() >= COMPACT_SHARE * len(alive):
                kept = self._compact(alive.tolist())
                drawn, places, alive = drawn[kept], places[kept], alive[kept]
            logits = self._feed(drawn, places, alive, step)

    def _lay_out(self) -> None:
        """Positions (b, s) of the prompts' tokens and their mask (b, 1, s, s), none where no row is padded."""
        s, hidden = self.width, torch.finfo(self.model.dtype).min
        columns = torch.arange(s, device=self.real.device)
        self.positions = (columns - (s - self.lengths)[:, None]).clamp(min=0)
        self.prompt_mask = None
        if not self.real.all():
            assert self.keys_mask is not None
            future = self.real.new_ones(s, s).triu(1)
            mask = self.keys_mask[..., :s].expand(-1, 1, s, s).masked_fill(future, hidden)
            # padding sees itself, never nothing
            self.prompt_mask = mask.masked_fill(torch.eye(s, dtype=torch.bool, device=mask.device), 0.0)

    def _read_below(self) -> _Below | None:
        """What the layers below the first steered one make of the prompts, where some rows have the same."""
        texts, number = number_texts([request.prompt_ids for request in self.requests])
        layer = last_shared_layer(self.steering.steers, self.engine.layers, prompt_only=True)
        if layer is None or len(texts) == len(number):
            return None
        cache = PreallocatedCache(layer + 1, self.width)
        mask = None if self.prompt_mask is None else self.prompt_mask[texts]
        inputs = self._inputs(self.prompts[texts], self.positions[texts], mask, 0)
        stream = read_stream(self.model, layer, **inputs, past_key_values=cache)
        return _Below(layer, stream, cache, torch.tensor(number, device=stream.device))

    def _prefill(self, below: _Below | None) -> Tensor:
        """Logits (b, v) after the prompts."""
        self.steering.positions(self.real, torch.zeros_like(self.real[:1, :1]))
        if below is None:
            return self._forward(self.prompts, self.positions, self.prompt_mask, 0)
        with start_above(self.model, below.layer, below.stream[below.rows]):
            logits = self._forward(self.prompts, self.positions, self.prompt_mask, 0)
        self.cache.take(below.cache, below.rows)
        return logits

    def _feed(self, tokens: Tensor, places: Tensor, alive: Tensor, step: int) -> Tensor:
        """Logits (b, v) after the token that was drawn at `step`."""
        length, mask = self.width + step + 1, None
        if self.keys_mask is not None:
            self.keys_mask[..., length - 1] = 0.0
            mask = self.keys_mask[..., : self.cache.seen(length)]
        self.steering.positions(alive[:, None], torch.ones_like(alive[:1, None]))
        return self._forward(tokens[:, None], (self.lengths[places] + step)[:, None], mask, length - 1)

    def _forward(self, ids: Tensor, positions: Tensor, mask: Tensor | None, first: int) -> Tensor:
        """Logits (b, v) after the last of some tokens, whose first stands in column `first`."""
        inputs = self._inputs(ids, positions, mask, first)
        places = torch.arange(len(ids), device=ids.device)
        # `logits_to_keep=1` hands on a view with gaps, for which torch copies the whole unembedding once a row
        with unembed_only(self.model, places, torch.full_like(places, ids.shape[1] - 1)):
            logits: Tensor = self.model(**inputs, past_key_values=self.cache).logits[0]
        return logits

    def _inputs(self, ids: Tensor, positions: Tensor, mask: Tensor | None, first: int) -> dict[str, Any]:
        return {
            "input_ids": ids,
            "position_ids": positions,
            "attention_mask": None if mask is None else self._by_kind(mask, first),
            "use_cache": True,
        }

    def _by_kind(self, full: Tensor, first: int) -> Tensor | dict[str, Tensor]:
        """An additive mask (b, 1, s, k) as the model takes it; layers that slide do not see what is a window behind.

        A mask that is given replaces the model's own, window and all. Without padding none is given.
        """
        if self.window is None:
            return full
        columns = torch.arange(full.shape[-1], device=full.device)
        far = columns <= columns[first : first + full.shape[-2], None] - self.window
        sliding = full.masked_fill(far, torch.finfo(full.dtype).min)
        return {"full_attention": full, "sliding_attention": sliding} if len(self.kinds) > 1 else sliding

    def _compact(self, alive: list[bool]) -> Tensor:
        """Let the rows that are done leave the batch; return the places that stay, in their new order."""
        kept = compacted_order(alive)
        self.cache.keep(kept)
        self.steering.keep(kept)
        index = torch.tensor(kept, device=self.lengths.device)
        if self.keys_mask is not None:
            self.keys_mask = self.keys_mask[index]
        return index


def row_uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """Uniforms (rows, count) in [0, 1), float64; a longer row begins with the shorter one's."""
    return torch.from_numpy(np.stack([np.random.default_rng([seed, 0]).random(count) for seed in seeds]))


def draw_tokens(
    logits: Tensor, temperature: float, uniforms: Tensor, top_p: float = 1.0, top_k: int | None = None
) -> Tensor:
    """Draw a token a row, ids (b,) int64, by inverting the cumulative distribution of logits (b, v) at uniforms (b,).

    Float64 throughout: what float32 sums leave uncertain at a boundary would let a batch's shape choose the token.
    Temperature 0 takes the likeliest; `top_k` keeps so many of the likeliest, then `top_p` those of them that together
    have at least this probability.
    """
    if temperature == 0:
        return logits.argmax(-1)
    if len(logits) > ROWS:  # what fits the processor's memory is drawn several times as fast
        parts = zip(logits.split(ROWS), uniforms.split(ROWS), strict=True)
        return torch.cat([draw_tokens(some, temperature, numbers, top_p, top_k) for some, numbers in parts])
    weights = logits.double()
    weights = weights.sub_(weights.amax(-1, keepdim=True)).div_(temperature).exp_()
    if top_p < 1 or top_k is not None:
        falling, order = weights.sort(-1, descending=True)
        if top_k is not None:
            falling[:, top_k:] = 0
        before = falling.cumsum(-1) - falling
        falling *= before < top_p * falling.sum(-1, keepdim=True)
        weights = torch.zeros_like(weights).scatter(-1, order, falling)
    return _invert(weights, uniforms)


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Ids (b,) at which the cumulative sum of weights (b, v) passes uniforms (b,) times its end.

    First the block of ids, then the id within it: one long cumulative sum is slow.
    """
    v = weights.shape[-1]
    whole = v // BLOCK * BLOCK
    blocks = weights[:, :whole].unflatten(-1, (-1, BLOCK)).sum(-1)
    cumulative = torch.cat([blocks, weights[:, whole:].sum(-1, keepdim=True)], -1).cumsum(-1)
    thresholds = uniforms[:, None] * cumulative[:, -1:]
    block = torch.searchsorted(cumulative, thresholds, right=True).clamp_(max=cumulative.shape[-1] - 1)
    before = torch.where(block > 0, cumulative.gather(-1, (block - 1).clamp(min=0)), 0.0)
    ids = block * BLOCK + torch.arange(BLOCK, device=weights.device)
    inside = weights.gather(-1, ids.clamp(max=v - 1)).masked_fill_(ids >= v, 0.0).cumsum(-1)
    # rounding must not pass the block's last weight: what follows it may be ruled out
    below = torch.nextafter(inside[:, -1:], torch.zeros_like(inside[:, -1:]))
    place = torch.searchsorted(inside, torch.minimum(thresholds - before, below), right=True)
    return (block * BLOCK + place).squeeze(1).clamp_(max=v - 1)
