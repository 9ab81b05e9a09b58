"""The settings of a study, typed and checked; standard library only, because the Snakefile imports it.

A study file is a mapping of sections. `read_study` turns it into a `Study` or raises `SettingsError` with one line
that names the key and what is allowed. A step receives only the sections that `STEP_SECTIONS` grants it, as
canonical JSON; that same JSON is the rule's Snakemake parameter, so what a step can see is what replans it.
"""

from __future__ import annotations

import json
import math
import os
import re
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

BEHAVIOURS = (
    "initializing",
    "deduction",
    "adding-knowledge",
    "example-testing",
    "uncertainty-estimation",
    "backtracking",
)
VECTOR_CONTROLS = ("mean", "random", "shuffle", "same-offset")
"""Controls that are vectors: overall mean, fixed random directions, label shuffles, matched other starts."""
TOKEN_CONTROLS = ("noise", "self")
"""Controls made at each token: fresh Gaussian noise, self-amplification."""
DIRECTIONS = (*BEHAVIOURS, *VECTOR_CONTROLS, *TOKEN_CONTROLS)
Behaviour = Literal[
    "initializing",
    "deduction",
    "adding-knowledge",
    "example-testing",
    "uncertainty-estimation",
    "backtracking",
]
Direction = Literal[
    "initializing",
    "deduction",
    "adding-knowledge",
    "example-testing",
    "uncertainty-estimation",
    "backtracking",
    "mean",
    "random",
    "shuffle",
    "same-offset",
    "noise",
    "self",
]
Role = Literal["base", "reasoning"]
KEYWORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
"""What a keyword may be: one word as `repurpose.metrics` counts words, or it would never be found."""


class SettingsError(ValueError):
    """A setting is unknown, of the wrong type or out of range; the message is one line."""


@dataclass(frozen=True)
class Pair:
    """The two models: local directories or hub names."""

    base: str
    reasoning: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    base_revision: str | None = None
    reasoning_revision: str | None = None


@dataclass(frozen=True)
class Prompts:
    """Where prompts come from and how they are split."""

    source: str
    """`organism`, or a JSON-lines file with category, prompt and, where known, answer."""
    train: int
    heldout: int


@dataclass(frozen=True)
class Rollouts:
    """How the generator writes the rollouts that are read."""

    generator: Role = "reasoning"
    engine: Literal["transformers"] = "transformers"
    temperature: float = 0.7
    max_new_tokens: int = 500
    samples: int = 1
    shards: int = 2
    batch_size: int = 64


@dataclass(frozen=True)
class Labels:
    """Who labels the sentences."""

    annotator: Literal["lexicon"] = "lexicon"


@dataclass(frozen=True)
class Activations:
    """Where and how the residual stream is read."""

    layers: tuple[int, ...] | Literal["all"] = "all"
    window_starts: tuple[int, ...] = (-20, -16, -13, -8, -4, 0)
    window_length: int = 6
    """Tokens in a window; the paper's [-13, -8] is start -13, length 6."""
    batch_tokens: int = 16384
    dtype: Literal["float32", "float16"] = "float32"


@dataclass(frozen=True)
class Vectors:
    """How directions are computed from activations."""

    behaviour: Behaviour = "backtracking"
    estimator: Literal["minus_all", "minus_rest"] = "minus_all"
    random_directions: int = 20
    shuffles: int = 5
    split_halves: int = 20


@dataclass(frozen=True)
class Magnitudes:
    """Strengths of steering, in one of three units."""

    unit: Literal["l2", "dose", "selected"]
    """`l2`: the norm added; `dose`: times the reasoning model's median residual norm at the site;
    `selected`: times the magnitude that the selection sweep chose."""
    values: tuple[float, ...]


@dataclass(frozen=True)
class Sweep:
    """A grid of conditions over prompts."""

    split: Literal["train", "heldout"]
    prompts: int
    magnitudes: Magnitudes
    targets: tuple[Role, ...] = ("reasoning",)
    readers: tuple[Role, ...] = ("base",)
    directions: tuple[Direction, ...] = ("backtracking",)
    layers: tuple[int, ...] | Literal["all", "selected"] = "selected"
    window_starts: tuple[int, ...] | Literal["all", "selected"] = "selected"
    operation: Literal["add", "ablate"] = "add"
    positions: Literal["all", "generated"] = "all"
    samples: int = 1
    max_new_tokens: int = 128
    temperature: float = 0.7
    batch_size: int = 192


