"""Asks chunk by chunk, a bounded number at once; the SDK retries what the network and the server do."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

import openai
from openai import AsyncOpenAI

from repurpose.labels.conversation import Body, Conversation
from repurpose.labels.ledger import Ledger
from repurpose.labels.replies import Replies, Reply, read_reply, request_key
from repurpose.model.endpoint import EndpointError, explain, is_fatal, is_refusal
from repurpose.study.settings import Endpoint, Llm

Progress = Callable[[int], object]
"""Called with a number of sentences that are settled."""


class Stopped(Exception):
    """Another request has ended the run; this one is not sent."""


class Direct:
    """One run's requests to one endpoint."""

    def __init__(self, client: AsyncOpenAI, llm: Llm, replies: Replies, ledger: Ledger) -> None:
        self._client, self._endpoint = client, llm.endpoint
        self._replies, self._ledger = replies, ledger
        self._slots = asyncio.Semaphore(llm.endpoint.concurrency)
        self._room = asyncio.Condition()
        self._one_at_a_time: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By request: the same text twice is asked once."""
        self._stop: Exception | None = None
        self._missing = 0

    async def answer(self, conversations: Sequence[Conversation], progress: Progress) -> None:
        """Hold all conversations to their ends.

        Raises:
            EndpointError, CostError: what arrived before is kept.
        """
        self._missing = sum(talk.open for talk in conversations)
        tasks = [asyncio.create_task(self._converse(talk, progress)) for talk in conversations]
        if not tasks:
            return
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        if pending:  # replies under way are paid for: let them arrive, where any can
            await asyncio.wait(pending, timeout=_grace(self._stop, self._endpoint))
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        if self._stop:
            raise self._stop
        for problem in outcomes:
            if isinstance(problem, BaseException):
                raise problem

    async def _converse(self, talk: Conversation, progress: Progress) -> None:
        while not talk.done:
            before = talk.open
            talk.take(await self._ask(talk))
            self._missing -= before - talk.open
            progress(before - talk.open)

    async def _ask(self, talk: Conversation) -> Reply:
        body = talk.request()
        key = request_key(self._endpoint, body)
        async with self._one_at_a_time[key]:
            earlier = key in self._replies
            if not earlier:
                async with self._slots:
                    await self._buy(key, body)
            reply = self._replies[key]
            self._ledger.count(talk.passage, key, reply, earlier=earlier)
            return reply

    async def _buy(self, key: str, body: Body) -> None:
        """Send a request once the most that it can cost is sure to fit, keep the reply; a failure stops all others."""
        bound = self._ledger.bound(body)
        await self._take_room(bound)
        try:
            self._replies.add({key: self._ledger.buy(body, await self._send(body))})
        finally:
            self._ledger.under_way.remove(bound)
            await self._tell()

    async def _take_room(self, bound: float) -> None:
        """Wait while what is under way may still turn out cheaper than it could have been."""
        async with self._room:
            await self._room.wait_for(lambda: self._stop or self._ledger.fits(bound) or not self._ledger.under_way)
            if self._stop:
                raise Stopped
            if not self._ledger.fits(bound):
                self._stop = self._ledger.stop(self._missing)
                raise Stopped
            self._ledger.under_way.append(bound)

    async def _tell(self) -> None:
        async with self._room:
            self._room.notify_all()

    async def _send(self, body: Body) -> Reply:
        try:
            raw = await self._client.chat.completions.with_raw_response.create(**body)
        except openai.OpenAIError as problem:
            if is_refusal(problem):
                said = str(explain(problem, self._endpoint))
                return Reply(refusal=said, finish_reason="content_filter", prompt_tokens=0, completion_tokens=0)
            self._stop = self._stop or _Failed(problem, self._endpoint)
            raise Stopped from None
        return read_reply(raw.text, self._endpoint)


class _Failed(EndpointError):
    """Remembers whether waiting for others makes sense."""

    def __init__(self, problem: Exception, endpoint: Endpoint) -> None:
        super().__init__(str(explain(problem, endpoint)))
        self.fatal = is_fatal(problem)


def _grace(stop: Exception | None, endpoint: Endpoint) -> float:
    """Seconds to wait for requests under way."""
    return 0.0 if isinstance(stop, _Failed) and stop.fatal else endpoint.timeout
