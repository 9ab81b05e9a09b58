"""YAML as a study file may hold it: each key once, small, and nothing that readers of YAML take for different things.

Snakemake reads the same files with a reader of its own. What is refused here is what the two could read otherwise, or
what would be lost or changed without a word: `seed: 1:30` is 90 to some of them, `no` is false, the last of two equal
keys wins.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from repurpose.study.messages import SHORT, SettingsError, as_line

LARGEST, DEEPEST, MOST_VALUES = 1_000_000, 20, 10_000
"""Bytes of a file; levels of its mappings and lists; values in it, those that aliases repeat included."""
SHOWN = 60
"""Characters of a value in a message."""
TEMPLATE = "__use_yte__"
"""The key by which a file is a template to Snakemake, whose expressions it computes: Python of whoever wrote it."""
TYPES = {"str", "int", "float", "bool", "null", "merge"}
PLAIN = {
    "int": re.compile(r"[-+]?(0|[1-9]\d{0,17})", re.ASCII),
    "float": re.compile(r"[-+]?((\.\d+|\d+(\.\d*)?)(e[-+]?\d+)?|\.inf)|\.nan", re.ASCII | re.IGNORECASE),
    "bool": re.compile("true|false", re.IGNORECASE),
}
"""How a value is written that is the same in all versions of YAML."""
WRITE = "write a number in decimal digits, a truth value as true or false, and a text that looks like another in quotes"


class StudyFileError(SettingsError):
    """A study file cannot be read; the message is one line that begins with the file and names the line in it."""


class Place(NamedTuple):
    """A value of a file."""

    keys: tuple[str, ...]
    """What leads to it."""
    node: yaml.Node

    def fault(self, said: str) -> yaml.MarkedYAMLError:
        """An error that names the value's key and line."""
        name = ".".join(self.keys)
        return yaml.MarkedYAMLError(problem=f"{name}: {said}" if name else said, problem_mark=self.node.start_mark)


def read_study_file(file: Path) -> dict[str, Any]:
    """Read a file's settings, unchecked; raises StudyFileError as `read_yaml`, and where it holds none."""
    values = read_yaml(file)
    if values is None:
        raise StudyFileError(f"{file}: is empty; give a mapping of settings")
    if not isinstance(values, dict):
        raise StudyFileError(f"{file}: {SHORT.repr(values)} is not a mapping of settings")
    return values


def read_yaml(file: Path) -> Any:
    """Read a file; None where it is empty. Raises StudyFileError."""
    try:
        return _parse(_read_text(file))
    except OSError as problem:
        said = problem.strerror or str(problem)
    except UnicodeDecodeError as problem:
        said = f"it is no text in UTF-8 (byte {problem.start + 1} is none); save it as UTF-8"
    except yaml.MarkedYAMLError as problem:
        said = _with_line(problem)
    except yaml.YAMLError as problem:  # of a sign that no YAML may hold
        said = f"it is no YAML: {str(problem).partition(chr(10))[0]}"
    except RecursionError:
        said = f"its values lie more than {DEEPEST} levels deep"
    raise StudyFileError(f"{file}: cannot be read: {said}")


def _read_text(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(f"it is larger than {LARGEST:,} bytes; a study is told in a few thousand")
    return content.decode("utf-8")


def _with_line(problem: yaml.MarkedYAMLError) -> str:
    mark = problem.problem_mark or problem.context_mark
    said = ", ".join(part for part in (problem.context, problem.problem) if part)
    return f"line {mark.line + 1}: {said}" if mark else said


def _parse(text: str) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        for number, place in enumerate(_places(Place((), root)), start=1):
            if number > MOST_VALUES:
                raise Place((), root).fault(f"there are more than {MOST_VALUES:,} values, with what aliases repeat")
            _check(place)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _places(place: Place) -> Iterator[Place]:
    """Yield a value and all that it holds, as often as aliases repeat it."""
    yield place
    if len(place.keys) > DEEPEST:
        raise place.fault(f"its values lie more than {DEEPEST} levels deep")
    if isinstance(place.node, yaml.MappingNode):
        for key, value in place.node.value:
            yield from _places(Place((*place.keys, str(key.value)[:SHOWN]), value))
    elif isinstance(place.node, yaml.SequenceNode):
        for number, value in enumerate(place.node.value):
            yield from _places(Place((*place.keys, str(number)), value))


def _check(place: Place) -> None:
    kind = place.node.tag.removeprefix("tag:yaml.org,2002:")
    if isinstance(place.node, yaml.ScalarNode):
        _check_scalar(place, kind, place.node.value)
    elif kind not in ("map", "seq"):
        raise place.fault(f"{place.node.tag[:SHOWN]} is not allowed; give a mapping or a list")
    elif isinstance(place.node, yaml.MappingNode):
        _check_keys(place, place.node)


def _check_scalar(place: Place, kind: str, text: str) -> None:
    if kind not in TYPES or (kind in PLAIN and not PLAIN[kind].fullmatch(text)):
        raise place.fault(f"{as_line(text)[:SHOWN]} may be read in several ways; {WRITE}")
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise place.fault("it holds half of a surrogate pair, which is no sign; leave it out")


def _check_keys(place: Place, mapping: yaml.MappingNode) -> None:
    """Refuse a key that is given twice, or that is no text; a number is one, too."""
    lines: dict[str, int] = {}
    for key, _ in mapping.value:
        kind = key.tag.removeprefix("tag:yaml.org,2002:")
        named = Place((*place.keys, str(key.value)[:SHOWN]), key)
        if kind not in ("str", "int", "merge"):
            raise named.fault("the key is no text; put it in quotes")
        if key.value == TEMPLATE:
            raise named.fault("the file would be a template, which runs code; leave it out, and write what it gives")
        _check_scalar(named, kind, key.value)
        if key.value in lines:
            raise named.fault(f"the key is given twice, in line {lines[key.value]} first; give it once")
        lines[key.value] = key.start_mark.line + 1