@dataclass(frozen=True)
class Selection:
    """How layer, window and magnitude are chosen on training prompts."""

    sweep: str = "selection"
    metric: Literal["keyword_share", "backtracking_share"] = "keyword_share"
    """What the chosen cell has most of: keywords, or sentences that the annotator's rules label as the behaviour."""
    latest_end: int = -1
    """A window that is selected ends at or before this offset, so that it never reads the sentence itself."""
    min_distinct_2: float = 0.5
    """Coherent: distinct-2 at least this share of the unsteered value ..."""
    max_longest_run: float = 4.0
    """... and the mean longest run of one token at most this many tokens."""


@dataclass(frozen=True)
class Statistics:
    """Intervals."""

    bootstrap: int = 2000
    level: float = 0.95


@dataclass(frozen=True)
class Study:
    """A whole study."""

    study: str
    pair: Pair
    prompts: Prompts
    seed: int = 0
    keywords: tuple[str, ...] = ("wait", "hmm")
    """The words of the metric (Eq. 1 of the paper)."""
    rollouts: Rollouts = field(default_factory=Rollouts)
    labels: Labels = field(default_factory=Labels)
    activations: Activations = field(default_factory=Activations)
    vectors: Vectors = field(default_factory=Vectors)
    sweeps: dict[str, Sweep] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)
    statistics: Statistics = field(default_factory=Statistics)


STEP_SECTIONS: dict[str, tuple[str, ...]] = {
    "prompts": ("seed", "prompts"),
    "rollouts": ("seed", "pair", "rollouts"),
    "sentences": ("labels", "pair"),
    "activations": ("pair", "activations"),
    "vectors": ("seed", "vectors", "activations"),
    "selection": ("selection", "vectors", "activations"),
    "cosines": ("seed", "vectors", "statistics"),
    "sweeps": ("seed", "pair", "sweeps", "vectors", "activations"),
    "measurements": ("keywords", "pair", "vectors"),
    "logodds": ("seed", "pair", "prompts", "keywords", "vectors"),
    "lens": ("pair", "keywords", "vectors"),
    "projections": ("pair", "prompts", "keywords", "vectors"),
    "tables": ("seed", "keywords", "vectors", "activations", "sweeps", "selection", "statistics"),
    "figures": ("keywords", "vectors", "activations"),
    "claims": ("vectors", "statistics"),
    "report": ("study", "pair", "keywords", "vectors", "activations"),
}
"""The sections that each step may see."""


def read_study(values: dict[str, Any]) -> Study:
    """Check a study's mapping and return it typed.

    Raises:
        SettingsError: for an unknown or missing key, a wrong type or a value out of range.
    """
    study: Study = _read(Study, values, "")
    _check(study)
    return study


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal settings give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def step_settings(study: Study, step: str, **extra: Any) -> dict[str, Any]:
    """The sections of one step as plain values, plus what the rule adds (a shard, a sweep's name)."""
    values = asdict(study)
    if "sweep" in extra:
        values["sweeps"] = {extra["sweep"]: values["sweeps"][extra["sweep"]]}
    return {**{name: values[name] for name in STEP_SECTIONS[step]}, **extra}


