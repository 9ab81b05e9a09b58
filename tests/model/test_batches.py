"""Batches of like length: every row once, within the limit, the longest first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from repurpose.model.batches import batches_by_tokens, batches_of_prompts


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 120))
def test_batches_cover_every_row_within_the_limit(lengths: list[int], limit: int) -> None:
    batches = list(batches_by_tokens(lengths, limit))
    rows = [index for batch in batches for index in batch]
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[index] for index in rows] == sorted(lengths, reverse=True)
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= limit for b in batches)


def test_batches_hold_like_prompts() -> None:
    prompts = [[1, 2], [5, 6, 7], [1, 3], [5, 6, 7], [1, 2], [4]]
    assert list(batches_of_prompts(prompts, 2)) == [[1, 3], [0, 4], [2, 5]]
