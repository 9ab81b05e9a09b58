"""What replies cost, by passage, and the guard that stops before `max_cost` is passed.

Each reply is kept with the account that paid for it, a study's annotator, so the limit is one for all jobs and runs of
that study: labels of rollouts, of steered text, and whatever was killed. Counted is what a reply says of its own use. A
request whose connection broke leaves no reply: should the server bill it, no client can know.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from repurpose.labels.llm.conversation import Conversation, Request
from repurpose.labels.llm.replies import Replies, Reply, Tokens
from repurpose.study.settings import Llm


class CostError(RuntimeError):
    """The next request might pass `max_cost`; one line with what was spent."""


@dataclass(frozen=True)
class Usage:
    """The replies that a passage's labels stand on; one shared with an earlier passage is counted there alone."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """In the currency of the endpoint's prices, whenever it was paid."""
    paid_earlier: float = 0.0
    """The part of `cost` that an earlier run paid."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


class Ledger:
    """Keeps replies and adds up their cost, and holds back the most that requests under way can cost.

    Every reply is kept and counted before a conversation sees it.
    """

    def __init__(self, passages: int, llm: Llm, account: str, replies: Replies) -> None:
        self.usages = [Usage() for _ in range(passages)]
        self.account, self.replies = account, replies
        self.spent = 0.0
        """Paid for replies in this run."""
        self.under_way: list[float] = []
        """The most that each request under way can cost. A list, because a running difference never comes back to 0."""
        self._llm, self._counted, self._bought = llm, set[str](), set[str]()
        """The keys of replies that are on a passage's account, and of those of this run."""
        self.earlier = sum(self._charge(reply) for reply in replies.bought_by(account))
        """Paid by this account before, for whatever text."""
        self.refresh_batches()

    def refresh_batches(self) -> None:
        """Add up the most that what is in batches now can cost, those of a killed run included."""
        self.in_batches = sum(self._price(bound, batch=True) for bound in self.replies.in_batches(self.account))

    def fits(self, cost: float) -> bool:
        """Whether a request that can cost so much may be sent beside those under way."""
        limit = self._llm.max_cost
        return limit is None or self.spent + self.earlier + self.in_batches + sum(self.under_way) + cost <= limit

    def highest_cost(self, request: Request) -> float:
        """The most that a request can cost."""
        return self._price(request.bound, self._llm.batch)

    def keep(self, replies: Mapping[str, Reply]) -> None:
        """Put replies on the disk, and count what this run has paid for them: not for what another gave to a batch.

        Raises:
            StorageError: where it cannot be kept.
        """
        # First of all, because it is paid for even where it cannot be kept.
        self.spent += sum(self._charge(reply) for reply in replies.values() if reply.account == self.account)
        self._bought |= replies.keys()
        self.replies.add(replies)

    def settle(self, conversation: Conversation) -> int:
        """Hand a conversation its reply, and put that on its passage's account; how many sentences it settles."""
        key, before = conversation.request.key, conversation.unsettled
        reply = self.replies[key]
        if key not in self._counted:
            self._counted.add(key)
            tokens = reply.prompt_tokens or 0, reply.completion_tokens or 0
            cost = self._price(tokens, reply.batch)
            self.usages[conversation.passage] += Usage(1, *tokens, cost, 0.0 if key in self._bought else cost)
        conversation.receive(reply)
        return before - conversation.unsettled

    def cost_error(self, conversations: Iterable[Conversation]) -> CostError:
        """The error that ends a run, with how many sentences have no label yet."""
        missing = sum(conversation.unsettled for conversation in conversations)
        waiting = f" and up to {self.in_batches:.6g} lies with batches" if self.in_batches else ""
        return CostError(
            f"max_cost: the next request might pass {self._llm.max_cost:g}; {self.spent:.6g} was spent in this run, "
            f"{self.earlier:.6g} before on {self.account}{waiting}; every reply is kept; "
            f"{missing} sentences have no label yet"
        )

    def _price(self, tokens: Tokens, batch: bool) -> float:
        endpoint = self._llm.endpoint
        price = tokens[0] * endpoint.input_price + tokens[1] * endpoint.output_price
        return price / 1_000_000 * (self._llm.batch_price if batch else 1.0)

    def _charge(self, reply: Reply) -> float:
        return self._price(reply.charged or (0, 0), reply.batch)
