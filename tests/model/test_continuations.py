"""The likelihood of texts behind one prompt, against the same model read a text at a time without a cache."""

from __future__ import annotations

import random

import pytest
import torch
from tests.tiny import make_model

from repurpose.model.continuations import read_likelihoods


@pytest.mark.parametrize("batch_tokens", [1, 17, 4096])
@pytest.mark.parametrize("length", [1, 6])
def test_each_text_is_as_likely_as_it_is_alone(length: int, batch_tokens: int) -> None:
    rng, model = random.Random(0), make_model()
    prompt = [rng.randrange(60) for _ in range(length)]
    texts = [[rng.randrange(60) for _ in range(n)] for n in (5, 1, 9, 5, 3)]
    found = dict(read_likelihoods(model, prompt, texts, batch_tokens))
    assert sorted(found) == list(range(len(texts)))
    for number, text in enumerate(texts):
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + text])).logits[0, length - 1 : -1]
        expected = -logits.log_softmax(-1).gather(1, torch.tensor(text)[:, None]).mean()
        assert found[number] == pytest.approx(float(expected), abs=1e-4)
