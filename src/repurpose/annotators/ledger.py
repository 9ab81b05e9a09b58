"""What replies cost, by passage, and the guard that stops before `max_cost` is passed.

Counted is what a reply says of its own use. A request whose connection broke leaves no reply: should the server bill
it, no client can know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from repurpose.annotators.conversation import Body, token_bound
from repurpose.annotators.replies import Reply
from repurpose.settings import Llm

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

    def __init__(self, passages: int, llm: Llm, spent: float = 0.0) -> None:
        self.usages = [Usage() for _ in range(passages)]
        self.spent = 0.0
        """Paid for replies in this run."""
        self.earlier = spent
        """Paid for other texts of the study, and for these in earlier runs as far as their replies have been read."""
        self.under_way: list[float] = []
        """The most that each request under way can cost. A list, because a running difference never comes back to 0."""
        self._llm = llm
        self._counted: set[str] = set()

    def bound(self, body: Body) -> float:
        """The most that a request can cost."""
        return self._price(*token_bound(body), batch=self._llm.batch)

    def fits(self, bound: float) -> bool:
        """Whether a request may be sent beside those under way; what an earlier run paid for these texts counts."""
        limit = self._llm.max_cost
        return limit is None or self.spent + self.earlier + sum(self.under_way) + bound <= limit

    def pay(self, body: Body, reply: Reply) -> None:
        """Count a reply as this run's; where the server does not say what it used, the most that it can have used."""
        self.spent += self._cost(reply) if reply.prompt_tokens is not None else self.bound(body)

    def count(self, passage: int, key: str, reply: Reply, *, earlier: bool) -> None:
        """Put a reply on a passage's account, once."""
        if key in self._counted:
            return
        self._counted.add(key)
        cost = self._cost(reply)
        used = Usage(1, reply.prompt_tokens or 0, reply.completion_tokens or 0, cost, cost if earlier else 0.0)
        self.usages[passage] += used
        self.earlier += used.paid_earlier

    def stop(self, missing: int) -> CostError:
        """The error that ends a run, with how many sentences have no label yet."""
        total = sum_usages(self.usages)
        return CostError(
            f"max_cost: the next request might pass {self._llm.max_cost:g}; {self.spent:.6g} was spent in this run "
            f"({self.earlier:.6g} earlier) on {total.requests} replies, which are kept; "
            f"{missing} sentences have no label yet"
        )

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
