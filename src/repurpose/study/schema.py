"""The JSON schema of a study file, written from the typed settings: `python -m repurpose.study.schema`.

Editors check study files against it while they are typed; the workflow itself checks with `settings.read_study`, which
knows more (models, sums, references between keys). Descriptions come from the classes' own documentation.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from repurpose.study.settings import Study

SCALARS = {int: "integer", float: "number", str: "string", bool: "boolean"}


def study_schema() -> dict[str, Any]:
    """Return the schema of a whole study file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of repurpose",
        **_section(Study),
    }


def _section(section: type) -> dict[str, Any]:
    hints, described = typing.get_type_hints(section), dict(_descriptions(section))
    required = [f.name for f in dataclasses.fields(section) if f.default is f.default_factory]
    return {
        "type": "object",
        "description": inspect.getdoc(section),
        "properties": {name: {**_schema(kind), **described.get(name, {})} for name, kind in hints.items()},
        "required": required,
        "additionalProperties": False,
    }


def _schema(kind: Any) -> dict[str, Any]:
    """Return the schema of one type, in the vocabulary that `settings._read` reads."""
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _section(typing.cast(type, kind))
    if kind is type(None):
        return {"type": "null"}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(option) for option in arguments]}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    return {"type": SCALARS[kind]}


def _descriptions(section: type) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the string that follows a field in the source, as its description."""
    [definition] = ast.parse(inspect.getsource(section)).body
    body = typing.cast(ast.ClassDef, definition).body
    for before, after in itertools.pairwise(body):
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr):
            text = inspect.cleandoc(ast.literal_eval(after.value))
            yield ast.unparse(before.target), {"description": " ".join(text.split())}


def schema_text() -> str:
    """Return the schema as it stands in workflow/schemas/study.schema.json."""
    return json.dumps(study_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
