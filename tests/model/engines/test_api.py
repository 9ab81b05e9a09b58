"""The engine behind an API: what is stored is what the server said, and nothing is asked twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import StepMaker
from transformers import PreTrainedTokenizerFast

from repurpose.model.endpoint import EndpointError
from repurpose.model.engines import Generated, Question, Sampling
from repurpose.model.engines.api import ApiEngine
from repurpose.model.token_ends import token_texts
from repurpose.rollouts.sampling import sample_rollouts
from repurpose.study.settings import Endpoint

SAMPLING = Sampling(temperature=0.7, max_new_tokens=20)
QUESTION = Question("prompt p, sample 0", [{"role": "user", "content": "Add."}], [0, 2], 2**40 + 5)


class Server(ThreadingHTTPServer):
    """Answers every request with the next of some choices, the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.choices: list[Any] = []
        self.bodies: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(model="m", base_url=f"http://127.0.0.1:{self.server_port}/v1", retries=0, timeout=10.0)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            choice = self.server.choices.pop(0) if len(self.server.choices) > 1 else self.server.choices[0]
        reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choice}
        self.send_response(200 if choice is not None else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def choice(content: str | None, finish: str = "stop", **extra: Any) -> list[dict[str, Any]]:
    message = {"role": "assistant", "content": content, **extra.pop("message", {})}
    return [{"index": 0, "message": message, "finish_reason": finish, **extra}]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def ask(server: Server, tokenizer: PreTrainedTokenizerFast, ids_from: str = "tokenizer") -> Generated:
    answers: dict[int, Generated] = {}
    engine = ApiEngine(server.endpoint, tokenizer, ids_from)  # type: ignore[arg-type]
    engine.generate([QUESTION], SAMPLING, answers.__setitem__)
    return answers[0]


def test_what_is_asked_is_what_the_study_says(server: Server, tokenizer: PreTrainedTokenizerFast) -> None:
    server.choices = [choice("three and four", "length")]
    found = ask(server, tokenizer)
    assert tokenizer.decode(found.token_ids) == "three and four" and found.finish_reason == "length"
    (body,) = server.bodies
    assert body["messages"] == QUESTION.messages and body["seed"] == 5
    assert (body["temperature"], body["max_tokens"]) == (0.7, 20)


def test_thinking_that_the_server_splits_off_is_put_back(server: Server, tokenizer: PreTrainedTokenizerFast) -> None:
    engine = ApiEngine(server.endpoint, tokenizer, "tokenizer")
    opened = Question("p", [], tokenizer.encode("<think>", add_special_tokens=False), 0)
    message = type("Message", (), {"reasoning_content": "Hmm three", "content": "seven"})()
    assert engine.read_text(message, QUESTION) == "<think>\nHmm three\n</think>\n\nseven"
    assert engine.read_text(message, opened) == "Hmm three\n</think>\n\nseven"
    message.content = None  # cut off while it thought
    assert engine.read_text(message, opened) == "Hmm three"


def test_exact_ids_come_from_a_server_that_has_them(server: Server, tokenizer: PreTrainedTokenizerFast) -> None:
    end = int(tokenizer.eos_token_id)  # type: ignore[arg-type]
    server.choices = [choice("three", token_ids=[7, 8, end])]
    assert ask(server, tokenizer, "server").token_ids == [7, 8]
    assert server.bodies[0]["return_token_ids"] is True
    server.choices = [choice("three")]
    with pytest.raises(EndpointError, match=r"rollouts\.ids: .* returns no token ids; give 'tokenizer'"):
        ask(server, tokenizer, "server")


def test_text_that_its_ids_do_not_give_back_is_refused(server: Server, tokenizer: PreTrainedTokenizerFast) -> None:
    server.choices = [choice("eleven zebras")]
    with pytest.raises(EndpointError, match="prompt p, sample 0: the text is not what its ids decode to"):
        ask(server, tokenizer)


def test_an_answer_that_repeats_the_key_is_refused(
    server: Server, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(server.endpoint.key_variable, "three-four")
    server.choices = [choice("three\\u002dfour")]
    with pytest.raises(EndpointError, match="prompt p, sample 0: m's answer holds the key that it was given"):
        ask(server, tokenizer)


@pytest.mark.parametrize("empty", [choice(""), choice("three", "content_filter"), []])
def test_an_answer_without_text_is_asked_for_again_and_then_named(
    server: Server, tokenizer: PreTrainedTokenizerFast, empty: list[Any]
) -> None:
    server.choices = [empty, choice("three")]
    assert tokenizer.decode(ask(server, tokenizer).token_ids) == "three"
    assert [body["seed"] for body in server.bodies] == [5, 6]
    server.choices = [empty]
    with pytest.raises(EndpointError, match="prompt p, sample 0: no text in 3 answers of m"):
        ask(server, tokenizer)


def test_a_run_that_failed_asks_only_for_what_is_missing(
    server: Server, make_step: StepMaker, prompt_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    endpoint = {"model": "m", "base_url": server.endpoint.base_url, "concurrency": 1, "retries": 0}
    settings = make_step(
        "rollouts.sampling", sections={"rollouts": {"engine": "openai", "endpoint": endpoint}}, shard=0
    )
    server.choices = [choice("three"), choice("four"), None]
    with pytest.raises(EndpointError, match="refuses the key in the environment variable OPENAI_API_KEY"):
        sample_rollouts(settings, prompt_rows, tmp_path / "r.parquet")
    server.choices, before = [choice("seven")], len(server.bodies)
    rows = sample_rollouts(settings, prompt_rows, tmp_path / "r.parquet")
    assert [row["text"] for row in rows] == ["three", "four", *["seven"] * 6]
    assert all(token_texts(row["text"], row["token_ends"]) == [row["text"]] for row in rows), "one token each"
    assert len(server.bodies) == before + 6
    assert {(row["engine"], row["model"]) for row in rows} == {("openai", "m")}
    assert len({body["seed"] for body in server.bodies[before:]}) == 6
