"""A language model names our sentences: passages in, a label or the name of a fault for each sentence out.

Each passage is cut into overlapping chunks; each chunk is one conversation (`conversation.py`), carried on directly
(`direct.py`) or through the Batch API (`batch.py`). A sentence that gets no valid label keeps the fault's name and the
raw reply; it is never given a label.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from repurpose.labels.annotation import Annotation, Outcome, Row, by_rollout
from repurpose.labels.llm.batch import Batches
from repurpose.labels.llm.conversation import Conversation
from repurpose.labels.llm.direct import Direct
from repurpose.labels.llm.ledger import Ledger, Usage
from repurpose.labels.llm.replies import Replies
from repurpose.model.endpoint import make_client
from repurpose.study.chunks import cut, owners
from repurpose.study.instructions import read_instructions
from repurpose.study.settings import Llm, locate

REPLIES = Path("results/replies")
"""Raw replies of language models: of all studies, and never an output of a rule, which a failed job would delete."""


class AnnotationError(RuntimeError):
    """Too many sentences have no valid label; one line with counts by status."""


class Labelled(NamedTuple):
    """Outcomes and use by passage, in the order of the passages."""

    outcomes: list[list[Outcome]]
    usages: list[Usage]
    shared: int
    """Pairs of labels that two chunks gave one sentence."""
    agreed: int
    """How many of these pairs are of one label: the model's agreement with itself."""


def annotate_by_model(rows: Sequence[Row], llm: Llm, account: str) -> Annotation:
    """Label SENTENCES rows, rollout by rollout; every rollout is a passage."""
    groups = by_rollout(rows)
    found = label_passages([[row["text"] for row in group] for _, group in groups], llm, REPLIES, account=account)
    usage = [
        {"prompt_id": prompt, "sample": sample, "sentences": len(group), **vars(used)}
        for ((prompt, sample), group), used in zip(groups, found.usages, strict=True)
    ]
    notes = {"labelled_twice": found.shared, "labelled_twice_alike": found.agreed}
    return Annotation([outcome for outcomes in found.outcomes for outcome in outcomes], notes, usage)


def label_passages(passages: Sequence[Sequence[str]], llm: Llm, replies_folder: Path, *, account: str) -> Labelled:
    """Label every sentence of every passage; a text that is there twice is asked for once.

    Replies are kept in a folder that studies share, held by one job at a time for each model; `max_cost` limits what
    one account (`study/annotator`) ever paid for.

    Raises:
        EndpointError, CostError: the run cannot go on; every reply that arrived is kept.
        StorageError: a reply cannot be kept; nothing more is asked.
        AnnotationError: more sentences than `max_invalid_share` have no valid label.
    """
    prompt = read_instructions(locate(llm.prompt))
    chunks = [list(_open_chunks(number, sentences, llm, prompt)) for number, sentences in enumerate(passages)]
    with Replies.open(replies_folder, llm.endpoint) as replies:
        ledger = Ledger(len(passages), llm, account, replies)
        asyncio.run(_answer([chunk for row in chunks for chunk in row], llm, ledger))
    outcomes = [[_outcome(row, number) for number in range(len(p))] for row, p in zip(chunks, passages, strict=True)]
    _check_share(outcomes, llm, replies.path)
    twice = [
        (first, second)
        for row in chunks
        for one, other in pairwise(row)
        for sentence in one.chunk
        if (first := one.labels.get(sentence)) and (second := other.labels.get(sentence))
    ]
    return Labelled(outcomes, ledger.usages, len(twice), sum(first == second for first, second in twice))


def _open_chunks(passage: int, sentences: Sequence[str], llm: Llm, prompt: str) -> Iterator[Conversation]:
    chunks = cut(len(sentences), llm.chunk_sentences, llm.overlap_sentences)
    owner = owners(chunks, len(sentences))
    for number, chunk in enumerate(chunks):
        owned = {sentence for sentence in chunk if owner[sentence] == number}
        yield Conversation(passage, sentences, chunk, owned, llm, prompt)


async def _answer(conversations: list[Conversation], llm: Llm, ledger: Ledger) -> None:
    """Carry on all conversations; first with what earlier runs were answered, so that nothing is asked twice."""
    total = sum(conversation.unsettled for conversation in conversations)
    with tqdm(total=total, desc="labels", unit="sentence", mininterval=2) as bar:
        async with make_client(llm.endpoint) as client:
            for conversation in conversations:
                while not conversation.done and conversation.request.key in ledger.replies:
                    bar.update(ledger.settle(conversation))
            asking: Batches | Direct = Batches(client, llm, ledger) if llm.batch else Direct(client, llm, ledger)
            waiting = [conversation for conversation in conversations if not conversation.done]
            sizes = sorted((conversation.request.reply_bytes for conversation in waiting), reverse=True)
            ledger.replies.check_room(sum(sizes if llm.batch else sizes[: llm.endpoint.concurrency]))
            await asking.complete(waiting, bar.update)


def _outcome(chunks: list[Conversation], sentence: int) -> Outcome:
    """A sentence has its owner's label; where the owner got none, a neighbour's."""
    owner = next(chunk for chunk in chunks if sentence in chunk.owned)
    label = next(filter(None, (chunk.labels.get(sentence) for chunk in (owner, *chunks))), None)
    return Outcome(label, "ok") if label else Outcome(None, *owner.faults[sentence])


def _check_share(outcomes: list[list[Outcome]], llm: Llm, path: Path) -> None:
    statuses = Counter(outcome.status for row in outcomes for outcome in row)
    total, invalid = statuses.total(), statuses.total() - statuses["ok"]
    if invalid <= llm.max_invalid_share * total:
        return
    counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common() if status != "ok")
    raise AnnotationError(
        f"{llm.endpoint.model}: {invalid} of {total} sentences have no valid label ({counts}), more than "
        f"max_invalid_share ({llm.max_invalid_share:g}) allows; every reply is kept in {path}"
    )
