"""Rows of like length side by side, so that little of a batch is padding; the longest first, so that a lack of memory
shows at once."""

from collections.abc import Iterator, Sequence


def batches_by_tokens(lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Yield the rows' indices in batches whose padded size stays within `limit` tokens; a longer row stands alone."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    while order:
        count = max(1, limit // max(1, lengths[order[0]]))
        yield order[:count]
        order = order[count:]


def batches_of_prompts(prompts: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Yield the prompts' indices in batches of `size`.

    Rows of one prompt stand together: their answers are of like length too, so a batch is done at about one time.
    """
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), tuple(prompts[i]), i))
    for start in range(0, len(order), size):
        yield order[start : start + size]
