"""What replies cost, by passage, and the guard that stops before `max_cost` is passed.

Each reply is kept with the account that paid for it, a study's annotator, so the limit is one for all jobs and runs of
that study: labels of rollouts, of steered text, and whatever was killed. Counted is what a reply says of its own use. A
request whose connection broke leaves no reply: should the server bill it, no client can know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from repurpose.labels.conversation import Body, token_bound
from repurpose.labels.replies import Replies, Reply, Tokens
from repurpose.study.settings import Llm

MILLION = 1_000_000


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

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


class Ledger:
    """Adds up replies and holds back the most that requests under way can cost."""

    def __init__(self, passages: int, llm: Llm, account: str, replies: Replies) -> None:
        self.usages = [Usage() for _ in range(passages)]
        self.account = account
        self.spent = 0.0
        """Paid for replies in this run."""
        self.under_way: list[float] = []
        """The most that each request under way can cost. A list, because a running difference never comes back to 0."""
        self._llm, self._replies = llm, replies
        self._counted: set[str] = set()
        self.earlier = sum(self._charge(reply) for reply in replies.bought_by(account))
        """Paid by this account before, for whatever text."""
        self.in_batches = 0.0
        """The most that its requests can cost that lie with batches."""
        self.look_at_batches()

    def look_at_batches(self) -> None:
        """See what lies with batches; those of a killed run do, too."""
        bounds = self._replies.in_batches(self.account)
        self.in_batches = sum(self._price(*bound, batch=True) for bound in bounds)

    def bound(self, body: Body) -> float:
        """The most that a request can cost."""
        return self._price(*token_bound(body), batch=self._llm.batch)

    def fits(self, bound: float) -> bool:
        """Whether a request may be sent beside those under way."""
        limit = self._llm.max_cost
        return limit is None or self.spent + self.earlier + self.in_batches + sum(self.under_way) + bound <= limit

    def buy(self, body: Body, reply: Reply) -> Reply:
        """The reply as this account's, paid for."""
        paid = reply.paid_by(self.account, token_bound(body))
        self.pay(paid)
        return paid

    def pay(self, reply: Reply) -> None:
        """Count a reply of this run, unless it was another account's request."""
        if reply.account == self.account:
            self.spent += self._charge(reply)

    def count(self, passage: int, key: str, reply: Reply, *, earlier: bool) -> None:
        """Put a reply on a passage's account, once."""
        if key in self._counted:
            return
        self._counted.add(key)
        cost = self._cost(reply)
        used = Usage(1, reply.prompt_tokens or 0, reply.completion_tokens or 0, cost, cost if earlier else 0.0)
        self.usages[passage] += used

    def stop(self, missing: int) -> CostError:
        """The error that ends a run, with how many sentences have no label yet."""
        waiting = f" and up to {self.in_batches:.6g} lies with batches" if self.in_batches else ""
        return CostError(
            f"max_cost: the next request might pass {self._llm.max_cost:g}; {self.spent:.6g} was spent in this run, "
            f"{self.earlier:.6g} before on {self.account}{waiting}; every reply is kept; "
            f"{missing} sentences have no label yet"
        )

    def _charge(self, reply: Reply) -> float:
        tokens: Tokens = reply.charged or (0, 0)
        return self._price(*tokens, batch=reply.batch)

    def _cost(self, reply: Reply) -> float:
        return self._price(reply.prompt_tokens or 0, reply.completion_tokens or 0, batch=reply.batch)

    def _price(self, prompt: int, completion: int, *, batch: bool) -> float:
        endpoint = self._llm.endpoint
        price = prompt * endpoint.input_price + completion * endpoint.output_price
        return price / MILLION * (self._llm.batch_price if batch else 1.0)


def sum_usages(usages: Iterable[Usage]) -> Usage:
    """The whole of several accounts."""
    total = Usage()
    for usage in usages:
        total += usage
    return total
