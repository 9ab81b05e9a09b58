"""The `llm` annotator: a language model behind an OpenAI-compatible endpoint names our sentences.

Each passage is cut into overlapping chunks; each chunk is one conversation (`conversation.py`), held directly
(`direct.py`) or through the Batch API (`batch.py`). A sentence that gets no valid label keeps the fault's name and the
raw reply; it is never given a label.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from repurpose.labels.batch import Batches
from repurpose.labels.conversation import Conversation
from repurpose.labels.direct import Direct
from repurpose.labels.ledger import Ledger, Usage
from repurpose.labels.outcome import Outcome
from repurpose.labels.replies import Replies, request_key
from repurpose.model.endpoint import make_client
from repurpose.study.chunks import cut, owners
from repurpose.study.settings import Llm, SettingsError, locate

OK = "ok"


class AnnotationError(RuntimeError):
    """Too many sentences have no valid label; one line with counts by status."""


@dataclass(frozen=True)
class Passage:
    """The sentences of one rollout, in order."""

    key: str
    """Names it in messages; no part of a request."""
    sentences: list[str]


class Labelled(NamedTuple):
    """Outcomes and use by passage, in the order of the passages."""

    outcomes: list[list[Outcome]]
    usages: list[Usage]
    shared: int
    """Pairs of labels that two chunks gave one sentence."""
    agreed: int
    """How many of these pairs are of one label: the model's agreement with itself."""


@dataclass(frozen=True)
class _Chunk:
    sentences: range
    talk: Conversation


def label_passages(
    passages: Sequence[Passage], llm: Llm, replies_folder: Path, *, account: str, description: str = "labels"
) -> Labelled:
    """Label every sentence of every passage.

    Args:
        passages: may repeat a text; it is asked for once.
        llm: the annotator's settings.
        replies_folder: where raw replies are kept, shared by studies; held by one job at a time for each model.
        account: whose replies, all that it ever paid for, `max_cost` limits: `study/annotator`.
        description: stands before the progress bar.

    Raises:
        EndpointError, CostError: the run cannot go on; every reply that arrived is kept.
        AnnotationError: more sentences than `max_invalid_share` have no valid label.
    """
    instructions = _read_instructions(llm)
    chunks = [list(_open_chunks(number, passage, instructions, llm)) for number, passage in enumerate(passages)]
    with Replies.open(replies_folder, llm.endpoint) as replies:
        ledger = Ledger(len(passages), llm, account, replies)
        asyncio.run(_answer([chunk.talk for row in chunks for chunk in row], llm, replies, ledger, description))
        path = replies.path
    outcomes = [_merge(row, len(passage.sentences)) for row, passage in zip(chunks, passages, strict=True)]
    _check_share(outcomes, llm, path)
    twice = [pair for row in chunks for pair in _pairs(row)]
    return Labelled(outcomes, ledger.usages, len(twice), sum(a == b for a, b in twice))


def _read_instructions(llm: Llm) -> str:
    try:
        return Path(locate(llm.prompt)).read_text(encoding="utf-8")
    except OSError as problem:
        raise SettingsError(f"prompt: {llm.prompt} cannot be read: {problem.strerror}") from None


def _open_chunks(number: int, passage: Passage, instructions: str, llm: Llm) -> Iterator[_Chunk]:
    count = len(passage.sentences)
    chunks = cut(count, llm.chunk_sentences, llm.overlap_sentences)
    owner = owners(chunks, count)
    for index, chunk in enumerate(chunks):
        sentences, owned = [passage.sentences[i] for i in chunk], [owner[i] == index for i in chunk]
        yield _Chunk(chunk, Conversation(number, sentences, owned, instructions, llm))


async def _answer(talks: list[Conversation], llm: Llm, replies: Replies, ledger: Ledger, description: str) -> None:
    mode = Batches if llm.batch else Direct
    total = sum(talk.open for talk in talks)
    with tqdm(total=total, desc=description, unit="sentence", mininterval=2) as bar:
        for talk in talks:
            bar.update(_replay(talk, llm, replies, ledger))
        async with make_client(llm.endpoint) as client:
            await mode(client, llm, replies, ledger).answer(talks, bar.update)


def _replay(talk: Conversation, llm: Llm, replies: Replies, ledger: Ledger) -> int:
    """Take what earlier runs were answered, before anything is sent, so that `max_cost` holds for all runs together.

    Returns:
        How many sentences it settles.
    """
    before = talk.open
    while not talk.done and (key := request_key(llm.endpoint, talk.request())) in replies:
        ledger.count(talk.passage, key, replies[key], earlier=True)
        talk.take(replies[key])
    return before - talk.open


def _merge(chunks: list[_Chunk], count: int) -> list[Outcome]:
    """A sentence has its owner's label; where the owner got none, a neighbour's."""
    owner = owners([chunk.sentences for chunk in chunks], count)
    return [_outcome(chunks, sentence, owner[sentence]) for sentence in range(count)]


def _outcome(chunks: list[_Chunk], sentence: int, owner: int) -> Outcome:
    found = _label(chunks[owner], sentence)
    others = [label for chunk in chunks if (label := _label(chunk, sentence))]
    if found or others:
        return Outcome(found or others[0], OK)
    own = chunks[owner]
    fault, raw = own.talk.faults[sentence - own.sentences.start + 1]
    return Outcome(None, fault, raw)


def _label(chunk: _Chunk, sentence: int) -> str | None:
    inside = sentence in chunk.sentences
    return chunk.talk.labels.get(sentence - chunk.sentences.start + 1) if inside else None


def _pairs(chunks: list[_Chunk]) -> Iterator[tuple[str, str]]:
    """Both labels of each sentence that neighbouring chunks labelled."""
    for one, other in itertools.pairwise(chunks):
        for sentence in one.sentences:
            first, second = _label(one, sentence), _label(other, sentence)
            if first and second:
                yield first, second


def _check_share(outcomes: list[list[Outcome]], llm: Llm, path: Path) -> None:
    statuses = Counter(outcome.status for row in outcomes for outcome in row)
    total, invalid = statuses.total(), statuses.total() - statuses[OK]
    if invalid <= llm.max_invalid_share * total:
        return
    counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common() if status != OK)
    raise AnnotationError(
        f"{llm.endpoint.model}: {invalid} of {total} sentences have no valid label ({counts}), more than "
        f"max_invalid_share ({llm.max_invalid_share:g}) allows; every reply is kept in {path}"
    )
