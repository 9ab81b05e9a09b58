"""A study file as it is read by everyone: the workflow, the plan, tests.

A file may say `extends: ../config.yaml` (a path that counts from its own folder) and then only what differs. Mappings
are merged, whatever else stands in the file replaces what is inherited, and null takes an inherited mapping (a
section, a sweep, an annotator) away. The file's own keys come first, in its own order.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repurpose.study.plain_yaml import StudyFileError, read_study_file
from repurpose.study.prompt_counts import is_path
from repurpose.study.settings import SettingsError, Study, read_study

EXTENDS = "extends"


def load_study(path: str | Path) -> Study:
    """Read and check a study file, with what it extends; raises SettingsError where it is no YAML file or no study."""
    return read_study(load_values(path))


@contextmanager
def naming(file: str | Path) -> Iterator[None]:
    """Let the message of a SettingsError begin with the study's file, where it does not name one itself."""
    try:
        yield
    except StudyFileError:
        raise
    except SettingsError as problem:
        raise SettingsError(f"{file}: {problem}") from None


def load_values(path: str | Path) -> dict[str, Any]:
    """Read a study file with what it extends, unchecked; raises SettingsError as `resolve_extends` does."""
    return resolve_extends(read_study_file(Path(path)), [path])


def resolve_extends(values: Mapping[str, Any], files: Sequence[str | Path]) -> dict[str, Any]:
    """Put what a study extends beneath its own values, as merged from files and, for the workflow, from `--config`.

    From the folder of that file which says `extends` its path counts. Raises SettingsError where a file cannot be read,
    or is extended by itself, or the study has no name of its own.
    """
    saying = [Path(file) for file in files if EXTENDS in read_study_file(Path(file))]
    if len(saying) > 1:
        raise SettingsError(f"{EXTENDS}: {' and '.join(map(str, saying))} both say it; only one of them may")
    return _inherit(values, (saying or [Path("--config")])[0], ())


def _inherit(values: Mapping[str, Any], file: Path, before: tuple[Path, ...]) -> dict[str, Any]:
    if EXTENDS not in values:
        return dict(values)
    own, name, chain = dict(values), values[EXTENDS], (*before, file)
    del own[EXTENDS]
    if not isinstance(name, str) or not is_path(name) or not (file.parent / name).is_file():
        raise SettingsError(f"{EXTENDS}: no file at {name!r}; give a study file's path, which counts from {file}")
    extended = file.parent / name
    if any(extended.samefile(other) for other in chain if other.exists()):
        told = " -> ".join(other.name for other in (*chain, extended))
        raise SettingsError(f"{EXTENDS}: {told} goes round in a circle; a study may not extend itself")
    inherited = _inherit(read_study_file(extended), extended, chain)
    if own.get("study", inherited.get("study")) == inherited.get("study"):
        raise SettingsError("study: missing setting; what extends another study needs a name of its own")
    return _merge(inherited, own)


def _merge(inherited: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key, value in own.items():
        before = inherited.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _merge(before, value)
        elif value is not None or not isinstance(before, dict):
            merged[key] = value
    return {**merged, **{key: value for key, value in inherited.items() if key not in own}}
