"""Asks through the Batch API: the same requests, later and at a lower price.

All open conversations ask in one round; what has to be asked again goes into the next. Which request is in which
batch is journalled as soon as the server has named the batch, so a killed run looks for its batches and uploads
nothing again. A request that a batch does not bring (expired, failed, an error of its own) goes into the next round.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import openai
from openai import AsyncOpenAI
from openai.types import Batch

from repurpose.data.journal import record_key
from repurpose.labels.llm.conversation import Conversation, Request
from repurpose.labels.llm.ledger import Ledger
from repurpose.labels.llm.replies import parse_object, read_reply, value_at
from repurpose.model.endpoint import EndpointError, address, explain, mask
from repurpose.study.settings import Llm

PATH: Final = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
MOST_REQUESTS = 50_000
MOST_BYTES = 100_000_000
"""Half of what OpenAI takes in one file."""
PASSING = (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError)
"""Faults that may be gone at the next attempt."""
MARK = "repurpose"
"""The metadata of a batch that tells which requests it holds."""
MESSAGE_LENGTH = 300
Requests = dict[str, Request]
"""By key."""


class Batches:
    """Sends all requests of a round in as few files as a server takes."""

    def __init__(self, client: AsyncOpenAI, llm: Llm, ledger: Ledger) -> None:
        self._client, self._llm, self._endpoint = client, llm, llm.endpoint
        self._ledger, self._replies = ledger, ledger.replies
        self._fruitless: Counter[str] = Counter()
        """Batches that did not bring a request, by its key."""
        self._fault = "it was left out of the batch's files"

    async def complete(self, conversations: Sequence[Conversation], progress: Callable[[int], object]) -> None:
        """As `Direct.complete`; which batches are under way is kept too."""
        try:
            while waiting := [conversation for conversation in conversations if not conversation.done]:
                await self._fetch_replies(waiting)
                for conversation in waiting:
                    progress(self._ledger.settle(conversation))
        except openai.OpenAIError as problem:
            raise explain(problem, self._endpoint) from None

    async def _fetch_replies(self, conversations: list[Conversation]) -> None:
        """See to it that each conversation's request has its reply."""
        requests = {conversation.request.key: conversation.request for conversation in conversations}
        while missing := {key: request for key, request in requests.items() if key not in self._replies}:
            worst = max(self._fruitless[key] for key in missing)
            if worst >= self._llm.attempts:  # the next batch will hardly bring it either
                raise EndpointError(
                    f"{address(self._endpoint)}: {worst} batches in a row did not bring {len(missing)} requests "
                    f"(endpoint.model {self._endpoint.model!r}): {self._fault}"
                )
            under_way = {key: batch for key in missing if (batch := self._replies.batch_of(key))}
            chosen = self._choose({key: request for key, request in missing.items() if key not in under_way})
            if not chosen and not under_way:
                raise self._ledger.cost_error(conversations)
            new = [await self._upload(lines, chosen) for lines in _slices(chosen)]
            for batch in dict.fromkeys([*under_way.values(), *new]):
                await self._collect(batch, requests)

    def _choose(self, requests: Requests) -> Requests:
        """What fits into `max_cost` beside what is in a batch already: all of it is under way at once."""
        self._ledger.refresh_batches()
        total, chosen = 0.0, {}
        for key, request in requests.items():
            highest = self._ledger.highest_cost(request)
            if self._ledger.fits(total + highest):
                total, chosen[key] = total + highest, request
        return chosen

    async def _upload(self, lines: Mapping[str, str], requests: Requests) -> str:
        """Give some requests to a batch, write down which, and return its name."""
        mark = record_key(sorted(lines))
        batch = await self._find_unnamed(mark) or await self._create(lines, mark)
        self._replies.add_batch(batch.id, {key: requests[key].bound for key in lines}, self._ledger.account)
        return batch.id

    async def _find_unnamed(self, mark: str) -> Batch | None:
        """A batch of just these requests whose name nobody wrote down: the run was killed, or the answer was lost."""
        try:
            recent = await self._client.batches.list(limit=100)
        except (openai.NotFoundError, openai.BadRequestError):  # a server without the list
            return None
        ours = [batch for batch in recent.data if (batch.metadata or {}).get(MARK) == mark]
        return next((batch for batch in ours if not self._replies.knows_batch(batch.id)), None)

    async def _create(self, lines: Mapping[str, str], mark: str) -> Batch:
        """Never repeated blindly, as the SDK would: a batch whose creation went unanswered is paid for all the same."""
        content = "".join(lines.values()).encode()
        file = await self._client.files.create(file=("requests.jsonl", content), purpose="batch")
        once = self._client.with_options(max_retries=0).batches.create
        create = partial(once, input_file_id=file.id, endpoint=PATH, completion_window="24h", metadata={MARK: mark})
        for _ in range(self._endpoint.retries):
            with suppress(*PASSING):
                return await create()
            await asyncio.sleep(self._llm.batch_poll)
            if batch := await self._find_unnamed(mark):
                return batch
        return await create()

    async def _collect(self, name: str, requests: Requests) -> None:
        """Wait for a batch, keep all that it brought, and let go of what it did not bring."""
        batch = await self._ended(name)
        files = [file for file in (batch.output_file_id, batch.error_file_id) if file] if batch else []
        contents = [(await self._client.files.content(file)).content for file in files]
        lines = [line for content in contents for line in _read_lines(content.decode("utf-8", "replace"))]
        lines = [line for line in lines if self._replies.batch_of(line["custom_id"]) == name]
        bodies = {line["custom_id"]: body for line in lines if (body := _response_body(line))}
        read = {key: read_reply(body, self._endpoint, batch=True) for key, body in bodies.items()}
        self._ledger.keep({key: self._replies.from_batch(key, reply) for key, reply in read.items()})
        lost = [key for key in requests if key not in self._replies and self._replies.batch_of(key) == name]
        if lost:
            self._fruitless.update(lost)
            self._fault = mask(_fault(batch, [line for line in lines if line["custom_id"] in lost]), self._endpoint)
            self._replies.close_batch(lost)

    async def _ended(self, name: str) -> Batch | None:
        """The batch once it has ended; None where the server knows it no more."""
        try:
            while (batch := await self._client.batches.retrieve(name)).status not in ENDED:
                await asyncio.sleep(self._llm.batch_poll)
        except openai.NotFoundError:
            return None
        return batch


