"""Cuts long rollouts into overlapping chunks at sentence borders, and decides whose label a shared sentence keeps."""

import math

from repurpose.study.settings import SettingsError


def cut(count: int, size: int, overlap: int) -> list[range]:
    """Chunks of at most `size` of `count` sentences, neighbours sharing at least `overlap`, as even as can be.

    Even, because a short last chunk would show its sentences with little around them. Raises SettingsError where the
    overlap leaves nothing new to a chunk.
    """
    if not 0 <= overlap < size:
        raise SettingsError(f"overlap_sentences: {overlap} is not allowed; from 0 to chunk_sentences ({size}) - 1")
    if count <= size:
        return [range(count)] if count else []
    chunks = math.ceil((count - overlap) / (size - overlap))
    length = math.ceil((count + (chunks - 1) * overlap) / chunks)
    starts = [round(i * (count - length) / (chunks - 1)) for i in range(chunks)]
    return [range(start, start + length) for start in starts]


def owners(chunks: list[range], count: int) -> list[int]:
    """For each sentence the chunk that shows most around it; the earlier one of equals."""
    holders = [[number for number, chunk in enumerate(chunks) if sentence in chunk] for sentence in range(count)]
    return [max(numbers, key=lambda n: _shown(s, chunks[n], count)) for s, numbers in enumerate(holders)]


def _shown(sentence: int, chunk: range, count: int) -> int:
    """Sentences between this one and the nearer cut; the text's own start and end cut nothing off."""
    before = sentence - chunk.start if chunk.start else count
    after = chunk.stop - 1 - sentence if chunk.stop < count else count
    return min(before, after)
