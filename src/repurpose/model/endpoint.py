"""The client of an OpenAI-compatible server, and every fault of it in one line.

The key is read from the environment here and nowhere else, and leaves this module only inside the client: whatever a
server says goes through `mask` before it is raised or written, because some servers repeat the key they were given.
"""

import asyncio
import ipaddress
import os
import re
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from repurpose.study.settings import Endpoint

OPENAI_URL = "https://api.openai.com/v1"
"""Named here, so that an ambient OPENAI_BASE_URL never decides where a key is sent."""
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
NO_KEY = "none"
"""What a server on this machine gets where no key is set: the SDK refuses to send nothing."""
KEY_ERRORS = (openai.AuthenticationError, openai.PermissionDeniedError)
REFUSALS = ("content_filter", "content_policy_violation", "invalid_prompt")
"""Codes of a server that declines a text and would answer another."""
CHECK_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"ready": {"type": "boolean"}},
    "required": ["ready"],
    "additionalProperties": False,
}
MESSAGE_LENGTH = 300
"""Characters of a server's own words that an error repeats."""
REPLY_BYTES = 1 << 22
"""Of a reply that are read; the rest is left where it is. A reply of 100,000 tokens with their ids is half."""
FILE_BYTES = 1 << 30
"""Of a file of the Batch API."""
OF_THE_WAY = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that say how a body was sent."""
FILE_SECONDS = 3600.0
"""That an attempt to send or fetch such a file may take, whatever `timeout` says."""


class EndpointError(RuntimeError):
    """The endpoint, its key or its model cannot be used; the message is one line and never holds the key."""


def sampling_fields(endpoint: Endpoint, tokens: int) -> dict[str, Any]:
    """The parts of a request that say how its reply is sampled, as this server wants them."""
    temperature = {} if endpoint.temperature is None else {"temperature": endpoint.temperature}
    return {**temperature, endpoint.token_limit: tokens}


def address(endpoint: Endpoint) -> str:
    """The server's base URL without a final slash."""
    return (endpoint.base_url or OPENAI_URL).rstrip("/")


def is_local(url: str) -> bool:
    """Whether a URL's host is this machine's loopback."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_key(endpoint: Endpoint) -> str:
    """The key from the environment; a server on this machine needs none. An EndpointError names the variable."""
    url = address(endpoint)
    key = os.environ.get(endpoint.key_variable, "").strip()
    if not key and is_local(url):
        return NO_KEY
    if not key:
        raise EndpointError(f"the environment variable {endpoint.key_variable} is not set; it holds the key of {url}")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise EndpointError(f"the environment variable {endpoint.key_variable} holds no key: spaces or odd characters")
    return key


def mask(text: str, endpoint: Endpoint) -> str:
    """The text without the key, however its characters are escaped: for JSON, once or more often, a URL or HTML."""
    key = os.environ.get(endpoint.key_variable, "").strip()
    return re.sub("".join(map(_escaped, key)), "***", text) if key else text


def _escaped(character: str) -> str:
    """A pattern of one character of a key; its counts are bounded, or backslashes alone would take for ever."""
    code = f"{ord(character):x}"
    forms = rf"(?i:\\{{1,8}}u0{{0,2}}{code}|%(?:25){{0,4}}{code}|&\#x0{{0,4}}{code};)|&\#0{{0,4}}{ord(character)};"
    return rf"(?:{forms}|\\{{0,8}}{re.escape(character)})"


class _Client(DefaultAsyncHttpxClient):
    """Takes no redirect, gives up an attempt that takes too long as a whole, and reads no more than it must.

    The SDK's own would follow a redirect with our text to any host, and wait as long as a byte comes now and then.
    """

    def __init__(self, seconds: float, **options: Any) -> None:
        super().__init__(timeout=seconds, follow_redirects=False, **options)
        self._seconds = seconds

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        options["follow_redirects"] = False
        if stream:
            return await super().send(request, stream=True, **options)
        of_file = "/files" in request.url.path
        seconds, most = (FILE_SECONDS, FILE_BYTES) if of_file else (self._seconds, REPLY_BYTES)
        try:
            async with asyncio.timeout(seconds):
                response = await super().send(request, stream=True, **options)
                try:
                    return await _read(response, most)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise httpx2.ReadTimeout("too slow as a whole", request=request) from None


async def _read(response: httpx2.Response, most: int) -> httpx2.Response:
    """The response with at most so many bytes of its body."""
    content = bytearray()
    async for part in response.aiter_bytes():
        content += part[: most - len(content)]
        if len(content) >= most:
            break
    headers = {name: value for name, value in response.headers.items() if name not in OF_THE_WAY}
    return httpx2.Response(response.status_code, headers=headers, content=bytes(content), request=response.request)


def make_client(endpoint: Endpoint, retries: int | None = None) -> AsyncOpenAI:
    """A client whose retries, back-off and Retry-After are the SDK's own; use it as a context manager."""
    url = address(endpoint)
    return AsyncOpenAI(
        api_key=read_key(endpoint),
        base_url=url,
        timeout=endpoint.timeout,
        max_retries=endpoint.retries if retries is None else retries,
        # a proxy named in the environment cannot reach this machine's own loopback
        http_client=_Client(endpoint.timeout, trust_env=not is_local(url)),
    )


