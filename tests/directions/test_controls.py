from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from repurpose.directions.vectors import random_direction, same_offset_members, shuffled_members

LABELS = st.lists(st.booleans(), min_size=2, max_size=40).filter(any)


@given(LABELS)
def test_shuffles_keep_the_number_of_members(labels: list[bool]) -> None:
    positives = np.array(labels)
    members = shuffled_members(positives, 0, 1)
    assert members.sum() == positives.sum()
    assert np.array_equal(members, shuffled_members(positives, 0, 1))


@given(LABELS)
def test_same_offset_windows_are_never_the_behaviour(labels: list[bool]) -> None:
    positives = np.array(labels)
    members = same_offset_members(positives, 0)
    assert not (members & positives).any()
    assert members.sum() == min(positives.sum(), (~positives).sum())


def test_shuffles_ignore_labels() -> None:
    counts = np.zeros(60)
    positives = np.arange(60) < 20
    for number in range(400):
        counts += shuffled_members(positives, 0, number)
    assert abs(counts[:20].mean() - counts[20:].mean()) < 10


def test_random_directions_are_unit_fixed_and_nearly_orthogonal() -> None:
    directions = np.array([random_direction(3, number, 256) for number in range(20)])
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    assert np.array_equal(directions[7], random_direction(3, 7, 256))
    assert np.abs(directions @ directions.T - np.eye(20)).max() < 0.3
    assert not np.array_equal(directions[7], random_direction(4, 7, 256))
