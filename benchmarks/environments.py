"""Peers' environments: one each, built from envs/bench/<peer>.txt by envs/create.sh, so that none limits another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ("steering-vectors", "nnsight", "transformer-lens", "repeng")


class EnvironmentMissing(RuntimeError):
    """A peer's environment is not there; the message says why, in one line."""


def place_of(peer: str) -> str:
    """The module that speaks to a peer."""
    return f"benchmarks.peers.{peer.replace('-', '_')}"


def folder(peer: str) -> Path:
    return ROOT / "envs" / ".venvs" / f"bench-{peer}"


def interpreter(peer: str) -> Path:
    """A peer's Python; raises EnvironmentMissing."""
    python, stamp = folder(peer) / "bin" / "python", folder(peer) / "stamp"
    if stamp.exists():
        return python
    failed = folder(peer) / "failed"
    why = failed.read_text().strip() if failed.exists() else "its environment is not built"
    raise EnvironmentMissing(f"{why} (envs/create.sh bench/{peer})")


def build(peer: str) -> None:
    """Build a peer's environment, anew where its list has changed; a failure is written down, not raised."""
    listed, stamp = ROOT / "envs" / "bench" / f"{peer}.txt", folder(peer) / "stamp"
    if stamp.exists() and stamp.stat().st_mtime >= listed.stat().st_mtime:
        return
    sys.stderr.write(f"building the environment of {peer} from {listed.relative_to(ROOT)}; this happens once\n")
    stamp.unlink(missing_ok=True)
    done = subprocess.run([str(ROOT / "envs" / "create.sh"), f"bench/{peer}"], capture_output=True, text=True)
    if done.returncode == 0:
        stamp.touch()
        return
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    folder(peer).mkdir(parents=True, exist_ok=True)
    (folder(peer) / "failed").write_text(said[-1] if said else f"envs/create.sh ended with {done.returncode}")
