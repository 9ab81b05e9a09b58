"""The JSON schema of a study file, made from the typed settings: `python -m repurpose.study.schema`.

Editors check study files against it while they are typed (each names it in its first line); the workflow itself checks
with `settings.read_study`, which knows more (models, sums, references between keys).
"""

import json
import sys
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from repurpose.study.settings import Study
from repurpose.study.study_file import EXTENDS

PART = "part of "
"""Begins the names of sections that may leave out what they inherit."""


class Untitled(GenerateJsonSchema):
    """A schema whose properties have no titles: they would repeat the keys."""

    def field_title_should_be_set(self, _schema: Any) -> bool:
        return False


def study_schema() -> dict[str, Any]:
    """Return the schema of a whole study file, or of one that says only how it differs from the one it extends."""
    whole = TypeAdapter(Study).json_schema(schema_generator=Untitled)
    sections = whole.pop("$defs")
    part = _part(whole)
    part["properties"][EXTENDS] = {
        "type": "string",
        "description": "Another study file, by its path from this one's folder; this one then says what differs, and "
        "null where an inherited section, sweep or annotator is not wanted.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of repurpose",
        "if": {"required": [EXTENDS]},
        "then": {**part, "required": ["study"]},
        "else": whole,
        "$defs": {**sections, **{f"{PART}{name}": _part(section) for name, section in sections.items()}},
    }


def _part(node: Any) -> Any:
    """A schema in which nothing is required and null may stand for any section."""
    if isinstance(node, list):
        return [_part(child) for child in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _part(child) for key, child in node.items() if key not in ("required", "$ref")}
    if "$ref" not in node:
        return kept
    section = node["$ref"].replace("#/$defs/", f"#/$defs/{PART}")
    return {**kept, "anyOf": [{"$ref": section}, {"type": "null"}]}


def schema_text() -> str:
    """Return the schema as it stands in workflow/schemas/study.schema.json."""
    return json.dumps(study_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
