"""The engine `transformers`: a generation loop over a Hugging Face causal model's forward pass.

Rows of like prompt length run side by side, each as long as it has tokens to write: the ones that are done leave at
once, and others take their places. Each row has uniforms of its own, so that its tokens do not depend on its
neighbours. What is steered, and that it was, is the business of `model.hooks`.

Legend: b rows in the batch, u prompts that differ, s positions, v vocabulary.
"""

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

from repurpose.model.batches import batches_of_prompts
from repurpose.model.engines import Batch, Engine, Request, Sampling, finish_rows
from repurpose.model.engines.attention import SlotCache, compacted_order, is_whole_faster, use_grouped_attention
from repurpose.model.hooks import BatchSteering, SteeringError, attention_kinds, decoder_layers, sliding_window, steer
from repurpose.model.shared_layers import last_shared_layer, number_texts, read_stream, start_above, unembed_only

ADMITTED_SHARE = 0.125
"""New rows come in when they are at least this share of a batch: fewer would cost as many passes."""
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
        batches = batches_of_prompts([request.prompt_ids for request in requests], self.batch_size)
        order = [index for batch in batches for index in batch]
        if order:
            for done in _Rows(self, [requests[index] for index in order], sampling).run():
                yield [(order[row], outcome) for row, outcome in done]


class _Below(NamedTuple):
    """What the layers up to one made of the prompts of some rows, before any steering."""

    layer: int
    stream: Tensor
    """(u, s, d), a row for each prompt that differs"""
    cache: DynamicCache
    """The keys and values of those layers."""
    texts: list[int]
    """(b,) which of the prompts each row has"""


