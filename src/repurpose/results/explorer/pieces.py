"""Token texts of steered rollouts, told from their ids and from texts whose tokens are known; no tokenizer is asked.

Rollouts store where each of their tokens ends, steered texts do not. Most ids of a steered text are ids of some
rollout, too, and what stands between two such tokens is the one that was not known.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise


class Pieces:
    """What each token id is written as."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}

    def learn(self, ids: Iterable[int], texts: Iterable[str]) -> None:
        """Remember what tokens are written as; the first text of an id stays, unless it was empty."""
        for token, text in zip(ids, texts, strict=True):
            if not self.known.get(token):
                self.known[token] = text

    def cut(self, ids: Sequence[int], text: str) -> list[str]:
        """The text of each id; joined they give `text`.

        Several unknown tokens in a row cannot be told apart: the first has the text of all, the others none. Where the
        known ones do not fit the text either, the first token has all of it.
        """
        pieces = list(self._fit(ids, text))
        if "".join(pieces) != text or len(pieces) != len(ids):
            return [text, *[""] * (len(ids) - 1)] if ids else []
        return pieces

    def _fit(self, ids: Sequence[int], text: str) -> Iterator[str]:
        done = 0
        runs = [(known, list(run)) for known, run in groupby(ids, self.known.__contains__)]
        for (known, run), (_, after) in pairwise([*runs, (True, [])]):
            if known:
                done += sum(len(self.known[token]) for token in run)
                yield from (self.known[token] for token in run)
                continue
            next_text = "".join(self.known[token] for token in after)
            end = text.find(next_text, done + 1) if next_text else len(text)
            yield text[done:end]
            yield from [""] * (len(run) - 1)
            done = end


def learn_pieces(texts: Sequence[tuple[list[int], str]], known: Mapping[int, str]) -> Pieces:
    """Learn from (ids, text) what is not known yet: where one token alone is unknown, it is what the others leave."""
    pieces, waiting = Pieces(), texts
    pieces.known.update(known)
    while waiting:
        before, left = len(pieces.known), []
        for ids, text in waiting:
            unknown = [place for place, token in enumerate(ids) if token not in pieces.known]
            if len(unknown) == 1:
                pieces.learn([ids[unknown[0]]], [_between(pieces, ids, unknown[0], text)])
            elif unknown:
                left.append((ids, text))
        waiting = left if len(pieces.known) > before else []
    return pieces


def _between(pieces: Pieces, ids: Sequence[int], place: int, text: str) -> str:
    """What the tokens before and after a place leave of a text."""
    before, after = (sum(len(pieces.known[token]) for token in part) for part in (ids[:place], ids[place + 1 :]))
    return text[before : len(text) - after]
