"""Files of published chains of thought, and what a record says of a problem, its answer and the thinking about it.

A file is a JSON list of records, as the field publishes them:

* Ward et al.: task_id, problem, reasoning_chain, annotated_chain;
* Venhoff et al.: original_message, full_response, thinking_process, annotated_thinking (or annotated_response).

Neither has a field for the known answer or the category; where a record has one (`answer`, `category`) it is taken. A
record that cannot be read is named and left out. Standard library only, because the Snakefile counts prompts by it.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")
THINKING = re.compile(r"<think>(.*?)(?=</think>|\Z)", re.DOTALL)
END_THINK = "</think>"
WARD, VENHOFF = ("reasoning_chain", "annotated_chain"), ("annotated_thinking", "annotated_response")
CATEGORY = "published"
"""Of a problem whose record names none."""
KINDS = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
NAMED = 10
"""Records that a message names at most."""


class PublishedError(ValueError):
    """A file of published chains cannot be used; the message is one line that begins with the file's name."""


class Readable(NamedTuple, Generic[T]):
    """What was read of a file."""

    found: list[tuple[int, T]]
    """Of each record that can be read its number, from 1, and what it says."""
    left_out: list[str]
    """The others, each by its name and its fault."""


class Task(NamedTuple):
    """What a record says of a problem and of one answer to it."""

    name: str
    """The record's own, or empty."""
    message: dict[str, str]
    """The problem as it is put to a model: role and content."""
    category: str
    answer: str | None
    thinking: str
    rest: str
    """What the model wrote after it, `</think>` first; empty where that is not published."""


class Prompts(NamedTuple):
    """The problems of a file."""

    tasks: dict[str, list[Task]]
    """By prompt: what several records put is one prompt, with an answer from each, so that no split parts them."""
    left_out: list[str]


def is_published(file: Path | str) -> bool:
    """Whether a file begins as a JSON list; no file of prompts does, which has an object on each line."""
    with Path(file).open("rb") as opened:
        return opened.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def read_prompts(file: Path | str) -> Prompts:
    """Read the problems of a file; a PublishedError where none can be read."""
    readable, names = read_each(file, read_task), dict[tuple[str, ...], str]()
    tasks: dict[str, list[Task]] = {}
    for number, task in readable.found:
        problem = tuple(task.message.values())
        if problem not in names:
            name = task.name or f"record-{number:04d}"
            names[problem] = f"{name}-{number}" if name in tasks else name
        tasks.setdefault(names[problem], []).append(task)
    return Prompts(tasks, readable.left_out)


def read_each(file: Path | str, read: Callable[[dict[str, Any]], T]) -> Readable[T]:
    """Read each record of a file; `read` says by a ValueError what is wrong with one. PublishedError where all are."""
    path = Path(file)
    records = _load(path)
    found, left_out = list[tuple[int, T]](), list[str]()
    for number, record in enumerate(records, start=1):
        try:
            if not isinstance(record, dict):
                raise ValueError(f"is a JSON {kind_of(record)}, not an object")
            found.append((number, read(record)))
        except ValueError as problem:
            left_out.append(f"{_name(number, record)}: {problem}")
    if not found:
        raise PublishedError(f"{path.name}: none of {len(records)} records can be read; {left_out[0]}")
    return Readable(found, left_out)


def tell_left_out(file: Path | str, left_out: list[str]) -> list[str]:
    """Lines that count and name the records that could not be read; none where all could."""
    head = [f"{Path(file).name}: records that cannot be read and are left out: {len(left_out)}"] if left_out else []
    more = len(left_out) - NAMED
    return [*head, *left_out[:NAMED], *([f"and {more} more"] if more > 0 else [])]


def _name(number: int, record: Any) -> str:
    task = record.get("task_id") if isinstance(record, dict) else None
    return f"record {number}" if task is None else f"record {number} (task_id {str(task)[:60]!r})"


def _load(path: Path) -> list[Any]:
    try:
        records = json.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise PublishedError(f"{path.name}: no such file ({path})") from None
    except OSError as problem:
        raise PublishedError(f"{path.name}: cannot be read: {problem.strerror}") from None
    except (ValueError, RecursionError) as problem:
        raise PublishedError(f"{path.name}: is not JSON in UTF-8: {problem}") from None
    if not isinstance(records, list):
        raise PublishedError(f"{path.name}: is a JSON {kind_of(records)}; a list of records is needed")
    if not records:
        raise PublishedError(f"{path.name}: the list of records is empty")
    return records


def read_task(record: dict[str, Any]) -> Task:
    """Read the problem of a record and what a model wrote about it."""
    thinking = read_thinking(record)
    name, category, answer = (record.get(key) for key in ("task_id", "category", "answer"))
    return Task(
        name=_plain(name) or "",
        message=_read_message(record),
        category=category if isinstance(category, str) and category.strip() else CATEGORY,
        answer=_plain(answer),
        thinking=_verbatim(record, thinking),
        rest="" if END_THINK in thinking else _read_rest(record),
    )


def read_thinking(record: dict[str, Any]) -> str:
    """The chain of a record."""
    if not record.keys() & {*WARD, *VENHOFF}:
        keys = ", ".join(list(record)[:8]) or "none"
        raise ValueError(f"has neither {WARD[1]} nor {' nor '.join(VENHOFF)}; its fields are {keys}")
    if record.keys() & {*WARD}:
        thinking = read_text(record, WARD[0])
    elif record.get("thinking_process") is not None:
        thinking = read_text(record, "thinking_process")
    elif "full_response" not in record:
        raise ValueError("field thinking_process is missing, and there is no full_response to take it from")
    elif found := THINKING.search(read_text(record, "full_response")):
        thinking = found[1]
    else:
        raise ValueError("field thinking_process is missing, and full_response has no <think>")
    if not thinking.strip():
        raise ValueError("the chain is empty")
    return thinking


def _read_message(record: dict[str, Any]) -> dict[str, str]:
    if record.keys() & {*WARD}:
        message = {"role": "user", "content": read_text(record, "problem")}
    else:
        given = record.get("original_message")
        if not isinstance(given, dict):
            found = f"is a JSON {kind_of(given)}" if "original_message" in record else "is missing"
            raise ValueError(f"field original_message {found}; an object with role and content is needed")
        message = {"role": read_text({"role": "user", **given}, "role"), "content": read_text(given, "content")}
    if not message["content"].strip():
        raise ValueError("the problem is empty")
    return message


def _verbatim(record: dict[str, Any], thinking: str) -> str:
    """The thinking with the space around it, which `thinking_process` has lost and `full_response` has not."""
    response = record.get("full_response")
    found = THINKING.search(response) if isinstance(response, str) else None
    return clean(found[1]) if found and clean(found[1]).strip() == thinking.strip() else thinking


def _read_rest(record: dict[str, Any]) -> str:
    response = record.get("full_response")
    return clean("".join(response.partition(END_THINK)[1:])) if isinstance(response, str) else ""


def _plain(value: Any) -> str | None:
    """A text or a number as text; None for whatever else stands there."""
    return clean(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def kind_of(value: Any) -> str:
    """What JSON calls a value."""
    return KINDS.get(type(value), "number")


def read_text(record: dict[str, Any], key: str) -> str:
    """A field that must be a text."""
    if key not in record:
        raise ValueError(f"field {key} is missing")
    value = record[key]
    if not isinstance(value, str):
        raise ValueError(f"field {key} is a JSON {kind_of(value)}, not a text")
    return clean(value)


def clean(text: str) -> str:
    """A text without half surrogate pairs: they are legal JSON and could be neither printed nor stored."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
