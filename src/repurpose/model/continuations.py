"""Continuations: how likely a model finds texts that go on from one prompt, which it reads once for all of them."""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

from repurpose.model.batches import batches_by_tokens

LOGITS = 1 << 25
"""Numbers of float32 logits that are worked on at once."""


@torch.inference_mode()
def read_likelihoods(
    model: PreTrainedModel, prompt: Sequence[int], texts: Sequence[Sequence[int]], batch_tokens: int = 2048
) -> Iterator[tuple[int, float]]:
    """Yield (text's index, its mean negative log-likelihood per token in nats), longest first.

    Args:
        prompt: ids, at least one.
        texts: ids, at least one each.
        batch_tokens: ids in a batch of texts, padding included; a longer text stands alone.
    """
    cache = DynamicCache(config=model.config)
    if len(prompt) > 1:
        model(input_ids=torch.tensor([prompt[:-1]], device=model.device), past_key_values=cache, use_cache=True)
    for indices in batches_by_tokens([len(text) for text in texts], batch_tokens):
        batch = [torch.tensor(texts[i], device=model.device) for i in indices]
        yield from zip(indices, _read_batch(model, prompt, batch, deepcopy(cache)), strict=True)


def _read_batch(model: PreTrainedModel, prompt: Sequence[int], texts: list[Tensor], cache: DynamicCache) -> list[float]:
    """Mean negative log-likelihoods of texts; the cache holds the prompt but for its last token."""
    lengths = torch.tensor([len(text) for text in texts], device=model.device)
    asked = pad_sequence(texts, batch_first=True)
    given = torch.cat([asked.new_full((len(texts), 1), prompt[-1]), asked[:, :-1]], dim=1)
    real = torch.arange(asked.shape[1], device=model.device) < lengths[:, None]
    before = real.new_ones(len(texts), len(prompt) - 1)
    if len(prompt) > 1:
        cache.batch_repeat_interleave(len(texts))
    hidden = model(
        input_ids=given, attention_mask=torch.cat([before, real], 1).long(), past_key_values=cache, use_cache=True
    ).logits[real]
    rows = max(1, LOGITS // hidden.shape[-1])
    pieces = zip(hidden.split(rows), asked[real].split(rows), strict=True)
    nats = torch.cat(
        [torch.nn.functional.cross_entropy(logits.float(), ids, reduction="none") for logits, ids in pieces]
    )
    return [float(part.double().mean()) for part in nats.split(lengths.tolist())]
