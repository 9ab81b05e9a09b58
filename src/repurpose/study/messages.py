"""What pydantic finds wrong with a study, told in one line: the key's path, what stands there, what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

Schema = dict[str, Any]

KINDS = {
    "int_type": "is not of type int",
    "float_type": "is not of type float",
    "string_type": "is not of type str",
    "bool_type": "is not of type bool",
    "tuple_type": "is not a list",
    "dict_type": "is not a mapping",
    "dataclass_type": "is not a mapping of settings",
    "finite_number": "is not a finite number",
}
"""By pydantic's name of an error: what its value is not."""
BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
FIRST = {"unexpected_keyword_argument": 0, "missing": 1}
"""A misspelt key is told before the key that it leaves missing, and both before values."""


class SettingsError(ValueError):
    """A setting is unknown, of the wrong type or out of range; the message is one line."""


def one_line(problem: ValidationError, value: Any, schema: Schema, section: str = "") -> str:
    """Say the first fault of a study.

    Args:
        problem: what pydantic says.
        value: what it read. schema: of such a value, for what is allowed.
        section: where in a study the value stands, if it is not the whole.
    """
    errors = sorted(problem.errors(include_url=False), key=lambda error: FIRST.get(error["type"], 2))
    paths = [_path(error["type"], error["loc"], value) for error in errors]
    same = [error for error, path in zip(errors, paths, strict=True) if path == paths[0]]
    dotted = section + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in paths[0])
    own = errors[0].get("ctx", {}).get("error")
    if isinstance(own, SettingsError):  # of a section, whose check names the key itself
        return f"{dotted}.{own}".removeprefix(".")
    said = (_say(error["type"], error["input"], error.get("ctx", {}), paths[0], schema) for error in same)
    return f"{dotted.removeprefix('.') or 'study file'}: {', or '.join(dict.fromkeys(said))}"


def _path(kind: str, location: Iterable[int | str], values: Any) -> list[int | str]:
    """The keys and indices that lead to a fault; pydantic's location also names the options of a union."""
    path: list[int | str] = []
    for part in location:
        here: dict[int | str, Any] = dict(enumerate(values)) if isinstance(values, list) else values
        if isinstance(here, dict) and (part in here or kind == "missing"):
            path.append(part)
            values = here.get(part)
    return path


def _say(kind: str, value: Any, context: dict[str, Any], path: list[int | str], schema: Schema) -> str:
    if kind == "unexpected_keyword_argument":
        return f"unknown setting; known here are {_known(path[:-1], schema)}"
    if kind == "missing":
        return "missing setting; it is required"
    if kind == "too_short":
        return "give at least one"
    if kind == "value_error":
        return str(context["error"])
    if kind in KINDS:
        return f"{value!r} {KINDS[kind]}"
    return f"{value!r} is not allowed; {', or '.join(_allowed(path, schema))}"


def _known(path: Iterable[int | str], schema: Schema) -> str:
    return ", ".join(key for option in _at(path, schema) for key in option.get("properties", ()))


def _allowed(path: Iterable[int | str], schema: Schema) -> Iterator[str]:
    """Yield what may stand at a path, in words."""
    for option in _at(path, schema):
        values = option.get("enum", [option["const"]] if "const" in option else [])
        if values:
            yield f"choose from {', '.join(values)}"
        if bounds := [f"{word} {option[name]:g}" for name, word in BOUNDS.items() if name in option]:
            yield " and ".join(bounds)
        if option.get("type") == "null":
            yield "null"


def _at(path: Iterable[int | str], schema: Schema) -> list[Schema]:
    """The schemas of which the value at a path must meet one."""
    options = list(_options(schema, schema))
    for part in path:
        inner = (child for option in options for child in _children(option, part))
        options = [option for child in inner for option in _options(child, schema)]
    return options


def _options(node: Schema, schema: Schema) -> Iterator[Schema]:
    if "$ref" in node:
        yield from _options(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    elif "anyOf" in node:
        for option in node["anyOf"]:
            yield from _options(option, schema)
    else:
        yield node


def _children(node: Schema, part: int | str) -> Iterator[Schema]:
    if isinstance(part, int):
        yield from [node["items"]] if "items" in node else []
    elif part in node.get("properties", {}):
        yield node["properties"][part]
    elif isinstance(node.get("additionalProperties"), dict):
        yield node["additionalProperties"]
