"""Provenance: what a file says of its making."""

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from repurpose import __version__
from repurpose.study.settings import canonical_json


def provenance(settings: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
    """What a file says of its making: settings, their digest, versions, commit, machine type; never a path or a key."""
    digest = hashlib.sha256(canonical_json(settings).encode()).hexdigest()[:16]
    return {"settings": settings, "settings_digest": digest, **_environment(), **extra}


@cache
def _environment() -> dict[str, Any]:
    libraries = ("torch", "transformers", "polars", "pyarrow", "numpy", "snakemake")
    versions: dict[str, str | None] = dict.fromkeys(libraries)
    for name in libraries:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "package": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "libraries": versions,
    }


def _commit() -> str | None:
    """The commit that the code is of, with `-dirty` where tracked files differ from it; None where there is no git."""
    commit = _git("rev-parse", "HEAD")
    changed = commit and _git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str | None:
    # Without optional locks: steps that run side by side must not wait for one another's index.
    command = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
