"""Files of annotated chains of thought, as the field publishes them.

A file is a JSON list of records, each a chain and a copy of it in which a language model has put sections,
`["deduction"] ... ["end-section"]`:

* Ward et al.: task_id, problem, reasoning_chain, annotated_chain;
* Venhoff et al.: original_message, full_response, thinking_process, annotated_thinking (or annotated_response).
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from repurpose.data.files import TableError
from repurpose.study.settings import BEHAVIOURS

THINKING = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)
WARD, VENHOFF = ("reasoning_chain", "annotated_chain"), ("annotated_thinking", "annotated_response")
KINDS = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
QUOTE = "[\"'“”‘’]"
TAG = re.compile(rf"\[\s*{QUOTE}([^\"“”\[\]\n]{{1,60}}?){QUOTE}\s*\]")
CUT_TAG = re.compile(rf"\[\s*(?:{QUOTE}[\w\s-]{{0,40}}{QUOTE}?)?\s*$")
"""The beginning of a tag at the end of a copy that was cut off."""
ENDS = ("end-section", "endsection", "/section")
NO_LABEL, SEVERAL, UNKNOWN = "no-label", "several-labels", "unknown-label"
CUT_OFF, NO_END, EMPTY = "cut-off", "no-end", "empty"


class Chain(NamedTuple):
    """A chain of thought and its annotated copy."""

    text: str
    annotated: str | None
    """None where the annotation failed (null in the file)."""


class Section(NamedTuple):
    """A labelled piece of a copy, or with the fault `no-label` what stands between two of them.

    The other faults: `several-labels` (label is None), `unknown-label`, `no-end` (it ends where the next begins),
    `cut-off` (the copy ends in it), `empty`.
    """

    label: str | None
    text: str
    fault: str | None = None


def read_sections(copy: str | None, text: str = "") -> list[Section]:
    """Cut an annotated copy into its sections and what stands between them, in order; where there is none, none.

    An unknown tag that the text itself holds (a list in a program) is text, not a tag.
    """
    copy = copy or ""
    found, labels, cursor = list[Section](), list[str](), 0
    own = {tag[0] for tag in TAG.finditer(text)}
    for tag in TAG.finditer(copy):
        label = re.sub(r"[\s_]+", "-", tag[1].strip().lower())
        if label not in (*BEHAVIOURS, *ENDS) and tag[0] in own:
            continue
        body, cursor = copy[cursor : tag.start()], tag.end()
        if labels and label not in ENDS and not body.strip():
            labels.append(label)  # several labels on one section
            continue
        found += _close(labels, body, None if label in ENDS else NO_END)
        labels = [] if label in ENDS else [label]
    return [*found, *_close(labels, CUT_TAG.sub("", copy[cursor:]), CUT_OFF)]


def _close(labels: list[str], body: str, fault: str | None) -> Iterator[Section]:
    label, body = labels[0] if len(set(labels)) == 1 else None, body.strip()
    if not body:
        fault = EMPTY
    elif label not in BEHAVIOURS:
        fault = NO_LABEL if not labels else SEVERAL if label is None else UNKNOWN
    if labels or body:
        yield Section(label, body, fault)


def read_chains(path: Path | str) -> list[Chain]:
    """Read a file of annotated chains.

    Raises:
        TableError: in one line with file, record and fault, where the file is not in one of the formats.
    """
    name, chains = Path(path).name, []
    for number, record in enumerate(_read_records(Path(path)), start=1):
        try:
            chains.append(_read_chain(record))
        except ValueError as problem:
            task = record.get("task_id") if isinstance(record, dict) else None
            named = "" if task is None else f" (task_id {str(task)[:60]!r})"
            raise TableError(f"{name}: record {number}{named}: {problem}") from None
    if all(chain.annotated is None for chain in chains):
        raise TableError(f"{name}: no record is annotated; each annotation is null")
    return chains


def _read_records(path: Path) -> list[Any]:
    try:
        records = json.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise TableError(f"{path.name}: no such file ({path})") from None
    except OSError as problem:
        raise TableError(f"{path.name}: cannot be read: {problem.strerror}") from None
    except (ValueError, RecursionError) as problem:
        raise TableError(f"{path.name}: is not JSON in UTF-8: {problem}") from None
    if not isinstance(records, list):
        raise TableError(f"{path.name}: is a JSON {_kind(records)}; a list of records is needed")
    if not records:
        raise TableError(f"{path.name}: the list of records is empty")
    return records


def _kind(value: Any) -> str:
    return KINDS.get(type(value), "number")


def _read_chain(record: Any) -> Chain:
    """Read one record; a ValueError says what is wrong with it."""
    if not isinstance(record, dict):
        raise ValueError(f"is a JSON {_kind(record)}, not an object")
    if not record.keys() & {*WARD, *VENHOFF}:
        keys = ", ".join(list(record)[:8]) or "none"
        raise ValueError(f"has neither {WARD[1]} nor {' nor '.join(VENHOFF)}; its fields are {keys}")
    if record.keys() & {*WARD}:
        _read_text({"problem": "", **record}, "problem")
        chain = Chain(_read_text(record, WARD[0]), _read_annotation(record, WARD[1]))
    else:
        chain = _read_venhoff(record)
    if not chain.text.strip():
        raise ValueError("the chain is empty")
    sections = read_sections(chain.annotated, chain.text)
    if chain.annotated is not None and all(section.fault == NO_LABEL for section in sections):
        raise ValueError('the annotated copy has no section (["label"] ... ["end-section"])')
    return chain


def _read_venhoff(record: dict[str, Any]) -> Chain:
    message = record.get("original_message", {"content": ""})
    if not isinstance(message, dict):
        raise ValueError(f"original_message is a JSON {_kind(message)}, not an object with role and content")
    _read_text(message, "content")
    key = VENHOFF[0] if record.get(VENHOFF[0]) is not None or VENHOFF[1] not in record else VENHOFF[1]
    annotated = _read_annotation(record, key)
    if record.get("thinking_process") is not None:
        return Chain(_read_text(record, "thinking_process"), annotated)
    if "full_response" not in record:
        raise ValueError("field thinking_process is missing, and there is no full_response to take it from")
    if found := THINKING.search(_read_text(record, "full_response")):
        return Chain(found[1], annotated)
    raise ValueError("field thinking_process is missing, and full_response has no <think>")


def _read_annotation(record: dict[str, Any], key: str) -> str | None:
    return None if record.get(key, "") is None else _read_text(record, key)


def _read_text(record: dict[str, Any], key: str) -> str:
    if key not in record:
        raise ValueError(f"field {key} is missing")
    value = record[key]
    if not isinstance(value, str):
        raise ValueError(f"field {key} is a JSON {_kind(value)}, not a text")
    # Half a surrogate pair is legal JSON and could be neither printed nor stored.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
