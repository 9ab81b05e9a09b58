"""Asks chunk by chunk, a bounded number at once; the SDK retries what the network and the server do."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress

import openai
from openai import AsyncOpenAI

from repurpose.labels.llm.conversation import Conversation, Request
from repurpose.labels.llm.ledger import Ledger
from repurpose.labels.llm.replies import Reply, StorageError, read_reply
from repurpose.model.endpoint import explain, is_fatal, is_refusal
from repurpose.study.settings import Llm


class Direct:
    """Sends each request by itself. Once something has ended the run, none is sent and those under way may arrive."""

    def __init__(self, client: AsyncOpenAI, llm: Llm, ledger: Ledger) -> None:
        self._client, self._endpoint, self._ledger = client, llm.endpoint, ledger
        self._slots = asyncio.Semaphore(llm.endpoint.concurrency)
        self._changed = asyncio.Condition()
        self._one_at_a_time: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By request: the same text twice is asked once."""
        self._limit = asyncio.timeout(None)
        self._stop: Exception | None = None
        self._conversations: Sequence[Conversation] = ()

    async def complete(self, conversations: Sequence[Conversation], progress: Callable[[int], object]) -> None:
        """Carry on all conversations until each is done; `progress` is told how many sentences are settled.

        Raises:
            EndpointError, CostError: the run cannot go on; every reply that arrived is kept.
            StorageError: a reply cannot be kept.
        """
        self._conversations = conversations
        with suppress(TimeoutError):  # not all that was under way at the stop has arrived
            async with self._limit, asyncio.TaskGroup() as group:
                for conversation in conversations:
                    group.create_task(self._converse(conversation, progress))
        if self._stop:
            raise self._stop

    def _end(self, problem: Exception, seconds: float) -> None:
        """End the run, and give what is under way so long to arrive: it is paid for."""
        if not self._stop:
            self._limit.reschedule(asyncio.get_running_loop().time() + seconds)
        if not self._stop or isinstance(problem, StorageError):  # no other error says that a reply is lost
            self._stop = problem

    async def _converse(self, conversation: Conversation, progress: Callable[[int], object]) -> None:
        while not conversation.done and not self._stop:
            request = conversation.request
            async with self._one_at_a_time[request.key]:
                if request.key not in self._ledger.replies:
                    async with self._slots:
                        await self._buy(request)
            if request.key in self._ledger.replies:
                progress(self._ledger.settle(conversation))

    async def _buy(self, request: Request) -> None:
        """Send a request once the most that it can cost is sure to fit, and keep the reply."""
        highest = self._ledger.highest_cost(request)
        if not await self._reserve(highest):
            return
        try:
            if reply := await self._send(request):
                self._ledger.keep({request.key: reply.paid_by(self._ledger.account, request.bound)})
        except StorageError as problem:
            self._end(problem, self._endpoint.timeout)
        finally:
            self._ledger.under_way.remove(highest)
            async with self._changed:
                self._changed.notify_all()

    async def _reserve(self, highest: float) -> bool:
        """Wait while what is under way may still turn out cheaper than it could have been; False where the run ends."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._stop or self._ledger.fits(highest) or not self._ledger.under_way)
            if not self._stop and not self._ledger.fits(highest):
                self._end(self._ledger.cost_error(self._conversations), self._endpoint.timeout)
            if self._stop:
                return False
            self._ledger.under_way.append(highest)
            return True

    async def _send(self, request: Request) -> Reply | None:
        try:
            raw = await self._client.chat.completions.with_raw_response.create(**request.body)
        except openai.OpenAIError as problem:
            told = explain(problem, self._endpoint)
            if is_refusal(problem):
                return Reply(refusal=str(told), finish_reason="content_filter", prompt_tokens=0, completion_tokens=0)
            self._end(told, 0.0 if is_fatal(problem) else self._endpoint.timeout)
            return None
        return read_reply(raw.text, self._endpoint)
