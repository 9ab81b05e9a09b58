"""An OpenAI-compatible server on loopback that does on purpose what real ones do rarely, and counts.

The label of a text is a digest of it, so a test knows the truth. Which fault a request meets is drawn from a seed and
the request itself, so it does not depend on the order in which requests arrive.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from repurpose.study.settings import BEHAVIOURS

KEY = "sk-canary-5f1d0c7be2a94a63"
MODEL = "labeller-1"
KEY_VARIABLE = "REPURPOSE_TEST_KEY"
TRANSPORT_FAULTS = ("429", "500", "hang", "cut")
"""No reply arrives; the client's SDK asks again by itself."""
REPLY_FAULTS = (
    "malformed",
    "not-json",
    "nonsense",
    "from-zero",
    "missing",
    "repeated",
    "slid",
    "unknown-label",
    "no-choices",
    "empty",
    "refusal",
    "filtered",
    "truncated",
)
Body = dict[str, Any]


def truth(text: str) -> str:
    """The label of a text."""
    return BEHAVIOURS[hashlib.blake2b(text.encode()).digest()[0] % len(BEHAVIOURS)]


def read_request(body: Body) -> tuple[list[str], list[int]]:
    """The texts shown and the numbers asked for."""
    messages = body["messages"]
    texts = [entry["text"] for entry in json.loads(messages[1]["content"])["sentences"]]
    again = json.loads(messages[3]["content"])["asked_again"] if len(messages) == 4 else None
    return texts, again or list(range(1, len(texts) + 1))


def pick_faults(seed: int, share: float, kinds: tuple[str, ...]) -> Callable[[Body, int], str | None]:
    """A plan by which a share of the requests meets a fault; (request, times seen before) -> fault."""

    def plan(body: Body, seen: int) -> str | None:
        draw = random.Random(f"{seed}/{seen}/{read_request(body)}/{body['max_tokens']}")  # no wording decides
        return draw.choice(kinds) if draw.random() < share else None

    return plan


def no_faults(_body: Body, _seen: int) -> str | None:
    return None


