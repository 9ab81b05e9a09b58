"""The instructions that a language model labels by, as the plan and the step that sends them read them."""

import io
from pathlib import Path

from repurpose.study.messages import SettingsError

LARGEST = 100_000
"""Bytes of a file; each request pays for all of them."""


def read_instructions(file: str, setting: str = "prompt") -> str:
    """Read a file of instructions; a SettingsError names the setting and what is wrong with the file."""
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise SettingsError(f"{setting}: {file} is larger than {LARGEST:,} bytes, which every request would send")
        text = io.StringIO(content.decode("utf-8"), newline=None).read()  # a line's end is one sign on every system
    except OSError as problem:
        raise SettingsError(f"{setting}: {file} cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        fault = f"is no text in UTF-8 (byte {problem.start + 1} is none); save it as UTF-8"
        raise SettingsError(f"{setting}: {file} {fault}") from None
    if not text.strip():
        raise SettingsError(f"{setting}: {file} is empty; give a text of instructions")
    return text
