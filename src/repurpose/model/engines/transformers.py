"""The engine `transformers`: a generation loop over a Hugging Face causal model's forward pass.

Rows of like prompt length are batched, padded on the left, decoded with a key-value cache, and leave the
batch when they are done. What is steered, and that it was, is the business of `model.hooks`.

Legend: b rows in the batch, s positions, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from repurpose.model.batches import batches_of_prompts
from repurpose.model.engines import Finished, Generated, Request, Sampling
from repurpose.model.engines.attention import PreallocatedCache, compacted_order, use_grouped_attention
from repurpose.model.engines.sampling import draw_tokens, row_uniforms
from repurpose.model.hooks import BatchSteering, check_counts, decoder_layers, steer
from repurpose.model.steer import expected_positions

COMPACT_SHARE = 0.125
"""Rows that are done leave the batch when they are at least this share of it."""


class TransformersEngine:
    """Generates with a transformers model, on its device and in its dtype."""

    name = "transformers"

    def __init__(self, model: PreTrainedModel, stop_ids: Sequence[int], batch_size: int) -> None:
        self.model, self.batch_size = model.train(False), batch_size
        self.stop_ids = torch.tensor(sorted(set(stop_ids)), dtype=torch.int64, device=model.device)
        self.layers = len(decoder_layers(model))
        use_grouped_attention(model)

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, finished: Finished | None = None
    ) -> list[Generated]:
        """Return one outcome for each request, in the order of the requests.

        Raises:
            SteeringError: where a row was not steered at exactly the positions that its policy names.
        """
        outcomes: dict[int, Generated] = {}
        for indices in batches_of_prompts([r.prompt_ids for r in requests], self.batch_size):
            batch = _Batch(self, [requests[i] for i in indices], sampling)
            done = list(zip(indices, batch.run(), strict=True))
            outcomes.update(done)
            if finished is not None:
                finished(done)
        return [outcomes[i] for i in range(len(requests))]


@dataclass
class _Batch:
    """One batch from prompt to last token."""

    engine: TransformersEngine
    requests: list[Request]
    sampling: Sampling
    order: list[int] = field(init=False)
    """Row of `requests` at each place of the batch."""

    def run(self) -> list[Generated]:
        steers = [r.steer for r in self.requests]
        self.order = list(range(len(self.requests)))
        self.steering = BatchSteering(
            steers, [r.seed for r in self.requests], self.engine.model, self.engine.model.device
        )
        self._lay_out()
        with torch.inference_mode(), steer(self.engine.model, self.steering):
            self._decode()
        return self._outcomes()

    def _lay_out(self) -> None:
        """Pad the prompts on the left and make room for everything that follows."""
        device = self.engine.model.device
        self.lengths = torch.tensor([len(r.prompt_ids) for r in self.requests], device=device)
        self.width = int(self.lengths.max())
        self.prompts = torch.zeros(len(self.requests), self.width, dtype=torch.int64, device=device)
        for row, request in enumerate(self.requests):
            self.prompts[row, self.width - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
        steps = self.sampling.max_new_tokens
        self.uniforms = row_uniforms([r.seed for r in self.requests], steps).to(device)
        self.tokens = torch.zeros(len(self.requests), steps, dtype=torch.int64, device=device)
        self.drawn = torch.full((len(self.requests),), steps, device=device)
        self.stopped = torch.zeros(len(self.requests), dtype=torch.bool, device=device)
        self.cache = PreallocatedCache(self.engine.layers, self.width + steps)
        self._make_mask()

    def _make_mask(self) -> None:
        """Additive mask over keys (b, 1, 1, capacity), none where no row is padded."""
        model = self.engine.model
        self.real = torch.arange(self.width, device=model.device) >= (self.width - self.lengths)[:, None]
        self.keys_mask = None
        if not self.real.all():
            hidden = torch.zeros(len(self.requests), 1, 1, self.cache.capacity, device=model.device)
            hidden[:, 0, 0, : self.width].masked_fill_(~self.real, torch.finfo(model.dtype).min)
            self.keys_mask = hidden.to(model.dtype)

    def _decode(self) -> None:
        logits = self._prefill()
        places = torch.tensor(self.order, device=logits.device)
        alive = torch.ones_like(places, dtype=torch.bool)
        for step in range(self.sampling.max_new_tokens):
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

    def _prefill(self) -> Tensor:
        """Logits (b, v) after the prompts."""
        mask, positions = None, torch.arange(self.width, device=self.real.device)[None]
        if self.keys_mask is not None:
            positions = (positions - (self.width - self.lengths)[:, None]).clamp(min=0)
            mask = _prompt_mask(self.keys_mask[..., : self.width])
        self.steering.positions(self.real, torch.zeros_like(self.real[:1, :1]))
        return self._forward(self.prompts, positions, mask)

    def _feed(self, tokens: Tensor, places: Tensor, alive: Tensor, step: int) -> Tensor:
        """Logits (b, v) after the token that was drawn at `step`."""
        length = self.width + step + 1
        mask = None if self.keys_mask is None else self.keys_mask[..., :length]
        self.steering.positions(alive[:, None], torch.ones_like(alive[:1, None]))
        return self._forward(tokens[:, None], (self.lengths[places] + step)[:, None], mask)

    def _forward(self, ids: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        output = self.engine.model(
            input_ids=ids,
            position_ids=positions.expand(ids.shape),
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _compact(self, alive: list[bool]) -> Tensor:
        """Let the rows that are done leave the batch; return the places that stay, in their new order."""
        kept = compacted_order(alive)
        self.order = [self.order[place] for place in kept]
        self.cache.keep(kept)
        self.steering.keep(kept)
        index = torch.tensor(kept, device=self.lengths.device)
        if self.keys_mask is not None:
            self.keys_mask = self.keys_mask[index]
        return index

    def _outcomes(self) -> list[Generated]:
        """Cut each row at its end and check that it was steered where it should have been."""
        steers, counted = [r.steer for r in self.requests], self.steering.counted()
        drawn, stopped, rows = self.drawn.tolist(), self.stopped.tolist(), self.tokens.tolist()
        expected = [
            expected_positions(r.steer, len(r.prompt_ids), count - 1)
            for r, count in zip(self.requests, drawn, strict=True)
        ]
        check_counts(steers, counted, expected)
        return [
            Generated(row[: count - 1] if stop else row[:count], "stop" if stop else "length", seen, wanted)
            for row, count, stop, seen, wanted in zip(rows, drawn, stopped, counted, expected, strict=True)
        ]


def _prompt_mask(keys: Tensor) -> Tensor:
    """Causal additive mask (b, 1, s, s) from a mask over keys (b, 1, 1, s); padding sees itself, never
    nothing."""
    s, least = keys.shape[-1], torch.finfo(keys.dtype).min
    future = torch.ones(s, s, dtype=torch.bool, device=keys.device).triu(1)
    mask = keys.expand(-1, 1, s, s).masked_fill(future, least)
    return mask.masked_fill(torch.eye(s, dtype=torch.bool, device=keys.device), 0.0)
