from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from repurpose.directions.controls import (
    covariance_directions,
    random_direction,
    same_offset_members,
    shuffled_members,
)

WINDOWS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40)
"""Prompt and whether it is the behaviour's."""


def arrays(windows: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    prompts, positives = zip(*windows, strict=True)
    return np.array(positives), np.array(prompts)


@given(WINDOWS)
def test_shuffles_keep_the_number_of_members_of_each_prompt(windows: list[tuple[int, bool]]) -> None:
    positives, prompts = arrays(windows)
    members = shuffled_members(positives, prompts, 0, 1)
    assert np.array_equal(np.bincount(prompts, members), np.bincount(prompts, positives))
    assert np.array_equal(members, shuffled_members(positives, prompts, 0, 1))


@given(WINDOWS)
def test_same_offset_windows_are_others_of_the_same_prompt(windows: list[tuple[int, bool]]) -> None:
    """Where a prompt has fewer others than the behaviour has windows, all of them."""
    positives, prompts = arrays(windows)
    members = same_offset_members(positives, prompts, 0)
    assert not (members & positives).any()
    wanted = np.minimum(np.bincount(prompts, positives), np.bincount(prompts, ~positives))
    assert np.array_equal(np.bincount(prompts, members), wanted)


def test_shuffles_ignore_labels() -> None:
    counts = np.zeros(60)
    positives, prompts = np.arange(60) < 20, np.arange(60) % 3
    for number in range(400):
        counts += shuffled_members(positives, prompts, 0, number)
    assert abs(counts[:20].mean() - counts[20:].mean()) < 10


def test_covariance_matched_directions_lie_where_activations_vary() -> None:
    """Three axes hold nearly all variance, and the mean none of it; isotropic directions know neither."""
    generator = np.random.default_rng(0)
    scales = np.r_[[9.0, 6.0, 3.0], np.full(61, 0.1)]
    windows = (50 * np.eye(64)[63] + scales * generator.standard_normal((5000, 64))).astype(np.float32)
    directions = covariance_directions([windows], len(windows), 1, 300)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    share = (directions**2).mean(0)
    assert share[:3].sum() > 0.98 and share[63] < 0.001
    assert share[0] > share[1] > share[2] > 0.05
    np.testing.assert_allclose(
        directions[:4], covariance_directions([windows[:7], windows[7:]], len(windows), 1, 4), atol=1e-9
    )
    assert np.isnan(covariance_directions([np.ones((3, 4), np.float32)], 3, 1, 2)).all()


def test_random_directions_are_unit_fixed_and_nearly_orthogonal() -> None:
    directions = np.array([random_direction(3, number, 256) for number in range(20)])
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    assert np.array_equal(directions[7], random_direction(3, 7, 256))
    assert np.abs(directions @ directions.T - np.eye(20)).max() < 0.3
    assert not np.array_equal(directions[7], random_direction(4, 7, 256))
