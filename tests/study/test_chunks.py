"""Chunks of long rollouts: they cover every sentence, and each has one owner."""

from __future__ import annotations

import itertools

import pytest

from repurpose.study import chunks
from repurpose.study.settings import SettingsError


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 19, 40, 41, 500])
@pytest.mark.parametrize(("size", "overlap"), [(10, 0), (10, 3), (10, 9), (1, 0)])
def test_chunks_cover_all_sentences_and_overlap(count: int, size: int, overlap: int) -> None:
    cuts = chunks.cut(count, size, overlap)
    assert sorted({i for chunk in cuts for i in chunk}) == list(range(count))
    assert all(len(chunk) <= size for chunk in cuts)
    for one, other in itertools.pairwise(cuts):
        assert one.start < other.start
        assert one.stop - other.start >= overlap


def test_an_overlap_that_leaves_nothing_new_is_refused() -> None:
    with pytest.raises(SettingsError, match="overlap_sentences"):
        chunks.cut(20, 5, 5)


def test_a_shared_sentence_belongs_to_the_chunk_that_shows_more_around_it() -> None:
    assert chunks.owners([range(0, 10), range(6, 16)], 16) == [0] * 8 + [1] * 8
    # the text's own start and end hide nothing
    assert chunks.owners([range(0, 4), range(1, 8)], 8) == [0] * 3 + [1] * 5
