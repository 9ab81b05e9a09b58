"""Asks through the Batch API: the same requests, later and at a lower price.

All open conversations ask in one round; what has to be asked again goes into the next. Which request lies with which
batch is journalled as soon as the server has named the batch, so a killed run looks for its batches and uploads
nothing again. A request that a batch does not bring (expired, failed, an error of its own) goes into the next round.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import openai
from openai import AsyncOpenAI
from openai.types import Batch

from repurpose.data.journal import record_key
from repurpose.labels.conversation import Body, Conversation, token_bound
from repurpose.labels.direct import Progress
from repurpose.labels.ledger import Ledger
from repurpose.labels.replies import Replies, read_reply, request_key
from repurpose.model.endpoint import EndpointError, address, explain, mask
from repurpose.study.settings import Llm

PATH = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
MOST_REQUESTS = 50_000
MOST_BYTES = 100_000_000
"""Half of what OpenAI takes in one file."""
PASSING = (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError)
"""Faults that may be gone at the next attempt."""
MARK = "repurpose"
"""The metadata of a batch that tells which requests it holds."""


class Batches:
    """One run's batches at one endpoint."""

    def __init__(self, client: AsyncOpenAI, llm: Llm, replies: Replies, ledger: Ledger) -> None:
        self._client, self._llm, self._endpoint = client, llm, llm.endpoint
        self._replies, self._ledger = replies, ledger
        self._fruitless: Counter[str] = Counter()
        """Batches that did not bring a request, by its key."""
        self._fault = "it was left out of the batch's files"
        self._bought: set[str] = set()

    async def answer(self, conversations: Sequence[Conversation], progress: Progress) -> None:
        """Hold all conversations to their ends, round by round.

        Raises:
            EndpointError, CostError: what arrived before is kept, and which batches are under way.
        """
        try:
            while talks := [talk for talk in conversations if not talk.done]:
                await self._bring(talks)
                for talk in talks:
                    self._hand_over(talk, progress)
        except openai.OpenAIError as problem:
            raise explain(problem, self._endpoint) from None

    def _hand_over(self, talk: Conversation, progress: Progress) -> None:
        key, before = self._key(talk.request()), talk.open
        self._ledger.count(talk.passage, key, self._replies[key], earlier=key not in self._bought)
        talk.take(self._replies[key])
        progress(before - talk.open)

    def _key(self, body: Body) -> str:
        return request_key(self._endpoint, body)

    async def _bring(self, talks: list[Conversation]) -> None:
        """See to it that each conversation's next request has its reply."""
        bodies = {self._key(body): body for body in (talk.request() for talk in talks)}
        while missing := {key: body for key, body in bodies.items() if key not in self._replies}:
            self._give_up(missing)
            waiting = {key: body for key, body in missing.items() if self._replies.batch_of(key)}
            chosen = self._choose(missing, waiting)
            if not chosen and not waiting:
                raise self._ledger.stop(sum(talk.open for talk in talks))
            for lines in _slices(chosen):
                await self._upload(lines, chosen)
            for batch in dict.fromkeys(self._replies.batch_of(key) for key in [*waiting, *chosen]):
                await self._collect(str(batch), bodies)

    def _give_up(self, missing: dict[str, Body]) -> None:
        worst = max(self._fruitless[key] for key in missing)
        if worst >= self._llm.attempts:
            url = address(self._endpoint)
            raise EndpointError(
                f"{url}: {worst} batches in a row did not bring {len(missing)} requests "
                f"(endpoint.model {self._endpoint.model!r}): {self._fault}"
            )

    def _choose(self, missing: dict[str, Body], waiting: dict[str, Body]) -> dict[str, Body]:
        """What fits into `max_cost` beside what lies with a batch already: all of it is under way at once."""
        self._ledger.look_at_batches()
        bound, chosen = 0.0, {}
        for key in [key for key in missing if key not in waiting]:
            if self._ledger.fits(bound + self._ledger.bound(missing[key])):
                bound += self._ledger.bound(missing[key])
                chosen[key] = missing[key]
        return chosen

    async def _upload(self, lines: dict[str, str], bodies: dict[str, Body]) -> None:
        mark = record_key(sorted(lines))
        batch = await self._find_unnamed(mark) or await self._create(lines, mark)
        bounds = {key: token_bound(bodies[key]) for key in lines}
        self._replies.add_batch(batch.id, bounds, self._ledger.account)

    async def _find_unnamed(self, mark: str) -> Batch | None:
        """A batch of just these requests whose name nobody wrote down: the run was killed, or the answer was lost."""
        try:
            recent = await self._client.batches.list(limit=100)
        except (openai.NotFoundError, openai.BadRequestError):  # a server without the list
            return None
        ours = [batch for batch in recent.data if (batch.metadata or {}).get(MARK) == mark]
        return next((batch for batch in ours if not self._replies.knows_batch(batch.id)), None)

    async def _create(self, lines: dict[str, str], mark: str) -> Batch:
        """Never repeated blindly, as the SDK would: a batch whose creation went unanswered is paid for all the same."""
        content = "".join(lines.values()).encode()
        file = await self._client.files.create(file=("requests.jsonl", content), purpose="batch")
        once = self._client.with_options(max_retries=0)
        for attempt in range(self._endpoint.retries + 1):
            try:
                return await once.batches.create(
                    input_file_id=file.id, endpoint=PATH, completion_window="24h", metadata={MARK: mark}
                )
            except PASSING:
                if attempt == self._endpoint.retries:
                    raise
            await asyncio.sleep(self._llm.batch_poll)
            if batch := await self._find_unnamed(mark):
                return batch
        raise AssertionError("the last attempt returns or raises")

    async def _collect(self, name: str, bodies: dict[str, Body]) -> None:
        """Wait for a batch and keep all that it brought."""
        batch = await self._ended(name)
        lines = (
            [
                line
                for file in (batch.output_file_id, batch.error_file_id)
                if file
                for line in _read_lines(mask(await self._download(file), self._endpoint))
            ]
            if batch
            else []
        )
        brought = {str(line["custom_id"]): body for line in lines if (body := _response_body(line))}
        read = {key: read_reply(body, self._endpoint, batch=True) for key, body in brought.items()}
        replies = {key: self._replies.from_batch(key, reply) for key, reply in read.items()}
        self._replies.add(replies)
        for reply in replies.values():
            self._ledger.pay(reply)
        self._bought |= replies.keys()
        self._close(name, batch, bodies, lines)

    def _close(self, name: str, batch: Batch | None, bodies: dict[str, Body], lines: list[dict[str, Any]]) -> None:
        """Let go of the requests that the batch did not bring."""
        lost = [key for key in bodies if key not in self._replies and self._replies.batch_of(key) == name]
        if not lost:
            return
        self._fruitless.update(lost)
        self._fault = mask(_fault(batch, [line for line in lines if line.get("custom_id") in lost]), self._endpoint)
        self._replies.close_batch(lost)

    async def _ended(self, name: str) -> Batch | None:
        """The batch once it has ended; None where the server knows it no more."""
        while True:
            try:
                batch = await self._client.batches.retrieve(name)
            except openai.NotFoundError:
                return None
            if batch.status in ENDED:
                return batch
            await asyncio.sleep(self._llm.batch_poll)

    async def _download(self, file: str) -> str:
        content: bytes = (await self._client.files.content(file)).content
        return content.decode("utf-8", "replace")


