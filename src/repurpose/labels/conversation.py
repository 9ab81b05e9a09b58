"""One chunk's exchange with the model: ask, judge, ask again for what has no label; it knows nothing of a network."""

from __future__ import annotations

import json
from typing import Any

from repurpose.labels.faults import follow_up, judge
from repurpose.labels.replies import Reply
from repurpose.model.endpoint import TOKEN_LIMITS, sampling_fields
from repurpose.study.settings import BEHAVIOURS, Llm

Body = dict[str, Any]
"""A complete request of /v1/chat/completions."""

ENTRY_TOKENS = 32
"""A generous entry, spaces included."""
FRAME_TOKENS = 64
MESSAGE_TOKENS = 64
"""Tokens that a server's template may add to a message."""
NO_REPLY = "(no reply)"


def response_format(numbers: list[int]) -> dict[str, Any]:
    """The JSON schema of a reply: as many entries as sentences are asked for, with their numbers and our labels."""
    entry = {
        "type": "object",
        "properties": {
            "sentence": {"type": "integer", "enum": numbers},
            "label": {"type": "string", "enum": list(BEHAVIOURS)},
        },
        "required": ["sentence", "label"],
        "additionalProperties": False,
    }
    entries = {"type": "array", "items": entry, "minItems": len(numbers), "maxItems": len(numbers)}
    schema = {
        "type": "object",
        "properties": {"labels": entries},
        "required": ["labels"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "labels", "strict": True, "schema": schema}}


class Conversation:
    """Labels a chunk's sentences, numbered from 1; only those that the chunk owns are asked for again."""

    def __init__(self, passage: int, sentences: list[str], owned: list[bool], instructions: str, llm: Llm) -> None:
        self.passage = passage
        self.labels: dict[int, str] = {}
        self.faults: dict[int, tuple[str, str | None]] = {}
        """The last fault and the raw reply that had it, by number."""
        self._owned, self._llm = owned, llm
        self._asked = list(range(1, len(sentences) + 1))
        self._opening = _opening(instructions, sentences)
        self._messages = self._opening
        self._attempt = 1

    @property
    def done(self) -> bool:
        return not self._asked or self._attempt > self._llm.attempts

    @property
    def open(self) -> int:
        """Sentences owned that may still get a label."""
        return 0 if self.done else sum(self._owned[number - 1] for number in self._asked)

    def request(self) -> Body:
        """What is to be asked next; more room each time, should the last reply have been cut off."""
        endpoint = self._llm.endpoint
        return {
            "model": endpoint.model,
            "messages": self._messages,
            "response_format": response_format(self._asked),
            **sampling_fields(endpoint, (FRAME_TOKENS + ENTRY_TOKENS * len(self._asked)) * self._attempt),
        }

    def take(self, reply: Reply) -> None:
        """Keep what is valid and prepare to ask for the rest."""
        judgement = judge(reply, self._asked)
        for number in judgement.labels:
            self.faults.pop(number, None)
        self.labels |= judgement.labels
        self.faults |= {number: (fault, reply.raw) for number, fault in judgement.faults.items()}
        again = {number: fault for number, fault in judgement.faults.items() if self._owned[number - 1]}
        self._asked, self._attempt = sorted(again), self._attempt + 1
        # The answer stands between, because some chat templates refuse two messages of one side in a row.
        answer = {"role": "assistant", "content": reply.content or reply.refusal or NO_REPLY}
        self._messages = [*self._opening, answer, {"role": "user", "content": follow_up(again)}]


def _opening(instructions: str, sentences: list[str]) -> list[dict[str, str]]:
    """The sentences travel as JSON strings: no text can forge a number or an end."""
    numbered = [{"sentence": number, "text": text.strip()} for number, text in enumerate(sentences, 1)]
    return [
        {"role": "system", "content": instructions},
        {"role": "user", "content": json.dumps({"sentences": numbered}, ensure_ascii=False)},
    ]


def token_bound(body: Body) -> tuple[int, int]:
    """Prompt and completion tokens that a request uses at most: no token is less than a byte long."""
    texts = [message["content"] for message in body["messages"]]
    prompt = sum(len(text.encode()) + MESSAGE_TOKENS for text in texts) + len(json.dumps(body["response_format"]))
    return prompt, next(body[name] for name in TOKEN_LIMITS if name in body)
