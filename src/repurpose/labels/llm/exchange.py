"""How conversations get their replies: what asking at once (`direct`) and by batches (`batch`) share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from openai import AsyncOpenAI

from repurpose.labels.llm.conversation import Conversation, Request
from repurpose.labels.llm.ledger import Ledger
from repurpose.study.settings import Llm

Progress = Callable[[int], object]
"""Called with a number of sentences that are settled."""


class Exchange(ABC):
    """One run's requests to one endpoint. Every reply is kept and counted before it is looked at."""

    def __init__(self, client: AsyncOpenAI, llm: Llm, ledger: Ledger, progress: Progress) -> None:
        self.client, self.llm, self.endpoint = client, llm, llm.endpoint
        self.ledger, self.replies, self.progress = ledger, ledger.replies, progress

    @abstractmethod
    async def hold(self, conversations: Sequence[Conversation]) -> None:
        """Hold all conversations to their ends.

        Raises:
            EndpointError, CostError: the run cannot go on; every reply that arrived is kept, and which batches are
                under way.
            StorageError: a reply cannot be kept.
        """

    def settle(self, conversation: Conversation) -> bool:
        """Hand a conversation the reply to its request; False where there is none yet."""
        key, before = conversation.request.key, conversation.unsettled
        if key not in self.replies:
            return False
        self.ledger.count(conversation.passage, key)
        conversation.receive(self.replies[key])
        self.progress(before - conversation.unsettled)
        return True

    def most(self, request: Request) -> float:
        """The most that a request can cost."""
        return self.ledger.price(request.bound, batch=self.llm.batch)