def is_fatal(problem: Exception) -> bool:
    """Whether every other request would fail in the same way."""
    return isinstance(problem, KEY_ERRORS) or _lacks_model(problem) or bool(_elsewhere(problem))


def is_refusal(problem: Exception) -> bool:
    """Whether a server declined this one request for what it says, where nothing is wrong with the settings."""
    return isinstance(problem, openai.BadRequestError) and problem.code in REFUSALS


def _lacks_model(problem: Exception) -> bool:
    return isinstance(problem, openai.NotFoundError) or getattr(problem, "code", None) == "model_not_found"


def _elsewhere(problem: Exception) -> str | None:
    """Where a server sends us on."""
    if not isinstance(problem, openai.APIStatusError) or not 300 <= problem.status_code < 400:
        return None
    return str(problem.response.headers.get("location", "another address"))


def explain(problem: Exception, endpoint: Endpoint) -> EndpointError:
    """One line for what the SDK raised: the variable or the setting that is wrong, and the server's own words."""
    return EndpointError(mask(_explain(problem, endpoint), endpoint))


def _explain(problem: Exception, endpoint: Endpoint) -> str:
    url = address(endpoint)
    if isinstance(problem, openai.APITimeoutError):
        return f"endpoint.base_url: {url} did not answer within {endpoint.timeout:g} seconds (endpoint.timeout)"
    if isinstance(problem, openai.APIConnectionError):
        cause = problem.__cause__ or problem
        return f"endpoint.base_url: {url} cannot be reached: {_one_line(str(cause), endpoint) or type(cause).__name__}"
    if not isinstance(problem, openai.APIStatusError):
        return f"endpoint.base_url: {url}: {_one_line(str(problem), endpoint)}"
    if there := _elsewhere(problem):
        return f"endpoint.base_url: {url} sends us to {_one_line(there, endpoint)}; give the one that answers itself"
    body: Any = problem.body  # the SDK's own text would quote all of it
    message = body.get("message") if isinstance(body, dict) else body
    said = f"{problem.status_code}: {_one_line(str(message or problem.message), endpoint)}"
    if isinstance(problem, KEY_ERRORS):
        return f"{url} refuses the key in the environment variable {endpoint.key_variable} ({said})"
    if _lacks_model(problem):
        return f"endpoint.model: {endpoint.model!r} is not served at {url} ({said})"
    return f"endpoint.base_url: {url} answered {said}"


def _one_line(text: str, endpoint: Endpoint) -> str:
    """Masked before it is shortened: half a key is still a secret."""
    return " ".join(mask(text, endpoint).split())[:MESSAGE_LENGTH]


def check_endpoint(endpoint: Endpoint) -> None:
    """Prove address, key and model by a tiny request, in few attempts; an EndpointError names the wrong setting."""
    asyncio.run(_check(make_client(endpoint, min(2, endpoint.retries)), endpoint))


async def _check(client: AsyncOpenAI, endpoint: Endpoint) -> None:
    async with client:
        try:
            await client.chat.completions.with_raw_response.create(
                model=endpoint.model,
                messages=[{"role": "user", "content": "Are you ready? Answer in JSON."}],
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "ready", "strict": True, "schema": CHECK_SCHEMA},
                },
                **sampling_fields(endpoint, 16),
            )
        except openai.OpenAIError as problem:
            raise explain(problem, endpoint) from None
