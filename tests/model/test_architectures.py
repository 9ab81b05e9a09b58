"""Models beyond Llama, with random weights: read and steered as by an independent hook, generated as by `generate`.

Prompts are longer than the sliding windows and of different lengths, so that rows are padded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers import models as library

from repurpose.model.engines import Request, Sampling
from repurpose.model.engines.transformers import TransformersEngine
from repurpose.model.hooks import decoder_layers, read_layers
from repurpose.model.steer import Steer
from repurpose.model.teacher_forcing import ForcedRow, read_logits

WIDTH, LAYERS, WINDOW = 32, 4, 8
PROMPTS = [list(range(2, 2 + length)) for length in (21, 5, 13, 17)]
SHARED = {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "initializer_range": 0.3}
LIKE_LLAMA = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
MIXED = ["sliding_attention", "full_attention"] * 2
CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: library.gpt2.GPT2Config(n_embd=WIDTH, n_layer=LAYERS, n_head=4, n_positions=128, **SHARED),
    "gpt_neox": lambda: library.gpt_neox.GPTNeoXConfig(**{**LIKE_LLAMA, **SHARED}),
    "gemma2": lambda: library.gemma2.Gemma2Config(
        **LIKE_LLAMA, **SHARED, sliding_window=WINDOW, layer_types=MIXED, query_pre_attn_scalar=8
    ),
    "gemma3": lambda: library.gemma3.Gemma3TextConfig(
        **LIKE_LLAMA, **SHARED, sliding_window=WINDOW, layer_types=MIXED, query_pre_attn_scalar=8
    ),
    "gemma3 with images": lambda: library.gemma3.Gemma3Config(
        text_config={
            **LIKE_LLAMA,
            **SHARED,
            "sliding_window": WINDOW,
            "layer_types": MIXED,
            "query_pre_attn_scalar": 8,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        image_token_id=63,
        initializer_range=0.3,
        tie_word_embeddings=False,  # or it repeats its last token, steered or not
    ),
    "qwen2": lambda: library.qwen2.Qwen2Config(
        **LIKE_LLAMA, **SHARED, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2
    ),
    "mistral": lambda: library.mistral.MistralConfig(**LIKE_LLAMA, **SHARED, sliding_window=WINDOW),
    "phi3": lambda: library.phi3.Phi3Config(**LIKE_LLAMA, **SHARED, sliding_window=WINDOW),
    "starcoder2": lambda: library.starcoder2.Starcoder2Config(**LIKE_LLAMA, **SHARED, sliding_window=WINDOW),
}


@pytest.fixture(scope="module", params=CONFIGS)
def other(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(CONFIGS[request.param]())
    return model.eval()


def direction() -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.random.default_rng(0).standard_normal(WIDTH).astype(np.float32)
    return vector / np.linalg.norm(vector)


def alone(model: PreTrainedModel, prompt: list[int]) -> list[int]:
    """What the library's own loop writes after one prompt."""
    found = model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=None)
    return found[0, len(prompt) :].tolist()


def batched(model: PreTrainedModel, steer: Steer | None = None) -> list[list[int]]:
    engine = TransformersEngine(model, [], batch_size=len(PROMPTS))
    requests = [Request(prompt, 0, steer) for prompt in PROMPTS]
    return [done.token_ids for done in engine.generate(requests, Sampling(temperature=0, max_new_tokens=20))]


def test_a_padded_batch_is_generated_as_each_row_alone(other: PreTrainedModel) -> None:
    wanted = [alone(other, prompt) for prompt in PROMPTS]
    assert batched(other) == wanted
    assert len({token for row in wanted for token in row}) > 4


