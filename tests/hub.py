"""A small model hub on loopback that speaks the hub's own protocol: revisions, ranges, gated models, tokens.

Run it in this process; name `environment()` to the commands that are to load models from it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.tiny import from_source


@dataclass
class Repository:
    """One model on the hub.

    Args:
        folder: its files. gated: whether it wants a token that has accepted the licence.
    """

    folder: Path
    commit: str
    gated: bool = False
    revisions: tuple[str, ...] = ("main",)

    def has(self, revision: str) -> bool:
        return revision == self.commit or revision in self.revisions


@dataclass
class Hub:
    """Repositories by name, the token that may read the gated ones, and what was asked for."""

    repositories: dict[str, Repository]
    token: str
    unknown: str | None = None
    """A token of nobody: the hub refuses it everything."""
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    """(method, path, status) of every request."""

    def __enter__(self) -> Hub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, cache: Path, token: str | None = None) -> dict[str, str]:
        """The environment of a process that finds this hub, with an empty cache and perhaps a token."""
        kept = {name: value for name, value in from_source().items() if not name.startswith(("HF_", "HUGGING"))}
        there = {"HF_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}", "HF_HOME": str(cache)}
        return {**kept, **there, **({"HF_TOKEN": token} if token else {})}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        status, headers, content = self._find(path)
        self.hub.asked.append((self.command, path, status))
        if status == 200 and (span := self.headers.get("Range")):
            first, _, last = span.removeprefix("bytes=").partition("-")
            whole = len(content)
            content = content[int(first) : int(last) + 1 if last else whole]
            status, headers = 206, {**headers, "Content-Range": f"bytes {first}-{last or whole - 1}/{whole}"}
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _find(self, path: str) -> tuple[int, dict[str, str], bytes]:
        parts = path.split("/")
        api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if api else parts[:2])
        repository = self.hub.repositories.get(name)
        if self.hub.unknown and self.headers.get("Authorization") == f"Bearer {self.hub.unknown}":
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, b""
        if repository is None:
            return 401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b""
        if api:
            return self._describe(repository, name, parts[4:])
        if parts[2:3] != ["resolve"] or len(parts) < 5:
            return 404, {}, b""
        return self._file(repository, name, parts[3], "/".join(parts[4:]))

    def _describe(self, repository: Repository, name: str, rest: list[str]) -> tuple[int, dict[str, str], bytes]:
        """What the hub says of a model; gated ones are described to everybody."""
        revision = rest[1] if len(rest) > 1 else "main"
        if not repository.has(revision):
            return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"}, b""
        files = sorted(path for path in repository.folder.iterdir() if path.is_file())
        if rest[:1] == ["tree"]:
            under = "/".join(rest[2:])
            listed: Any = [] if under else [_entry(path) for path in files]
        else:
            siblings = [{"rfilename": path.name} for path in files]
            listed = {"id": name, "sha": repository.commit, "siblings": siblings, "gated": repository.gated}
        return 200, {"Content-Type": "application/json"}, json.dumps(listed).encode()

    def _file(self, repository: Repository, name: str, revision: str, file: str) -> tuple[int, dict[str, str], bytes]:
        commit = {"X-Repo-Commit": repository.commit}
        if repository.gated and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            known = "Authorization" in self.headers
            said = f"Access to model {name} is restricted" + (
                " and you are not in the authorized list." if known else "."
            )
            return 403 if known else 401, {"X-Error-Code": "GatedRepo", "X-Error-Message": said}, b""
        if not repository.has(revision):
            return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"}, b""
        path = repository.folder / file
        if not path.is_file():
            return 404, {**commit, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}, b""
        content = path.read_bytes()
        return 200, {**commit, "ETag": f'"{_digest(content)}"', "Accept-Ranges": "bytes"}, content


def _entry(path: Path) -> dict[str, Any]:
    return {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": _digest(path.read_bytes())}


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
