"""Files of prompts, a JSON object on each line, as whoever plans a study reads them and as its first step does.

Standard library only, because the Snakefile checks them by it.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from repurpose.study.messages import SettingsError
from repurpose.study.published import kind_of

KEYS = ("category", "prompt", "answer", "id")
NEEDED = "each line is a JSON object with the texts category and prompt, and where known answer and id"


class Line(NamedTuple):
    """What a line says."""

    prompt_id: str
    """The line's `id`, or its category and number."""
    category: str
    prompt: str
    answer: str | None


def read_lines(file: Path) -> list[Line]:
    """Read the prompts of a file; a SettingsError names the first line that is wrong."""
    found: dict[str, Line] = {}
    for number, text in enumerate(file.read_bytes().split(b"\n"), start=1):  # other line ends may stand in a text
        if not text.strip():
            continue
        try:
            line = _read_line(text, number)
            if line.prompt_id in found:
                raise ValueError(f"id {line.prompt_id} is given twice")
        except (ValueError, RecursionError) as problem:
            raise SettingsError(f"prompts.source: {file.name} line {number}: {_say(problem)}; {NEEDED}") from None
        found[line.prompt_id] = line
    return list(found.values())


def _say(problem: Exception) -> str:
    match problem:
        case json.JSONDecodeError():
            return f"it is no JSON ({problem.msg}, column {problem.colno})"
        case UnicodeDecodeError():
            return f"it is no text in UTF-8 (byte {problem.start + 1} of the line is none)"
        case RecursionError():
            return "its lists and objects lie too deep"
    return str(problem)


def _read_line(text: bytes, number: int) -> Line:
    record = json.loads(text.decode("utf-8"), object_pairs_hook=_each_once)
    if not isinstance(record, dict):
        raise ValueError(f"it is a JSON {kind_of(record)}, not an object")
    if unknown := [key for key in record if key not in KEYS]:
        raise ValueError(f"{unknown[0]!r} is an unknown key")
    category, prompt = (_read_text(record, key) for key in ("category", "prompt"))
    name, answer = (_read_value(record, key) for key in ("id", "answer"))
    return Line(name or f"{category}-{number:04d}", category, prompt, answer)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return record


def _read_text(record: dict[str, Any], key: str) -> str:
    """A text that must be there and not empty."""
    if key not in record:
        raise ValueError(f"{key} is missing")
    if not isinstance(record[key], str):
        raise ValueError(f"{key} is a JSON {kind_of(record[key])}, not a text")
    if not record[key].strip():
        raise ValueError(f"{key} is empty")
    return _whole(key, record[key])


def _read_value(record: dict[str, Any], key: str) -> str | None:
    """A text, a number or a truth value as a text; None where there is none."""
    value = record.get(key)
    if isinstance(value, dict | list):
        raise ValueError(f"{key} is a JSON {kind_of(value)}, not a text or a number")
    return None if value is None else _whole(key, str(value))


def _whole(key: str, text: str) -> str:
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError(f"{key} holds half of a surrogate pair, which is no sign")
    return text