def test_steering_equals_an_independent_hook(other: PreTrainedModel) -> None:
    added = torch.from_numpy(3 * direction())

    def add(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return (output[0] + added, *output[1:]) if isinstance(output, tuple) else output + added

    plain = [alone(other, prompt) for prompt in PROMPTS]
    handle = decoder_layers(other)[1].register_forward_hook(add)
    try:
        wanted = [alone(other, prompt) for prompt in PROMPTS]
    finally:
        handle.remove()
    assert batched(other, Steer("add", "add", 1, 3.0, direction())) == wanted != plain


def test_reading_equals_hidden_states_and_a_row_alone(other: PreTrainedModel) -> None:
    width = max(map(len, PROMPTS))
    ids = torch.tensor([prompt + [1] * (width - len(prompt)) for prompt in PROMPTS])
    real = torch.tensor([[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in PROMPTS])
    found: dict[int, Tensor] = {}
    read_layers(other, range(LAYERS), lambda layer, hidden: found.update({layer: hidden.clone()}), input_ids=ids,
                attention_mask=real)  # fmt: skip
    for row, prompt in enumerate(PROMPTS):
        states = other(input_ids=torch.tensor([prompt]), output_hidden_states=True).hidden_states
        for layer in range(LAYERS - 1):  # the last of them is behind the final norm
            torch.testing.assert_close(found[layer][row, : len(prompt)], states[layer + 1][0], atol=2e-4, rtol=2e-4)
    assert set(found) == set(range(LAYERS))


def test_forced_logits_equal_those_of_a_row_alone(other: PreTrainedModel) -> None:
    rows = [ForcedRow(prompt, [len(prompt) - 1]) for prompt in PROMPTS]
    for index, read in read_logits(other, rows):
        wanted = other(input_ids=torch.tensor([PROMPTS[index]])).logits[0, -1:]
        torch.testing.assert_close(read.logits, wanted.float(), atol=2e-4, rtol=2e-4)


def rows_of_layer(model: PreTrainedModel, layer: int, counted: list[int]) -> Any:
    """Append the rows of each forward pass of a layer; remove the handle that is returned afterwards."""
    return decoder_layers(model)[layer].mlp.register_forward_hook(
        lambda _module, inputs, _output: counted.append(len(inputs[0])) or None
    )


STEERS = [None, Steer("one", "add", 1, 3.0, direction()), Steer("two", "add", 2, 3.0, -direction())]
LATE = [None, Steer("late", "add", 0, 3.0, direction(), "generated")]


@pytest.mark.parametrize(("steers", "below"), [(STEERS, 1), (LATE, LAYERS - 1)])
def test_the_prompts_of_many_conditions_run_once_up_to_the_steered_layer(
    other: PreTrainedModel, steers: list[Steer | None], below: int
) -> None:
    requests = [Request(prompt, 0, steer) for steer in steers for prompt in PROMPTS]
    sampling = Sampling(temperature=0, max_new_tokens=6)
    wanted = [TransformersEngine(other, [], 1).generate([request], sampling)[0] for request in requests]
    lower, upper = [], []
    handles = [rows_of_layer(other, 0, lower), rows_of_layer(other, LAYERS - 1, upper)]
    try:
        assert TransformersEngine(other, [], len(requests)).generate(requests, sampling) == wanted
    finally:
        for handle in handles:
            handle.remove()
    assert (lower[0], upper[0]) == (len(PROMPTS), len(PROMPTS if below == LAYERS - 1 else requests))
    assert len({tuple(done.token_ids) for done in wanted}) > len(PROMPTS)


def test_texts_read_under_many_conditions_share_the_layers_below(other: PreTrainedModel) -> None:
    rows = [ForcedRow(prompt, [1, len(prompt) - 1], steer) for steer in STEERS for prompt in PROMPTS]
    lower: list[int] = []
    handle = rows_of_layer(other, 0, lower)
    try:
        found = dict(read_logits(other, rows))
    finally:
        handle.remove()
    assert sum(lower) == len(PROMPTS)
    for index, row in enumerate(rows):
        [(_, wanted)] = read_logits(other, [row])
        torch.testing.assert_close(found[index].logits, wanted.logits, atol=2e-4, rtol=2e-4)
        assert found[index].steered_positions == wanted.steered_positions == (len(row.token_ids) if row.steer else 0)
    assert not torch.allclose(found[0].logits, found[len(PROMPTS)].logits, atol=0.01)


def test_layers_that_do_not_attend_are_refused() -> None:
    config = library.qwen2.Qwen2Config(**LIKE_LLAMA, **SHARED, layer_types=["full_attention"] * LAYERS)
    model = AutoModelForCausalLM.from_config(config)
    model.config.layer_types = ["full_attention", "linear_attention"] * 2
    with pytest.raises(Exception, match="Qwen2ForCausalLM: layers of linear_attention are not supported"):
        decoder_layers(model)
