from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny import make_model
from torch import Tensor
from transformers import LlamaForCausalLM, OPTConfig, OPTForCausalLM

from repurpose.model.hooks import (
    BatchSteering,
    HookError,
    SteeringError,
    change_layers,
    check_counts,
    decoder_layers,
    hidden_of,
    read_layers,
    steer,
)
from repurpose.model.steer import Operation, Steer

WIDTH, LAYERS = 32, 3
IDS = torch.tensor([[0, 5, 9, 33, 2], [0, 7, 8, 41, 12]])


def unit(seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)
    return vector / np.linalg.norm(vector)


def capture(model: LlamaForCausalLM, layers: list[int], ids: Tensor = IDS) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}
    read_layers(model, layers, lambda layer, hidden: found.update({layer: hidden.clone()}), input_ids=ids)
    return found


def steered(model: LlamaForCausalLM, plans: list[Steer | None], real: Tensor | None = None) -> dict[int, Tensor]:
    """Return resid_post of every layer of one steered forward pass."""
    steering = BatchSteering(plans, list(range(len(plans))), model)
    real = torch.ones_like(IDS, dtype=torch.bool) if real is None else real
    steering.positions(real, torch.zeros(1, 1, dtype=torch.bool))
    with steer(model, steering):
        return capture(model, list(range(LAYERS)))


def plan(operation: Operation, layer: int = 1, magnitude: float = 3.0) -> Steer:
    return Steer("x", operation, layer, magnitude, unit() if operation in ("add", "ablate") else None)


def test_captured_layers_equal_output_hidden_states(model: LlamaForCausalLM) -> None:
    found = capture(model, [0, 1, 2])
    stock = model(IDS, output_hidden_states=True).hidden_states
    assert torch.equal(found[0], stock[1]) and torch.equal(found[1], stock[2])
    torch.testing.assert_close(model.model.norm(found[2]), stock[3])
    assert not torch.allclose(found[2], stock[3])


def test_reading_ends_at_the_last_layer_that_is_asked(model: LlamaForCausalLM) -> None:
    ran: list[str] = []
    for name in ("model.layers.1", "model.layers.2", "lm_head"):
        model.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    capture(model, [0, 1])
    assert ran == ["model.layers.1"]


def test_hooks_are_gone_afterwards_even_after_an_error(model: LlamaForCausalLM) -> None:
    def fail(_layer: int, _hidden: Tensor) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        read_layers(model, [1], fail, input_ids=IDS)
    assert not any(layer._forward_hooks for layer in model.model.layers)


def test_both_kinds_of_layer_output_keep_the_whole_batch() -> None:
    hidden = torch.randn(4, 3, 2)
    assert hidden_of(hidden) is hidden
    assert hidden_of((hidden, "cache")) is hidden
    with pytest.raises(HookError, match="not \\(rows, positions, width\\)"):
        hidden_of(hidden[0])


def test_a_tuple_layer_is_steered_like_a_tensor_layer(model: LlamaForCausalLM) -> None:
    wanted = steered(model, [plan("add"), None])
    layer = model.model.layers[1]
    stock = type(layer).forward

    class Older(type(layer)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, str]:
            return stock(self, *args, **kwargs), "cache"

    class Unpacking(type(layer)):  # type: ignore[misc]
        def forward(self, hidden_states: Any, *args: Any, **kwargs: Any) -> Tensor:
            assert hidden_states[1] == "cache"
            return stock(self, hidden_states[0], *args, **kwargs)

    layer.__class__, model.model.layers[2].__class__ = Older, Unpacking
    found = steered(model, [plan("add"), None])
    assert all(torch.equal(found[at], wanted[at]) for at in range(LAYERS))


def test_other_architectures_are_refused_by_name() -> None:
    config = OPTConfig(
        vocab_size=8, hidden_size=8, ffn_dim=8, num_hidden_layers=1, num_attention_heads=1, word_embed_proj_dim=8
    )
    with pytest.raises(HookError, match="OPTForCausalLM: its decoder layers are not known"):
        decoder_layers(OPTForCausalLM(config))


def test_adding_moves_one_layer_of_one_row(model: LlamaForCausalLM) -> None:
    plain, moved = capture(model, [0, 1, 2]), steered(model, [None, plan("add")])
    assert torch.equal(moved[0], plain[0])
    torch.testing.assert_close(moved[1][1] - plain[1][1], 3 * torch.from_numpy(unit()).expand(5, WIDTH))
    assert all(torch.equal(moved[layer][0], plain[layer][0]) for layer in range(LAYERS))
    assert not torch.allclose(moved[2][1], plain[2][1])


