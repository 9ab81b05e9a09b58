from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from tests.endpoint import KEY, KEY_VARIABLE, MODEL, FakeEndpoint, Server, serve

from repurpose.model.endpoint import REPLY_BYTES, EndpointError, check_endpoint, is_local, make_client, mask
from repurpose.study.settings import Endpoint


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeEndpoint]:
    with serve(content_echo=f"You sent\n{KEY}") as fake:
        yield fake


@pytest.fixture
def endpoint(fake: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    monkeypatch.setenv(KEY_VARIABLE, f"{KEY}\n")  # as copied from a file
    return Endpoint(model=MODEL, base_url=fake.url, key_variable=KEY_VARIABLE, timeout=20.0)


def problem_of(endpoint: Endpoint) -> str:
    """The one line that a check ends with."""
    with pytest.raises(EndpointError) as problem:
        check_endpoint(endpoint)
    message = str(problem.value)
    assert "\n" not in message
    assert KEY not in message
    assert problem.value.__suppress_context__ or problem.value.__context__ is None
    return message


def test_a_check_passes_with_one_small_request(fake: FakeEndpoint, endpoint: Endpoint) -> None:
    before = fake.paths.total()
    check_endpoint(endpoint)
    assert fake.paths.total() == before + 1


def test_a_wrong_key_is_told_by_its_variable(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-wrong-and-repeated-by-the-server")
    message = problem_of(endpoint)
    assert KEY_VARIABLE in message
    assert str(endpoint.base_url) in message
    assert "sk-wrong" not in message
    assert "***" in message


def test_an_unknown_model_is_told_by_its_setting(endpoint: Endpoint) -> None:
    message = problem_of(replace(endpoint, model="labeller-9"))
    assert message.startswith("endpoint.model: 'labeller-9' is not served at http://127.0.0.1")
    assert "You sent ***" in message


def test_a_missing_key_is_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    message = problem_of(Endpoint(model=MODEL, base_url="https://api.invalid/v1", key_variable=KEY_VARIABLE))
    assert message.startswith(f"the environment variable {KEY_VARIABLE} is not set")


def test_a_key_with_a_space_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, f"Bearer {KEY}")
    endpoint = Endpoint(model=MODEL, base_url="https://api.invalid/v1", key_variable=KEY_VARIABLE)
    assert KEY_VARIABLE in problem_of(endpoint)


def test_a_local_server_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    client = make_client(Endpoint(model=MODEL, base_url="http://localhost:1/v1", key_variable=KEY_VARIABLE))
    assert client.api_key == "none"


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost/v1", True),
        ("http://localhost.example.org/v1", False),
        ("http://10.0.0.1/v1", False),
    ],
)
def test_only_this_machine_is_local(url: str, local: bool) -> None:
    assert is_local(url) is local


def test_a_server_that_is_down_is_told_soon(endpoint: Endpoint) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        start = time.monotonic()
        message = problem_of(replace(endpoint, base_url=url, retries=50))
    assert f"endpoint.base_url: {url} cannot be reached" in message
    assert time.monotonic() - start < 20


def test_a_host_that_does_not_exist_is_told(endpoint: Endpoint) -> None:
    message = problem_of(replace(endpoint, base_url="http://no-such-host.invalid/v1", retries=0))
    assert "endpoint.base_url: http://no-such-host.invalid/v1" in message


def test_a_server_that_hangs_is_told(endpoint: Endpoint) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        message = problem_of(replace(endpoint, base_url=url, timeout=0.3, retries=0))
    assert message == f"endpoint.base_url: {url} did not answer within 0.3 seconds (endpoint.timeout)"


def test_the_ambient_address_of_the_sdk_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere.invalid/v1")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    client = make_client(Endpoint(model=MODEL, key_variable=KEY_VARIABLE))
    assert str(client.base_url) == "https://api.openai.com/v1/"


def test_a_masked_text_keeps_the_rest(endpoint: Endpoint) -> None:
    assert mask(f"a {KEY} b {KEY}", endpoint) == "a *** b ***"


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], object]) -> Iterator[str]:
    """A server that answers every request as it is told; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_told_and_not_followed(status: int, fake: FakeEndpoint, endpoint: Endpoint) -> None:
    def move(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", f"{fake.url}/chat/completions?key={KEY}")
        handler.end_headers()

    before = fake.paths.total()
    with answering(move) as url:
        message = problem_of(replace(endpoint, base_url=url, retries=0))
    assert message.startswith(f"endpoint.base_url: {url} sends us to {fake.url}/chat/completions?key=***; give")
    assert fake.paths.total() == before


def test_a_server_that_drips_is_given_up(endpoint: Endpoint) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b" ")
            time.sleep(0.05)

    with answering(drip) as url:
        start = time.monotonic()
        message = problem_of(replace(endpoint, base_url=url, timeout=0.5, retries=0))
    assert message == f"endpoint.base_url: {url} did not answer within 0.5 seconds (endpoint.timeout)"
    assert time.monotonic() - start < 8


def test_of_a_vast_reply_the_beginning_is_read(endpoint: Endpoint) -> None:
    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        for _ in range(50):
            handler.wfile.write(b"x" * 1_000_000)

    async def ask(url: str) -> str:
        async with make_client(replace(endpoint, base_url=url)) as client:
            create = client.chat.completions.with_raw_response.create
            return (await create(model=MODEL, messages=[{"role": "user", "content": "x"}])).text

    with answering(flood) as url:
        assert len(asyncio.run(ask(url))) == REPLY_BYTES


@pytest.mark.parametrize(
    "write",
    [
        lambda character: f"\\{character}",
        lambda character: f"\\u{ord(character):04x}",
        lambda character: f"\\\\u{ord(character):04X}",
        lambda character: f"%{ord(character):02X}",
        lambda character: f"%2525{ord(character):02x}",
        lambda character: f"&#{ord(character)};",
        lambda character: f"&#x{ord(character):X};",
    ],
    ids=["backslash", "JSON", "JSON in JSON", "URL", "URL in URL", "HTML", "hexadecimal HTML"],
)
def test_a_key_is_masked_however_it_is_escaped(write: Callable[[str], str], endpoint: Endpoint) -> None:
    for escaped in (KEY.replace("-", write("-")), "".join(map(write, KEY))):
        assert mask(f"a {escaped} b {KEY.upper()}", endpoint) == f"a *** b {KEY.upper()}"