@dataclass
class FakeEndpoint:
    """The server's state; everything that a test may ask of it."""

    plan: Callable[[Body, int], str | None] = no_faults
    delay: float = 0.0
    """Seconds before a reply."""
    hang: float = 3.0
    """Seconds that a hanging request hangs."""
    retry_after: str = "0.05"
    usage: bool = True
    content_echo: str = ""
    """Is added to refusals and error messages, where a hostile server might repeat a key."""
    bodies: list[Body] = field(default_factory=list)
    """Requests that arrived at all."""
    arrivals: list[float] = field(default_factory=list)
    paths: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    """How often each text was asked for."""
    faulty: Counter[str] = field(default_factory=Counter)
    """How often what was answered for a text was no valid label, or nothing."""
    met: Counter[str] = field(default_factory=Counter)
    """Faults by kind."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    replies: int = 0
    under_way: int = 0
    most_under_way: int = 0
    files: dict[str, str] = field(default_factory=dict)
    batches: dict[str, Body] = field(default_factory=dict)
    batch_plan: Callable[[int, int], str | None] = lambda _batch, _line: None
    """(number of the batch, of its line) -> `failed`, `lost`; line -1: the batch itself `failed`, `expired`."""
    batch_polls: int = 1
    """Looks at a batch before it has ended; negative: it never ends."""
    model: str = MODEL
    unanswered: int = 0
    """Batches that are created while the client is told of an error."""
    url: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def answer(self, body: Body) -> tuple[str | None, str]:
        """Count a request and return (transport fault, the body of the reply)."""
        with self.lock:
            seen = self.bodies.count(body)
            self.bodies.append(body)
            self.arrivals.append(time.monotonic())
            fault = self.plan(body, seen)
            texts, asked = read_request(body)
            self.met[fault or "none"] += 1
            self.asked.update(texts[n - 1] for n in asked)
            if fault in (*TRANSPORT_FAULTS, "declined"):
                self.faulty.update(texts[n - 1] for n in asked)
                return fault, self._complete(body, "", "stop", count=False)
            return None, self._reply(body, texts, asked, fault)

    def _reply(self, body: Body, texts: list[str], asked: list[int], fault: str | None) -> str:
        entries = [{"sentence": n, "label": truth(texts[n - 1])} for n in asked]
        good = list(asked)
        half = max(len(asked) // 2, 1)
        if fault == "from-zero":
            entries = [{**entry, "sentence": int(entry["sentence"]) - 1} for entry in entries]
            good = []
        elif fault == "missing":
            entries, good = entries[half:], good[half:]
        elif fault == "slid" and len(entries) > 1:
            entries = [{**entry, "sentence": asked[max(at - 1, 0)]} for at, entry in enumerate(entries)]
            good = []
        elif fault == "slid":
            pass
        elif fault == "repeated":
            other = BEHAVIOURS[(BEHAVIOURS.index(entries[0]["label"]) + 1) % len(BEHAVIOURS)]  # type: ignore[arg-type]
            entries, good = [*entries, {**entries[0], "label": other}], []
        elif fault == "unknown-label":
            entries[:half], good = [{**e, "label": "pondering"} for e in entries[:half]], good[half:]
        elif fault == "nonsense":
            entries, good = [{"sentence": 900 + n, "label": "deduction"} for n in range(3)], []
        elif fault:
            good = []
        content = json.dumps({"labels": entries})
        if fault == "truncated":
            content, good = _cut_after(content, half), asked[:half]
        self.faulty.update(texts[n - 1] for n in asked if n not in good)
        return self._finish(body, content, fault)

    def _finish(self, body: Body, content: str, fault: str | None) -> str:
        if fault == "not-json":
            return "<html>busy</html>"
        if fault == "no-choices":
            return self._complete(body, None, "stop")
        if fault == "refusal":
            return self._complete(body, "", "stop", refusal=f"I cannot do that. {self.content_echo}")
        content = {"malformed": '{"labels": [{', "empty": "", "filtered": ""}.get(fault or "", content)
        reason = {"filtered": "content_filter", "truncated": "length"}.get(fault or "", "stop")
        return self._complete(body, content, reason)

    def _complete(
        self, body: Body, content: str | None, reason: str, *, refusal: str | None = None, count: bool = True
    ) -> str:
        prompt = sum(len(message["content"]) for message in body["messages"]) // 4
        completion = len(content or refusal or "") // 4 + 1
        if count:
            self.prompt_tokens, self.completion_tokens = (
                self.prompt_tokens + prompt,
                self.completion_tokens + completion,
            )
            self.replies += 1
        choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": content}}
        if refusal:
            choice["message"] = {"role": "assistant", "content": None, "refusal": refusal}
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        reply = {
            "id": f"chatcmpl-{self.replies}",
            "object": "chat.completion",
            "created": 1700000000,
            "model": f"{MODEL}-2026-01-01",
            "choices": [] if content is None and not refusal else [choice],
        }
        return json.dumps(reply | ({"usage": usage} if self.usage else {}))

    def create_batch(self, request: Body) -> Body:
        """Answer a whole file at once, as its plan says; it is shown as ended after some looks."""
        with self.lock:
            number = len(self.batches)
            batch: Body = {
                "id": f"batch-{number}",
                "object": "batch",
                "endpoint": request["endpoint"],
                "input_file_id": request["input_file_id"],
                "completion_window": request["completion_window"],
                "metadata": request.get("metadata"),
                "created_at": 1,
                "status": "in_progress",
                "looks": 0,
                "end": self.batch_plan(number, -1) or "completed",
            }
            self.batches[batch["id"]] = batch
            return batch

    def look_at_batch(self, name: str) -> Body | None:
        with self.lock:
            batch = self.batches.get(name)
            if batch is None:
                return None
            batch["looks"] += 1
            if batch["status"] == "in_progress" and 0 <= self.batch_polls < batch["looks"]:
                self._end_batch(batch)
            return batch

    def _end_batch(self, batch: Body) -> None:
        batch["status"] = batch["end"]
        number = int(batch["id"].split("-")[1])
        if batch["status"] == "failed":
            batch["errors"] = {"object": "list", "data": [{"code": "invalid", "message": "the file is not valid"}]}
            return
        good, bad = [], []
        for position, line in enumerate(self.files[batch["input_file_id"]].splitlines()):
            entry, fate = json.loads(line), self.batch_plan(number, position)
            if fate == "failed" or batch["status"] == "expired":
                bad.append({"custom_id": entry["custom_id"], "response": None, "error": {"message": "line failed"}})
            elif fate != "lost":
                body = _parse(self.answer(entry["body"])[1])
                good.append({"custom_id": entry["custom_id"], "response": {"status_code": 200, "body": body}})
        for name, lines in (("output", good[::-1]), ("error", bad)):  # the order of lines is the server's own affair
            if lines:
                self.files[f"{name}-{number}"] = "".join(json.dumps(line) + "\n" for line in lines)
                batch[f"{name}_file_id"] = f"{name}-{number}"


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _cut_after(content: str, entries: int) -> str:
    """The content up to the middle of the entry after this many."""
    ends = [found.end() for found in re.finditer("}", content)]
    return content[: ends[entries - 1] + 10]


class Handler(BaseHTTPRequestHandler):
    """HTTP around the state."""

    protocol_version = "HTTP/1.1"
    state: FakeEndpoint

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self.state.paths[f"GET {self.path.split('?')[0]}"] += 1
        if self.path.startswith("/v1/batches?") or self.path == "/v1/batches":
            self._send(200, {"object": "list", "data": list(self.state.batches.values()), "has_more": False})
        elif self.path.startswith("/v1/batches/"):
            batch = self.state.look_at_batch(self.path.rsplit("/", 1)[1])
            self._send(200, batch) if batch else self._fail(404, "no such batch")
        elif self.path.startswith("/v1/files/"):
            self._send(200, self.state.files[self.path.split("/")[3]])
        else:
            self._fail(404, "no such page")

    def do_POST(self) -> None:
        self.state.paths[f"POST {self.path}"] += 1
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self._fail(401, f"Incorrect API key provided: {self.headers['Authorization']}")
        elif self.path == "/v1/files":
            self._upload(content)
        elif self.path == "/v1/batches":
            batch = self.state.create_batch(json.loads(content))
            self._send(200, batch) if len(self.state.batches) > self.state.unanswered else self._fail(500, "oh no")
        else:
            self._complete(json.loads(content))

    def _upload(self, content: bytes) -> None:
        name = f"file-{len(self.state.files)}"
        boundary = self.headers["Content-Type"].split("boundary=")[1].encode()
        parts = [part for part in content.split(b"--" + boundary) if b'name="file"' in part]
        self.state.files[name] = parts[0].split(b"\r\n\r\n", 1)[1].rstrip(b"\r\n").decode() + "\n"
        self._send(
            200, {"id": name, "object": "file", "bytes": 1, "created_at": 1, "filename": "x", "purpose": "batch"}
        )

    def _complete(self, body: Body) -> None:
        if body["model"] != self.state.model:
            self._fail(404, f"The model {body['model']} does not exist. {self.state.content_echo}", "model_not_found")
            return
        if body["response_format"]["json_schema"]["name"] != "labels":
            self._send(200, {"choices": []})
            return
        with self.state.lock:
            self.state.under_way += 1
            self.state.most_under_way = max(self.state.most_under_way, self.state.under_way)
        try:
            time.sleep(self.state.delay)
            fault, reply = self.state.answer(body)
            self._send(200, reply) if fault is None else self._break(fault, reply)
        finally:
            with self.state.lock:
                self.state.under_way -= 1

    def _break(self, fault: str, reply: str) -> None:
        if fault == "429":
            self._fail(429, "slow down", headers={"Retry-After": self.state.retry_after})
        elif fault == "declined":
            self._fail(400, f"The prompt was filtered. {self.state.content_echo}", "content_filter")
        elif fault == "500":
            self._fail(500, f"oh no {self.state.content_echo}")
        elif fault == "hang":
            time.sleep(self.state.hang)
            self.close_connection = True
        else:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply[: len(reply) // 2].encode())
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def _fail(self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None) -> None:
        self._send(status, {"error": {"message": message, "code": code, "type": "x"}}, headers)

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """A client that went away is part of the tests."""


@contextmanager
def serve(**state: Any) -> Iterator[FakeEndpoint]:
    """Run the server on a free port of loopback."""
    fake = FakeEndpoint(**state)
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"state": fake}))
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