def _slices(bodies: dict[str, Body]) -> Iterator[dict[str, str]]:
    """Files of requests that a server will take."""
    lines: dict[str, str] = {}
    size = 0
    for key, body in bodies.items():
        line = json.dumps({"custom_id": key, "method": "POST", "url": PATH, "body": body}) + "\n"
        if lines and (len(lines) == MOST_REQUESTS or size + len(line) > MOST_BYTES):
            yield lines
            lines, size = {}, 0
        lines[key] = line
        size += len(line)
    if lines:
        yield lines


def _read_lines(text: str) -> Iterator[dict[str, Any]]:
    """The lines of an output or error file that say which request they answer."""
    for line in text.split("\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and isinstance(value.get("custom_id"), str):
            yield value


def _response_body(line: dict[str, Any]) -> str | None:
    """The body of a response that succeeded."""
    response = line.get("response")
    if not isinstance(response, dict) or response.get("status_code") != 200:
        return None
    return json.dumps(response.get("body"))


def _fault(batch: Batch | None, lines: list[dict[str, Any]]) -> str:
    """One line on why a request was not brought: its own error, the batch's, or the batch's status."""
    if batch is None:
        return "the server no longer knows the batch"
    for line in lines:
        response = line.get("response")
        body = response.get("body") if isinstance(response, dict) else None
        error = line.get("error") or (body.get("error") if isinstance(body, dict) else None)
        if error:
            return " ".join(str(error.get("message", error) if isinstance(error, dict) else error).split())[:300]
    errors = (batch.errors.data if batch.errors else None) or []
    return " ".join((errors[0].message or "").split())[:300] if errors else f"the batch is {batch.status}"
