"""What jobs ask for, against the formula at the top of demand.py, worked out by hand.

The model of most examples has 10 billion parameters in bfloat16: 10e9 x 2 bytes = 20 GB of weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repurpose.study.resources import (
    gpu_megabytes,
    gpus,
    host_megabytes,
    minutes,
    rollout_tokens,
    study_demands,
    sweep_tokens,
    weight_bytes,
)
from repurpose.study.settings import Activations, Magnitudes, Pair, Prompts, Rollouts, Study, Sweep, Vectors

WEIGHTS, PARAMETERS = 20e9, 10.0
GIBIBYTE = 2**30
SWEEP = Sweep("train", prompts=3, magnitudes=Magnitudes("l2", (-1.0, 0.0, 2.0, 4.0)), samples=2, max_new_tokens=10)
STUDY = Study(
    study="by-hand",
    pair=Pair("base", "reasoning"),
    prompts=Prompts("organism", 7, 3),
    sweeps={"grid": SWEEP},
    rollouts=Rollouts(shards=4, samples=2, max_new_tokens=100),
    activations=Activations(layers=(1, 3, 5), window_starts=(-8, -4)),
    vectors=Vectors(random_directions=20, shuffles=5),
)
ROWS = 3 * 2 * 10
"""Tokens of one condition of the sweep: 3 prompts x 2 samples x 10 tokens."""
LAYERS = 6


@pytest.mark.parametrize(("dtype", "expected"), [("float32", 40e9), ("bfloat16", 20e9), ("float16", 20e9)])
def test_weights_are_parameters_times_their_bytes(dtype: str, expected: float) -> None:
    assert weight_bytes(10.0, dtype) == expected


def test_the_machine_holds_the_weights_three_times_and_four_gigabytes() -> None:
    assert host_megabytes(WEIGHTS) == 4_000 + 3 * 20_000 == 64_000
    assert host_megabytes(0) == 4_000
    assert host_megabytes(1) == 4_001  # a started megabyte counts


def test_rows_that_a_cpu_generates_at_once_take_a_fifth_of_the_weights_each() -> None:
    assert host_megabytes(10e9, 5) == 4_000 + 3 * 10_000 + 5 * 2_000


def test_gpus_share_the_weights_and_hold_four_gigabytes_each() -> None:
    assert gpu_megabytes(WEIGHTS, 1) == 4_000 + 24_000 == 28_000  # 1.2 x 20 GB
    assert gpu_megabytes(WEIGHTS, 2) == 4_000 + 12_000 == 16_000
    assert gpu_megabytes(WEIGHTS, 4) == 4_000 + 6_000 == 10_000


def test_a_model_takes_as_many_gpus_as_share_it() -> None:
    assert [gpus(WEIGHTS), gpus(WEIGHTS, 2), gpus(WEIGHTS, 8)] == [1, 2, 8]


def test_a_small_model_takes_no_gpu_and_an_hour() -> None:
    """Up to one GiB of weights, however many would share it and however much it writes."""
    assert [gpus(0), gpus(GIBIBYTE), gpus(GIBIBYTE, 2)] == [0, 0, 0]
    assert [minutes(0, 0.0, 0), minutes(GIBIBYTE, 0.5, 0), minutes(GIBIBYTE, 0.5, 10**9)] == [60, 60, 60]
    assert gpus(GIBIBYTE + 1) == 1
    assert minutes(GIBIBYTE + 1, 0.5, 0) == 16  # 15 + 1.5 x 1.07 / 0.2 s / 60 = 15.13


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (0, 18),  # 20 GB / 0.2 GB/s = 100 s; 15 + 1.5 x 100 / 60 = 17.5
        (300_000, 20),  # 300,000 x 10e9 / 3e13 = 100 s; 15 + 1.5 x 200 / 60 = 20
        (300_001, 21),  # a started minute counts
        (3_000_000, 43),  # 1,000 s; 15 + 1.5 x 1,100 / 60 = 42.5
    ],
)
def test_minutes_are_a_start_the_reading_of_weights_and_the_tokens(tokens: int, expected: int) -> None:
    assert minutes(WEIGHTS, PARAMETERS, tokens) == expected


TOKENS = st.integers(0, 10**9)
LARGE = st.floats(1.0, 100.0)
"""Billions of parameters of models that want a GPU: a small one has none, and asks for an hour in its place."""


@given(LARGE, LARGE, TOKENS, TOKENS)
def test_more_tokens_and_larger_models_never_ask_for_less_time(one: float, other: float, few: int, many: int) -> None:
    (small, large), (few, many) = sorted((one, other)), sorted((few, many))
    asked = [minutes(weight_bytes(size, "bfloat16"), size, count) for size in (small, large) for count in (few, many)]
    assert asked[0] <= min(asked[1:]) and max(asked[:3]) <= asked[3]


@given(st.floats(0.0, 100.0), st.floats(0.0, 100.0), st.integers(1, 8))
def test_larger_models_never_ask_for_less_memory_or_fewer_gpus(one: float, other: float, shared_by: int) -> None:
    small, large = sorted(weight_bytes(size, "float32") for size in (one, other))
    assert host_megabytes(small) <= host_megabytes(large)
    assert gpu_megabytes(small, shared_by) <= gpu_megabytes(large, shared_by)
    assert gpus(small, shared_by) <= gpus(large, shared_by)


def test_a_job_of_a_sweep_has_its_share_of_the_prompts() -> None:
    whole = sweep_tokens(STUDY, SWEEP, LAYERS)
    assert [sweep_tokens(STUDY, replace(SWEEP, shards=shards), LAYERS) * 3 for shards in (2, 3)] == [2 * whole, whole]


def test_a_batch_takes_the_machine_s_memory_where_no_gpu_holds_it() -> None:
    asked = {}
    for size in (0.5, 10.0):
        pair = replace(
            STUDY.pair, base="hub/base", reasoning="hub/reasoning", parameters=size, dtype="bfloat16", gpus=2
        )
        asked[size] = study_demands(replace(STUDY, pair=pair, rollouts=Rollouts(batch_size=10)))
    assert asked[0.5].gpus == 0 and asked[10.0].gpus == asked[10.0].engine_gpus == 2
    assert asked[0.5].sampling_memory == 4_000 + 3 * 1_000 + 10 * 200
    assert asked[0.5].sweep_memory == {"grid": 4_000 + 3 * 1_000 + 192 * 200}
    assert asked[10.0].sweep_memory == {"grid": 64_000} and asked[10.0].sampling_memory == 64_000


def test_a_shard_of_rollouts_is_its_prompts_times_samples_times_their_longest_text() -> None:
    assert rollout_tokens(STUDY) == 3 * 2 * 100  # 7 + 3 prompts in 4 shards: 3 in the largest
    assert rollout_tokens(replace(STUDY, rollouts=Rollouts(shards=1, samples=1, max_new_tokens=500))) == 10 * 500


@pytest.mark.parametrize(
    ("changes", "conditions"),
    [
        ({}, 1 + 1 * 3),  # unsteered; one vector at each magnitude but zero
        ({"readers": ("base", "reasoning")}, 1 + 2 * 3),
        ({"layers": (1, 5)}, 1 + 1 * 2 * 3),
        ({"layers": "all"}, 1 + 1 * 3 * 3),  # the three layers that are read
        ({"window_starts": (-8, -4)}, 1 + 2 * 3),
        ({"window_starts": "all"}, 1 + 2 * 3),  # the two windows that are read
        ({"directions": ("backtracking", "mean")}, 1 + 2 * 3),
        ({"directions": ("random",)}, 1 + 20 * 3),
        ({"directions": ("shuffle",)}, 1 + 5 * 3),
        ({"directions": ("noise", "self")}, 1 + 2 * 3),
        # 2 readers x 2 windows of backtracking and of each shuffle; random directions and noise have neither: 24 + 21
        (
            {
                "directions": ("backtracking", "shuffle", "random", "noise"),
                "readers": ("base", "reasoning"),
                "window_starts": (-8, -4),
                "layers": "all",
            },
            1 + 45 * 3 * 3,
        ),
        ({"operation": "ablate"}, 1 + 1),  # removed once, at no magnitude
    ],
)
def test_a_sweep_is_all_its_conditions_times_prompts_samples_and_longest_texts(
    changes: dict[str, Any], conditions: int
) -> None:
    assert sweep_tokens(STUDY, replace(SWEEP, **changes), LAYERS) == conditions * ROWS


def test_all_layers_are_the_models_where_all_are_read() -> None:
    study = replace(STUDY, activations=Activations(layers="all"))
    assert sweep_tokens(study, replace(SWEEP, layers="all"), LAYERS) == (1 + 6 * 3) * ROWS