class StepSettings:
    """The sections granted to a step, typed; any other section is an error, not a default."""

    def __init__(self, step: str, text: str) -> None:
        self.step, self.values = step, json.loads(text)
        types_ = typing.get_type_hints(Study)
        self._sections = {name: _read(types_[name], self.values[name], name) for name in STEP_SECTIONS[step]}
        self._sections = {name: _located(section) for name, section in self._sections.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._sections:
            raise AttributeError(f"step {self.step} is not granted the settings {name}")
        return self._sections[name]


def locate(name: str) -> str:
    """Where a path of a study lies; a name that is no path there (a hub name) is returned as it is.

    Relative paths count from the repository, which the workflow names in $REPURPOSE_ROOT when it runs elsewhere, so
    that a study reads the same from every directory and no result holds an absolute path.
    """
    path = Path(os.environ.get("REPURPOSE_ROOT", "."), Path(name).expanduser())
    return path.as_posix() if path.exists() else name


def _located(section: Any) -> Any:
    """A section with its paths found; `.values` keeps them as the study has them."""
    if isinstance(section, Pair):
        return replace(section, base=locate(section.base), reasoning=locate(section.reasoning))
    if isinstance(section, Prompts) and section.source != "organism":
        return replace(section, source=locate(section.source))
    return section


def _read(kind: Any, value: Any, path: str) -> Any:
    origin = get_origin(kind)
    if is_dataclass(kind):
        return _read_section(kind, value, path)
    if origin in (typing.Union, types.UnionType):
        return _read_union(kind, value, path)
    if origin is Literal:
        if value not in get_args(kind):
            raise SettingsError(f"{path}: {value!r} is not allowed; choose from {_list(get_args(kind))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise SettingsError(f"{path}: {value!r} is not a list")
        return _read_list(get_args(kind)[0], value, path)
    if origin is dict:
        if not isinstance(value, dict):
            raise SettingsError(f"{path}: {value!r} is not a mapping")
        return {k: _read(get_args(kind)[1], v, f"{path}.{k}") for k, v in value.items()}
    return _read_scalar(kind, value, path)


def _read_section(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise SettingsError(f"{path or 'study file'}: {value!r} is not a mapping of settings")
    hints, prefix = typing.get_type_hints(kind), f"{path}." if path else ""
    unknown = [key for key in value if key not in hints]
    if unknown:
        raise SettingsError(f"{prefix}{unknown[0]}: unknown setting; known here are {_list(hints)}")
    for f in fields(kind):
        required = f.default is f.default_factory  # both are the MISSING marker
        if required and f.name not in value:
            raise SettingsError(f"{prefix}{f.name}: missing setting; it is required")
    return kind(**{key: _read(hints[key], v, f"{prefix}{key}") for key, v in value.items()})


def _read_list(kind: Any, values: Any, path: str) -> Any:
    read = tuple(_read(kind, value, f"{path}[{i}]") for i, value in enumerate(values))
    if not read:
        raise SettingsError(f"{path}: give at least one")
    twice = [value for value in read if read.count(value) > 1]
    if twice:
        raise SettingsError(f"{path}: {twice[0]!r} is given twice")
    return read


def _read_union(kind: Any, value: Any, path: str) -> Any:
    problems = []
    for option in get_args(kind):
        if option is type(None):
            if value is None:
                return None
            continue
        try:
            return _read(option, value, path)
        except SettingsError as problem:
            problems.append(problem)
    raise SettingsError(f"{path}: " + ", or ".join(str(p).removeprefix(f"{path}: ") for p in problems))


def _read_scalar(kind: Any, value: Any, path: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise SettingsError(f"{path}: {value!r} is not of type {kind.__name__}")
    if kind is float and not math.isfinite(value):
        raise SettingsError(f"{path}: {value!r} is not a finite number")
    return value


def _list(names: Any) -> str:
    return ", ".join(str(name) for name in names)


def _check(study: Study) -> None:
    _check_name("study", study.study)
    for path, value in _counts(study):
        if value < 1:
            raise SettingsError(f"{path}: {value} is not allowed; at least 1")
    starts = study.activations.window_starts
    if any(not -512 <= start <= 512 for start in starts):
        raise SettingsError("activations.window_starts: give offsets between -512 and 512")
    if not 0 < study.statistics.level < 1:
        raise SettingsError("statistics.level: must lie between 0 and 1")
    _check_numbers(study)
    _check_keywords(study.keywords)
    if not study.sweeps:
        raise SettingsError("sweeps: missing setting; at least one sweep is needed")
    if study.selection.sweep not in study.sweeps:
        raise SettingsError(f"selection.sweep: no such sweep; choose from {_list(study.sweeps)}")
    for name, sweep in study.sweeps.items():
        _check_sweep(study, name, sweep)
    _check_selection(study, study.sweeps[study.selection.sweep])


def _check_numbers(study: Study) -> None:
    if study.seed < 0:
        raise SettingsError(f"seed: {study.seed} is not allowed; at least 0")
    if study.rollouts.temperature < 0:
        raise SettingsError("rollouts.temperature: must be 0 (greedy) or more")
    prompts = study.prompts.train + study.prompts.heldout
    if study.rollouts.shards > prompts:
        raise SettingsError(f"rollouts.shards: {study.rollouts.shards} is more than there are prompts ({prompts})")
    if study.selection.min_distinct_2 < 0:
        raise SettingsError("selection.min_distinct_2: must be 0 or more")
    if study.selection.max_longest_run < 1:
        raise SettingsError("selection.max_longest_run: must be 1 or more; every text has a run of one token")


def _check_keywords(keywords: tuple[str, ...]) -> None:
    for number, keyword in enumerate(keywords):
        if not KEYWORD.fullmatch(keyword):
            raise SettingsError(f"keywords[{number}]: {keyword!r} is not one word of letters; give each word alone")


def _check_name(path: str, name: Any) -> None:
    if not isinstance(name, str) or not name or not all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
        raise SettingsError(f"{path}: {name!r} may hold only letters, digits, '-' and '_'")


def _counts(study: Study) -> list[tuple[str, int]]:
    counts = [
        ("prompts.train", study.prompts.train),
        ("prompts.heldout", study.prompts.heldout),
        ("activations.window_length", study.activations.window_length),
        ("activations.batch_tokens", study.activations.batch_tokens),
        ("vectors.random_directions", study.vectors.random_directions),
        ("vectors.shuffles", study.vectors.shuffles),
        ("vectors.split_halves", study.vectors.split_halves),
        ("statistics.bootstrap", study.statistics.bootstrap),
    ]
    for key in ("max_new_tokens", "samples", "shards", "batch_size"):
        counts.append((f"rollouts.{key}", getattr(study.rollouts, key)))
    for name, sweep in study.sweeps.items():
        for key in ("prompts", "samples", "max_new_tokens", "batch_size"):
            counts.append((f"sweeps.{name}.{key}", getattr(sweep, key)))
    return counts


def _check_sweep(study: Study, name: str, sweep: Sweep) -> None:
    path = f"sweeps.{name}"
    _check_name(path, name)
    if sweep.prompts > getattr(study.prompts, sweep.split):
        limit = getattr(study.prompts, sweep.split)
        raise SettingsError(f"{path}.prompts: {sweep.prompts} is more than prompts.{sweep.split} ({limit})")
    if sweep.temperature < 0:
        raise SettingsError(f"{path}.temperature: must be 0 (greedy) or more")
    _check_operation(path, sweep)
    for key in ("layers", "window_starts"):
        wanted, read = getattr(sweep, key), getattr(study.activations, key)
        missing = set(wanted) - set(read) if isinstance(wanted, tuple) and isinstance(read, tuple) else set()
        if missing:
            raise SettingsError(f"{path}.{key}: {min(missing)} is not read; choose from {_list(read)}")


def _check_operation(path: str, sweep: Sweep) -> None:
    without = [name for name in sweep.directions if name in TOKEN_CONTROLS]
    if sweep.operation == "ablate" and without:
        raise SettingsError(f"{path}.directions: {without[0]} has no direction that could be ablated; leave it out")
    if sweep.operation == "add" and not any(sweep.magnitudes.values):
        raise SettingsError(f"{path}.magnitudes.values: give one other than 0; 0 steers nothing")


def _check_selection(study: Study, sweep: Sweep) -> None:
    path, activations = f"sweeps.{study.selection.sweep}", study.activations
    if "selected" in (sweep.layers, sweep.window_starts, sweep.magnitudes.unit):
        raise SettingsError(f"{path}: the selection sweep cannot itself use 'selected'")
    if sweep.split != "train":
        raise SettingsError(f"{path}.split: must be train; what is chosen is reported on heldout prompts")
    chosen_on = {"targets": "reasoning", "readers": "base", "directions": study.vectors.behaviour}
    for key, needed in chosen_on.items():
        if needed not in getattr(sweep, key):
            raise SettingsError(f"{path}.{key}: must hold {needed}, on which the choice is made")
    if sweep.operation != "add" or max(sweep.magnitudes.values) <= 0:
        raise SettingsError(f"{path}: the selection sweep must add the direction at a magnitude above 0")
    starts = sweep.window_starts if isinstance(sweep.window_starts, tuple) else activations.window_starts
    if min(starts) + activations.window_length - 1 > study.selection.latest_end:
        raise SettingsError(
            f"selection.latest_end: no window of {path} ends at {study.selection.latest_end} or before; the first "
            f"ends at {min(starts) + activations.window_length - 1}"
        )
