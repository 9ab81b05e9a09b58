"""What pydantic finds wrong with a study, told in one line: the key's path, what stands there, what is allowed."""

import reprlib
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

Schema = dict[str, Any]
Path = tuple[int | str, ...]

UNKNOWN, MISSING = "unexpected_keyword_argument", "missing"
MESSAGES = {
    UNKNOWN: "unknown setting; known here are {known}",
    MISSING: "missing setting; it is required",
    "too_short": "give at least one",
    "value_error": "{error}",
    "int_type": "{value} is not of type int",
    "float_type": "{value} is not of type float",
    "string_type": "{value} is not of type str",
    "bool_type": "{value} is not of type bool",
    "tuple_type": "{value} is not a list",
    "dict_type": "{value} is not a mapping",
    "dataclass_type": "{value} is not a mapping of settings",
    "finite_number": "{value} is not a finite number",
    "json_invalid": "is not readable ({error})",
}
"""By pydantic's name of an error."""
OTHERWISE = "{value} is not allowed; {allowed}"
BOUNDS = dict(minimum="at least", exclusiveMinimum="more than", maximum="at most", exclusiveMaximum="less than")


LONGEST = 1_000
"""Characters of a message."""
SHORT = reprlib.Repr()
"""Writes a value; of a long one its beginning and end."""
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 120


class SettingsError(ValueError):
    """A setting is unknown, of the wrong type or out of range; the message is one line, whatever stands in a study."""

    def __init__(self, message: str) -> None:
        super().__init__(as_line(message))


def as_line(text: str) -> str:
    """A text as one line that any terminal can show: not too long, and escapes for what has no sign of its own."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def one_line(problem: ValidationError, value: Any, schema: Schema, section: str = "") -> str:
    """Say the first fault of a study; a misspelt key before the key that it leaves missing, and both before values.

    Pydantic says the problem of a value of a schema; `section` is where in a study it stands, if it is not the whole.
    """
    errors = sorted(problem.errors(include_url=False), key=lambda e: (e["type"] != UNKNOWN, e["type"] != MISSING))
    paths = [tuple(_path(error["type"], error["loc"], value)) for error in errors]
    said = [
        MESSAGES.get(error["type"], OTHERWISE).format(
            value=SHORT.repr(error["input"]),
            error=error.get("ctx", {}).get("error"),
            known=", ".join(key for option in _at(path[:-1], schema) for key in option.get("properties", ())),
            allowed=", or ".join(_allowed(_at(path, schema))),
        )
        for error, path in zip(errors, paths, strict=True)
        if path == paths[0]  # more than one, where each type of a union says why it is not met
    ]
    dotted = section + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in paths[0])
    if isinstance(errors[0].get("ctx", {}).get("error"), SettingsError):  # of a section's check, which names the key
        return f"{dotted}.{said[0]}".removeprefix(".")
    return f"{dotted.removeprefix('.') or 'study file'}: {', or '.join(dict.fromkeys(said))}"


def _path(kind: str, location: Iterable[int | str], value: Any) -> Iterator[int | str]:
    """Yield the keys and indices that lead to a fault; pydantic's location also names the types of a union."""
    for part in location:
        here: dict[int | str, Any] = dict(enumerate(value)) if isinstance(value, list) else value
        if isinstance(here, dict) and (part in here or kind == MISSING):
            yield part
            value = here.get(part)


def _allowed(options: Iterable[Schema]) -> Iterator[str]:
    """Yield in words what each of some schemas allows."""
    for option in options:
        if values := option.get("enum", [option["const"]] if "const" in option else []):
            yield f"choose from {', '.join(values)}"
        if bounds := [f"{word} {option[name]:,.10g}" for name, word in BOUNDS.items() if name in option]:
            yield " and ".join(bounds)
        if option.get("type") == "null":
            yield "null"


def _at(path: Path, schema: Schema) -> list[Schema]:
    """The schemas of which the value at a path must meet one."""
    options = list(_options(schema, schema))
    for part in path:
        inner = [option.get("properties", {}).get(part, option.get("additionalProperties")) for option in options]
        inner = [option.get("items") for option in options] if isinstance(part, int) else inner
        options = [option for node in inner if isinstance(node, dict) for option in _options(node, schema)]
    return options


def _options(node: Schema, schema: Schema) -> Iterator[Schema]:
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    for option in node.get("anyOf", ()):
        yield from _options(option, schema)
    if "anyOf" not in node:
        yield node
