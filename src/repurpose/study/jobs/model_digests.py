"""Digests of a local model's files; standard library only, because the Snakefile imports it.

Snakemake knows a large file by its time alone: weights that were touched would plan everything anew. So each rule that
uses a model carries digests of its content among its parameters, and the files' times decide nothing. Weights are read
whole once; what was found is remembered, with the file's size, times and inode, beside Snakemake's own notes.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from repurpose.study.jobs.locks import STATE
from repurpose.study.pair_files import TOKENIZERS, WEIGHTS, WEIGHTS_INDEX, WEIGHTS_SUFFIX

WORDS = (
    *TOKENIZERS,
    *("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "chat_template.json", "generation_config.json"),
)
"""What decides how a text becomes ids, ids a text, and where a text ends; the rest decides the numbers."""
REMEMBERED = "repurpose.digests.json"
SMALL, VAST = 1 << 20, 1 << 32
"""Bytes of a file that is read each time, and of one whose reading takes long enough to be told."""


def digest_words(folder: Path) -> str:
    """16 hex digits for a model's tokenizer, chat template and generation settings; empty without a folder."""
    return _digest(folder, WORDS)


def digest_numbers(folder: Path) -> str:
    """16 hex digits for a model's configuration and weights; empty without a folder."""
    whole = (folder / WEIGHTS).is_file()
    weights = [WEIGHTS] if whole else [WEIGHTS_INDEX, *(path.name for path in folder.glob(f"*{WEIGHTS_SUFFIX}"))]
    return _digest(folder, ["config.json", *weights])


def _digest(folder: Path, names: Iterable[str]) -> str:
    """Of each file that is there, its name and content."""
    files = [folder / name for name in sorted(names) if (folder / name).is_file()]
    parts = [f"{file.name} {_file_digest(file)}" for file in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16] if parts else ""


def _file_digest(file: Path, state: Path = STATE) -> str:
    found = file.stat()
    if found.st_size < SMALL:
        return _read(file)
    path, mark = str(file.resolve()), [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    before, digest = _remembered(state).get(path, (None, ""))
    if before != mark:
        if found.st_size >= VAST:
            sys.stderr.write(f"Reading {file} once, to know its content again\n")
        digest = _read(file)
        _remember(state, path, (mark, digest))
    return digest


def _read(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _remembered(state: Path) -> dict[str, tuple[list[int], str]]:
    with suppress(OSError, ValueError):
        return dict(json.loads((state / REMEMBERED).read_text(encoding="utf-8")))
    return {}


def _remember(state: Path, path: str, entry: tuple[list[int], str]) -> None:
    """Write it down where that can be done: else it is read again."""
    with suppress(OSError):
        state.mkdir(exist_ok=True)
        part = state / f"{REMEMBERED}.{os.getpid()}.part"
        part.write_text(json.dumps({**_remembered(state), path: entry}), encoding="utf-8")
        part.replace(state / REMEMBERED)
