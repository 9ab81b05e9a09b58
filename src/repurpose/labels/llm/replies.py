"""Every raw reply of an endpoint, on the disk as it arrives: what was paid for once is never paid for again.

One file holds the replies of one model at one address, for all studies and jobs; a reply's key is the digest of the
address and the complete request (model, instructions, sentences, schema, temperature, token limit). So a killed run, a
second study over the same text and another mapping of labels find them, and any other wording asks anew. The file is
append-only; the kernel's lock lets one job at a time use it and is dropped with the process, whatever its end.
"""

import fcntl
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from tqdm import tqdm

from repurpose.data.journal import Journal, Record, record_key
from repurpose.model.endpoint import address, mask
from repurpose.study.settings import Endpoint

Tokens = tuple[int, int]
"""Of prompt and completion."""
KEPT = 200_000
"""Characters of a text that are kept at most: the longest answer that can be asked for is a quarter."""
SHOWN = 10_000
"""Characters of it that are shown beside a sentence without a label."""


class StorageError(RuntimeError):
    """A reply that was paid for cannot be kept; one line."""


@dataclass(frozen=True)
class Reply:
    """One reply as it came, whatever it is."""

    content: str | None = None
    refusal: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    """As the server counts them; None where it did not say."""
    completion_tokens: int | None = None
    model: str | None = None
    """The model that the server says it used."""
    id: str | None = None
    created: float | None = None
    """Seconds since 1970, by the server's clock."""
    arrived: float = 0.0
    """Seconds since 1970, by ours."""
    batch: bool = False
    """Paid at the batch price."""
    account: str | None = None
    """Who paid for it: `study/annotator`."""
    charged: Tokens | None = None
    """What it counts for against `max_cost`: what the server says, or else the most that it can have used."""
    body: str | None = None
    """The whole body, where it is not a JSON object."""

    @property
    def raw(self) -> str | None:
        """What is shown of it beside a sentence without a label."""
        said = self.body or self.refusal or self.content
        return said[:SHOWN] if said else None

    def paid_by(self, account: str, bound: Tokens) -> Self:
        """The same with who pays for it, and for how much: at most for `bound`, where the server does not say."""
        told = (self.prompt_tokens, self.completion_tokens or 0) if self.prompt_tokens is not None else bound
        return replace(self, account=account, charged=told)


def read_reply(text: str, endpoint: Endpoint, *, batch: bool = False) -> Reply:
    """Take a response's body apart; nothing in it is trusted to be there or of its type, or to hold no key."""
    body = parse_object(text)
    if body is None:
        return Reply(body=_clean(text, endpoint), arrived=time.time(), batch=batch)

    def words(*path: str | int) -> str | None:
        value = value_at(body, *path)
        return _clean(value, endpoint) if isinstance(value, str) else None

    def number(*path: str | int) -> int | None:
        value = value_at(body, *path)
        return value if type(value) is int and value >= 0 else None

    return Reply(
        content=words("choices", 0, "message", "content"),
        refusal=words("choices", 0, "message", "refusal"),
        finish_reason=words("choices", 0, "finish_reason"),
        prompt_tokens=number("usage", "prompt_tokens"),
        completion_tokens=number("usage", "completion_tokens"),
        model=words("model"),
        id=words("id"),
        created=number("created"),
        arrived=time.time(),
        batch=batch,
    )


def parse_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is; None where it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def value_at(value: Any, *path: str | int) -> Any:
    """What stands at a path in JSON; None where anything on the way is not there or of another type."""
    try:
        for name in path:
            value = value[name]
    except (LookupError, TypeError):
        return None
    return value


def _clean(text: str, endpoint: Endpoint) -> str:
    """Without the key, and the halves of surrogate pairs that JSON can hold and no file can; not without end."""
    return mask(text.encode("utf-8", "replace").decode(), endpoint)[:KEPT]


def replies_path(folder: Path, endpoint: Endpoint) -> Path:
    """The file of one (address, model); the digest tells names apart that differ in signs alone."""
    url = address(endpoint)
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{urlsplit(url).netloc}-{endpoint.model}")[:80].strip("-")
    return folder / f"{name}-{record_key(url, endpoint.model)[:8]}.jsonl"


def request_key(endpoint: Endpoint, body: Mapping[str, Any]) -> str:
    """Digest of everything that a reply depends on."""
    return record_key(address(endpoint), body)


class Replies:
    """The replies of one endpoint's model by request key; and which batch is to bring which."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.path = journal.path

    def __contains__(self, key: str) -> bool:
        return key in self._journal

    def __getitem__(self, key: str) -> Reply:
        return Reply(**self._journal[key])

    def add(self, replies: Mapping[str, Reply]) -> None:
        """On the disk when it returns; a StorageError where they are not."""
        self._write({key: asdict(reply) for key, reply in replies.items()})

    def bought_by(self, account: str) -> Iterator[Reply]:
        """All replies that an account has paid for, whatever job asked for them."""
        return (self[k] for k, record in self._journal.items() if "/" not in k and record.get("account") == account)

    def add_batch(self, batch: str, bounds: Mapping[str, Tokens], account: str) -> None:
        """Write down that these requests are in a batch, for whom, and how much each can use at most."""
        given = {"batch": batch, "account": account}
        requests = {f"request/{key}": {**given, "bound": bound} for key, bound in bounds.items()}
        self._write({f"batch/{batch}": {}} | requests)

    def close_batch(self, keys: list[str]) -> None:
        """Write down that no batch will bring these any more."""
        self._write({f"request/{key}": {"batch": None} for key in keys})

    def batch_of(self, key: str) -> str | None:
        """The batch that a request is in."""
        batch: str | None = self._journal.get(f"request/{key}", {}).get("batch")
        return batch

    def from_batch(self, key: str, reply: Reply) -> Reply:
        """A reply as the account's that gave its request to a batch."""
        request = self._journal.get(f"request/{key}", {})
        return reply.paid_by(request["account"], tuple(request["bound"])) if "account" in request else reply

    def in_batches(self, account: str) -> Iterator[Tokens]:
        """The most that each request of an account can use that is in a batch and has no reply yet."""
        for key, record in self._journal.items():
            waits = key.startswith("request/") and record["batch"] and record.get("account") == account
            if waits and key.removeprefix("request/") not in self:
                yield tuple(record["bound"])

    def knows_batch(self, batch: str) -> bool:
        return f"batch/{batch}" in self._journal

    def check_room(self, size: int) -> None:
        """A StorageError where the disk has no room for so many bytes: no run asks what it cannot keep."""
        if size and hasattr(os, "posix_fallocate"):  # not on macOS
            with self._storing(), tempfile.TemporaryFile(dir=self.path.parent) as file:
                os.posix_fallocate(file.fileno(), 0, size)

    def _write(self, records: Mapping[str, Record]) -> None:
        with self._storing():
            self._journal.add(records)

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            fault = f"what is paid for cannot be kept ({problem.strerror}); nothing more is asked"
            raise StorageError(f"{self.path}: {fault}") from None

    @classmethod
    @contextmanager
    def open(cls, folder: Path, endpoint: Endpoint) -> Iterator[Self]:
        """Hold the file of an endpoint's model alone; wait for the job that holds it, and say so."""
        path = replies_path(folder, endpoint)
        folder.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("a") as lock:
            # A file system may be without locks: jobs at the same time may then pay twice for one text.
            with suppress(OSError):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    tqdm.write(f"waiting for another job that uses {path}", file=sys.stderr)
                    fcntl.flock(lock, fcntl.LOCK_EX)
            with Journal(path) as journal:
                yield cls(journal)