def test_padding_is_left_alone(model: LlamaForCausalLM) -> None:
    real = torch.ones_like(IDS, dtype=torch.bool)
    real[1, :2] = False
    plain, moved = capture(model, [1])[1], steered(model, [plan("add"), plan("add")], real)[1]
    assert torch.equal(moved[1, :2], plain[1, :2]) and not torch.equal(moved[1, 2], plain[1, 2])


def test_ablation_counts_where_rounding_leaves_nothing_to_remove() -> None:
    """In bfloat16 a direction is often no part of the stream; a row is ablated at each position all the same."""
    half = make_model(3).to(torch.bfloat16)
    ids = torch.randint(2, 64, (4, 256), generator=torch.Generator().manual_seed(0))
    steering = BatchSteering([plan("ablate")] * 4, [0] * 4, half)
    steering.positions(torch.ones_like(ids, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool))
    unchanged = []

    def look(layer: int, hidden: Tensor) -> Tensor | None:
        after = steering.change(layer, hidden)
        assert after is not None
        unchanged.append(int((after == hidden).all(-1).sum()))
        return after

    with change_layers(half, range(LAYERS), look), torch.inference_mode():
        half(ids)
    assert sum(unchanged) > 0, "no position was left alone, so nothing is tested"
    assert steering.counted() == [256] * 4


@pytest.mark.parametrize("norm", [100.0, 1000.0, 100_000.0])
def test_a_longer_stream_counts_where_rounding_leaves_nothing_of_it(norm: float) -> None:
    """The first tokens' streams are so long that bfloat16 drops what is added: it was done all the same."""
    half = make_model(3).to(torch.bfloat16)
    steering = BatchSteering([plan("self", magnitude=30.0)], [0], half)
    steering.positions(torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool))
    stream = torch.randn(1, 4, WIDTH, generator=torch.Generator().manual_seed(0))
    hidden = (norm * stream / stream.norm(dim=-1, keepdim=True)).to(torch.bfloat16)
    after = steering.change(1, hidden)
    assert after is not None and torch.equal(after, hidden) == (norm == 100_000.0)
    assert steering.counted() == [4]


def test_what_is_not_done_counts_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    half = make_model(3).to(torch.bfloat16)
    steering = BatchSteering([plan("self", magnitude=30.0)], [0], half)
    steering.positions(torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool))
    monkeypatch.setattr("repurpose.model.hooks.change_of", lambda *given: torch.zeros_like(given[1]))
    steering.change(1, torch.randn(1, 4, WIDTH).to(torch.bfloat16))
    assert steering.counted() == [0]


def test_ablation_leaves_nothing_of_the_direction_at_any_layer(model: LlamaForCausalLM) -> None:
    along = torch.from_numpy(unit())
    plain, without = capture(model, [0, 1, 2]), steered(model, [plan("ablate"), None])
    for layer in range(LAYERS):
        assert (plain[layer][0] @ along).abs().min() > 1e-3
        assert (without[layer][0] @ along).abs().max() < 1e-4
        assert torch.equal(without[layer][1], plain[layer][1])


def test_noise_has_its_norm_and_is_new_at_each_token(model: LlamaForCausalLM) -> None:
    added = steered(model, [plan("noise"), None])[1][0] - capture(model, [1])[1][0]
    torch.testing.assert_close(added.norm(dim=-1), torch.full((5,), 3.0), atol=1e-4, rtol=0)
    assert (added[0] @ added[1]).abs() < 8.9


def test_self_amplification_lengthens_without_turning(model: LlamaForCausalLM) -> None:
    before, after = capture(model, [1])[1][0], steered(model, [plan("self"), None])[1][0]
    torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1) + 3)
    torch.testing.assert_close(torch.cosine_similarity(after, before, dim=-1), torch.ones(5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Steer("c7", "add", 9, 1.0, unit()), "condition c7: no layer 9; 0 to 2 are"),
        (Steer("c7", "add", 1, 1.0, 2 * unit()), "condition c7: its direction has norm 2, not 1"),
        (Steer("c7", "ablate", 1), "condition c7: its direction has norm 0, not 1"),
        (Steer("c7", "noise", 1, 0.0), "condition c7: magnitude 0 is no steering"),
    ],
)
def test_impossible_plans_are_refused(model: LlamaForCausalLM, wrong: Steer, message: str) -> None:
    with pytest.raises(HookError, match=message):
        BatchSteering([wrong], [0], model)


def test_unsteered_rows_must_count_zero() -> None:
    check_counts([None, plan("add")], [0, 4], [0, 4])
    with pytest.raises(SteeringError, match="condition unsteered, row 0: steered at 4 of 0 positions"):
        check_counts([None], [4], [0])
