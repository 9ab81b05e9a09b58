"""One chunk's exchange with the model: ask, judge, ask again for what has no label; it knows nothing of a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from repurpose.labels.llm.faults import follow_up, judge
from repurpose.labels.llm.replies import Reply, Tokens, request_key
from repurpose.model.endpoint import TOKEN_LIMITS, sampling_fields
from repurpose.study.settings import BEHAVIOURS, Llm

Json = dict[str, Any]
ENTRY_TOKENS = 32
"""A generous entry, spaces included."""
FRAME_TOKENS = 64
MESSAGE_TOKENS = 64
"""Tokens that a server's template may add to a message."""


@dataclass(frozen=True)
class Request:
    """A complete request of /v1/chat/completions."""

    body: Json
    key: str

    @cached_property
    def bound(self) -> Tokens:
        """Prompt and completion tokens that it uses at most: no token is less than a byte long."""
        body = self.body
        texts = [message["content"] for message in body["messages"]]
        prompt = sum(len(text.encode()) + MESSAGE_TOKENS for text in texts) + len(json.dumps(body["response_format"]))
        return prompt, next(body[name] for name in TOKEN_LIMITS if name in body)


class Conversation:
    """Labels the sentences of a chunk, numbered from 1; only those that the chunk owns are asked for again."""

    def __init__(
        self, passage: int, sentences: Sequence[str], chunk: range, owned: set[int], llm: Llm, prompt: str
    ) -> None:
        """Open the conversation on `chunk` of a passage's sentences, of which those owned keep its label."""
        self.passage, self.chunk, self.owned = passage, chunk, owned
        self._labels: dict[int, str] = {}
        self._faults: dict[int, tuple[str, str | None]] = {}
        """The last fault and the raw reply that had it, by number."""
        self._llm = llm
        # The sentences travel as JSON strings: no text can forge a number or an end.
        numbered = [{"sentence": number, "text": sentences[i].strip()} for number, i in enumerate(chunk, 1)]
        shown = json.dumps({"sentences": numbered}, ensure_ascii=False)
        self._opening = [{"role": "system", "content": prompt}, {"role": "user", "content": shown}]
        self._asked, self._attempt = list(range(1, len(chunk) + 1)), 1
        self.request = self._ask(self._opening)
        """What is to be asked next, until it is done."""

    @property
    def done(self) -> bool:
        return not self._asked or self._attempt > self._llm.attempts

    @property
    def unsettled(self) -> int:
        """Sentences owned that may still get a label."""
        return 0 if self.done else sum(self._sentence(number) in self.owned for number in self._asked)

    def label(self, sentence: int) -> str | None:
        """The label of a sentence of the passage, where this chunk has given it one."""
        return self._labels.get(sentence - self.chunk.start + 1) if sentence in self.chunk else None

    def fault(self, sentence: int) -> tuple[str, str | None]:
        """Why a sentence of the chunk has no label, and the reply that gave none."""
        return self._faults[sentence - self.chunk.start + 1]

    def receive(self, reply: Reply) -> None:
        """Keep what is valid and prepare to ask for the rest."""
        judgement = judge(reply, self._asked)
        self._labels |= judgement.labels
        self._faults |= {number: (fault, reply.raw) for number, fault in judgement.faults.items()}
        again = {n: fault for n, fault in judgement.faults.items() if self._sentence(n) in self.owned}
        self._asked, self._attempt = sorted(again), self._attempt + 1
        # The answer stands between, because some chat templates refuse two messages of one side in a row.
        answer = {"role": "assistant", "content": reply.content or reply.refusal or "(no reply)"}
        if not self.done:
            self.request = self._ask([*self._opening, answer, {"role": "user", "content": follow_up(again)}])

    def _sentence(self, number: int) -> int:
        return self.chunk.start + number - 1

    def _ask(self, messages: list[dict[str, str]]) -> Request:
        """More room for the reply each time, should the last one have been cut off."""
        endpoint, asked = self._llm.endpoint, self._asked
        room = sampling_fields(endpoint, (FRAME_TOKENS + ENTRY_TOKENS * len(asked)) * self._attempt)
        body = {"model": endpoint.model, "messages": messages, "response_format": response_format(asked), **room}
        return Request(body, request_key(endpoint, body))


def response_format(numbers: list[int]) -> Json:
    """The JSON schema of a reply: as many entries as sentences are asked for, with their numbers and our labels."""
    fields = {"sentence": {"type": "integer", "enum": numbers}, "label": {"type": "string", "enum": list(BEHAVIOURS)}}
    entries = {"type": "array", "items": _record(fields), "minItems": len(numbers), "maxItems": len(numbers)}
    schema = _record({"labels": entries})
    return {"type": "json_schema", "json_schema": {"name": "labels", "strict": True, "schema": schema}}


def _record(fields: Json) -> Json:
    """The schema of an object with exactly these fields."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