def _slices(requests: Requests) -> Iterator[dict[str, str]]:
    """Files of requests that a server will take: their lines by key."""
    lines, size = dict[str, str](), 0
    for key, request in requests.items():
        line = json.dumps({"custom_id": key, "method": "POST", "url": PATH, "body": request.body}) + "\n"
        if lines and (len(lines) == MOST_REQUESTS or size + len(line) > MOST_BYTES):
            yield lines
            lines, size = {}, 0
        lines[key] = line
        size += len(line)
    if lines:
        yield lines


def _read_lines(text: str) -> list[dict[str, Any]]:
    """The lines of an output or error file that say which request they answer."""
    values = (parse_object(line) for line in text.split("\n"))
    return [value for value in values if value and isinstance(value.get("custom_id"), str)]


def _response_body(line: dict[str, Any]) -> str | None:
    """The body of a response that succeeded."""
    return json.dumps(line["response"].get("body")) if value_at(line, "response", "status_code") == 200 else None


def _fault(batch: Batch | None, lines: list[dict[str, Any]]) -> str:
    """One line on why a request was not brought: its own error, the batch's, or the batch's status."""
    if batch is None:
        return "the server no longer knows the batch"
    found = (value_at(line, "error") or value_at(line, "response", "body", "error") for line in lines)
    told = [value_at(error, "message") or error for error in found if error]
    told += [error.message for error in (batch.errors.data if batch.errors else None) or [] if error.message]
    return " ".join(str(told[0]).split())[:MESSAGE_LENGTH] if told else f"the batch is {batch.status}"
