"""Where each token of a text ends in it: made once, when a rollout is sampled, by the tokenizer that decodes it.

What reads a rollout afterwards (sentences, projections, figures) needs no tokenizer and takes no ids apart.
"""

from collections.abc import Sequence
from itertools import pairwise

from transformers import PreTrainedTokenizerBase

REPLACEMENT = "\ufffd"
"""What bytes that make no character, or not yet, are decoded to."""


def token_ends(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Character at which each token ends in the text that all ids decode to; ascending, the last is its length.

    A token that ends inside a character (byte-level vocabularies) ends where that character ends. Each token is
    decoded behind the few before it, because a decoder may treat the first of its tokens in a way of its own
    (SentencePiece drops its space).
    """

    def decode(start: int, end: int) -> str:
        return str(tokenizer.decode(ids[start:end]))

    text, ends = decode(0, len(ids)), list[int]()
    context = settled = done = 0  # ids[:settled] make text[:done]; ids[context:settled] are decoded again, to `before`
    before = pending = ""
    for position in range(len(ids)):
        piece = decode(context, position + 1)[len(before) :]
        if context and not text.startswith(piece.rstrip(REPLACEMENT), done):  # the tokens before it do not suffice
            context, before = 0, text[:done]
            piece = decode(0, position + 1)[done:]
        shared = 0
        while shared < len(piece) and text[done + shared : done + shared + 1] == piece[shared]:
            shared += 1
        ends.append(max([min(done + shared + (shared < len(piece)), len(text)), *ends[-1:]]))
        if shared == len(piece) and not piece.endswith(REPLACEMENT):
            count, made, pending = position + 1, piece, ""
        elif pending and text.startswith(pending, done) and pending + decode(position, position + 1) == piece:
            count, made, pending = position, pending, piece[len(pending) :]  # what came before makes no character
        else:
            pending = piece
            continue
        context, settled, done = settled, count, done + len(made)
        before = decode(context, settled)
    return [*ends[:-1], len(text)] if ends else []


def token_texts(text: str, ends: Sequence[int]) -> list[str]:
    """The text of each token; joined they give the text. Of tokens that share a character the first has it."""
    return [text[start:end] for start, end in pairwise([0, *ends])]