class _Rows:
    """All rows from prompt to last token, at most a batch of them at once; one that is in the batch has a place in it.

    Rows are known by their numbers among the requests.
    """

    def __init__(self, engine: TransformersEngine, requests: list[Request], sampling: Sampling) -> None:
        self.engine, self.requests, self.sampling, self.model = engine, requests, sampling, engine.model
        self.device, self.waiting = engine.model.device, list(range(len(requests)))
        self.steering = BatchSteering([r.steer for r in requests], [r.seed for r in requests], engine.model, held=())
        self.window, self.kinds = sliding_window(self.model.config), attention_kinds(self.model.config)
        longest = max(len(request.prompt_ids) for request in requests) + sampling.max_new_tokens
        slots, whole = min(engine.batch_size, len(requests)), is_whole_faster(engine.model)
        self.cache = SlotCache(engine.layers, slots, longest, whole, self.device)
        self.rows: list[int] = []
        """Of the batch, by place."""
        self.drawn = torch.zeros(0, dtype=torch.int64, device=self.device)
        """(b,) how many tokens each row has drawn."""
        self.tokens = torch.zeros(0, sampling.max_new_tokens, dtype=torch.int64, device=self.device)
        self.uniforms = torch.zeros(0, sampling.max_new_tokens, dtype=torch.float64, device=self.device)

    def run(self) -> Generator[Batch, None, None]:
        """Decode; yield rows as they are done; a SteeringError where one was broken by its magnitude."""
        while self.waiting or self.rows:
            with torch.inference_mode():
                done = self._admit() if self._has_room() else self._step()
            if done:
                yield done

    def _has_room(self) -> bool:
        """Whether it is time for new rows."""
        free = min(self.cache.slots - len(self.rows), len(self.waiting))
        return free > 0 and (not self.rows or free >= ADMITTED_SHARE * self.cache.slots)

    def _admit(self) -> Batch:
        """Take new rows in, with the first token of each."""
        count = self.cache.slots - len(self.rows)
        new, self.waiting = self.waiting[:count], self.waiting[count:]
        prompts = [torch.tensor(self.requests[row].prompt_ids) for row in new]
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        ids = pad_sequence(prompts, batch_first=True).to(self.device)
        logits, states = self._prefill(new, ids, lengths)
        self.cache.add(lengths, states)
        self.rows = [*self.rows, *new]
        uniforms = row_uniforms([self.requests[row].seed for row in new], self.sampling.max_new_tokens)
        self.uniforms = torch.cat([self.uniforms, uniforms.to(self.device)])
        self.drawn = torch.cat([self.drawn, torch.zeros_like(lengths)])
        self.tokens = torch.cat([self.tokens, self.tokens.new_zeros(len(new), self.sampling.max_new_tokens)])
        return self._draw(logits, torch.arange(len(self.rows) - len(new), len(self.rows), device=self.device))

    def _prefill(self, new: Sequence[int], ids: Tensor, lengths: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Logits (b, v) after prompts (b, s), and each layer's keys and values of them.

        Samples of one prompt that are steered alike are one row here: they part at their first token. Prompts are
        padded on the right, where what is behind a token changes nothing.
        """
        first, texts = number_texts([self._prompt_key(row) for row in new])
        if len(first) < len(new):
            logits, states = self._prefill([new[place] for place in first], ids[first], lengths[first])
            self.steering.share([new[first[text]] for text in texts], new)
            return logits[texts], [(keys[texts], values[texts]) for keys, values in states]
        self.steering.hold(new)
        below = self._read_below(new, ids)
        columns = torch.arange(ids.shape[1], device=self.device)
        self.steering.positions(columns < lengths[:, None], torch.zeros_like(ids[:1, :1], dtype=torch.bool))
        cache, places = DynamicCache(), torch.arange(len(new), device=self.device)
        with ExitStack() as stack:
            if below is not None:
                stack.enter_context(start_above(self.model, below.layer, below.stream[below.texts]))
            stack.enter_context(steer(self.model, self.steering))
            stack.enter_context(unembed_only(self.model, places, lengths - 1))
            logits = self.model(input_ids=ids, past_key_values=cache, use_cache=True).logits[0]
        return logits, [_states(cache, below, layer) for layer in range(self.engine.layers)]

    def _prompt_key(self, row: int) -> tuple[int, ...]:
        """What the row's prompt and its steering come from; each row's noise is its own."""
        steer = self.requests[row].steer
        own = row if steer is not None and steer.operation == "noise" else -1
        return (own, id(steer), *self.requests[row].prompt_ids)

    def _read_below(self, new: Sequence[int], ids: Tensor) -> _Below | None:
        """What the layers below the first steered one make of the prompts, where some rows have the same."""
        first, texts = number_texts([self.requests[row].prompt_ids for row in new])
        steers = [self.requests[row].steer for row in new]
        layer = last_shared_layer(steers, self.engine.layers, prompt_only=True)
        if layer is None or len(first) == len(texts):
            return None
        cache = DynamicCache()
        stream = read_stream(self.model, layer, input_ids=ids[first], past_key_values=cache, use_cache=True)
        return _Below(layer, stream, cache, texts)

    def _step(self) -> Batch:
        """Feed each row's last token, and draw the next."""
        places = torch.arange(len(self.rows), device=self.device)
        last = self.tokens[places, self.drawn - 1]
        mask = self._mask(self.cache.prepare())
        self.steering.hold(self.rows)
        everywhere = torch.ones_like(last[:, None], dtype=torch.bool)
        self.steering.positions(everywhere, everywhere)
        with steer(self.model, self.steering):
            logits = self.model(
                input_ids=last[:, None],
                position_ids=self.cache.lengths[:, None],
                attention_mask=mask,
                past_key_values=self.cache,
                use_cache=True,
            ).logits[:, -1]
        self.cache.advance()
        return self._draw(logits, places)

    def _mask(self, seen: int) -> Tensor | dict[str, Tensor]:
        """Additive mask (b, 1, 1, k) over the keys, the next token's among them, as the model takes it.

        Layers that slide do not see what is a window behind: a mask that is given replaces the model's own.
        """
        columns, lengths = torch.arange(seen, device=self.device), self.cache.lengths[:, None]
        full = self._additive(columns <= lengths)
        if self.window is None:
            return full
        sliding = self._additive((columns <= lengths) & (columns > lengths - self.window))
        return {"full_attention": full, "sliding_attention": sliding} if len(self.kinds) > 1 else sliding

    def _additive(self, visible: Tensor) -> Tensor:
        hidden = torch.zeros(visible.shape, dtype=self.model.dtype, device=self.device)
        return hidden.masked_fill_(~visible, torch.finfo(self.model.dtype).min)[:, None, None]

    def _draw(self, logits: Tensor, places: Tensor) -> Batch:
        """Draw a token for the rows at some places; return those that are done, which leave."""
        self._check_finite(logits, places)
        count, chosen = self.drawn[places], self.sampling
        uniforms = self.uniforms[places, count]
        ids = draw_tokens(logits, chosen.temperature, uniforms, chosen.top_p, chosen.top_k)
        self.tokens[places, count] = ids
        self.drawn[places] = count + 1
        stopped = torch.isin(ids, self.engine.stop_ids)
        ended = stopped | (count + 1 == chosen.max_new_tokens)
        if not ended.any():
            return []
        return self._leave(places[ended].tolist(), stopped[ended].tolist())

    def _check_finite(self, logits: Tensor, places: Tensor) -> None:
        """Refuse logits that are no numbers: what is drawn from them says nothing of the model."""
        finite = logits.amax(-1).isfinite()  # a model may rule a token out by minus infinity
        if not finite.all():
            broken = int(places[(~finite).nonzero()[0, 0]])
            steered = self.requests[self.rows[broken]].steer
            cause = f"under {steered.condition}; lower its magnitude" if steered else "though nothing is steered"
            raise SteeringError(f"the model's logits are not finite in {self.model.dtype}, {cause}")

    def _leave(self, places: list[int], stopped: list[bool]) -> Batch:
        """Let the rows at some places go; return what became of them."""
        rows = [self.rows[place] for place in places]
        drawn = [self.tokens[place, : self.drawn[place]].tolist() for place in places]
        requests = [self.requests[row] for row in rows]
        outcomes = finish_rows(requests, drawn, stopped, self.steering.counted(rows))
        gone = set(places)
        kept = compacted_order([place not in gone for place in range(len(self.rows))])
        self.rows = [self.rows[place] for place in kept]
        self.cache.keep(kept)
        self.drawn, self.tokens, self.uniforms = self.drawn[kept], self.tokens[kept], self.uniforms[kept]
        return list(zip(rows, outcomes, strict=True))


def _states(cache: DynamicCache, below: _Below | None, layer: int) -> tuple[Tensor, Tensor]:
    """A layer's keys and values (b, g, s, e) of prompts."""
    if below is None or layer > below.layer:
        own: Any = cache.layers[layer]
        return own.keys, own.values
    shared: Any = below.cache.layers[layer]
    return shared.keys[below.texts], shared.values[below.texts]


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
