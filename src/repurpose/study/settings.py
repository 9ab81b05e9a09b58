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
EngineName = Literal["transformers", "vllm"]
KEYWORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
"""What a keyword may be: one word as `repurpose.steering.metrics` counts words, or it would never be found."""


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
    parameters: float | None = None
    """Billions of them in one model, from which jobs ask for memory and time; null: from a local model's files, and 8
    for a hub name."""


@dataclass(frozen=True)
class Vllm:
    """How vLLM runs the pair, where it is the engine."""

    tensor_parallel: int = 1
    """Processes (on GPUs: cards) that share one model."""
    max_length: int | None = None
    """Tokens of the longest text, prompt included; null takes what the job at hand needs."""
    memory_share: float = 0.9
    """Share of a card's memory that vLLM may take."""
    compile_rollouts: bool = False
    """Compile the model (and capture CUDA graphs) for the unsteered rollouts. What is steered is never compiled:
    compiled layers skip the hooks."""
    parity_prompts: int = 4
    """Prompts on which each target is held against the transformers engine before anything is steered."""
    parity_tokens: int = 32
    """Tokens generated for each of them, greedily, under each condition of the comparison."""
    parity_tolerance: float | None = None
    """Largest difference of a log-probability, in nats; null: 0.001 in float32, 0.25 in half precision."""


@dataclass(frozen=True)
class Prompts:
    """Where prompts come from and how they are split."""

    source: str
    """`organism`, or a JSON-lines file with category, prompt and, where known, answer."""
    train: int
    heldout: int


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server. Its key never stands in a study: the step that needs it reads the environment."""

    model: str
    base_url: str | None = None
    """Such as `http://127.0.0.1:8000/v1`; null: OpenAI's own."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key."""
    concurrency: int = 8
    """Requests under way at once, at most."""
    timeout: float = 120.0
    """Seconds that one attempt may take."""
    retries: int = 6
    """Further attempts after 408, 409, 429, 5xx and broken connections, with the SDK's backoff and Retry-After."""
    temperature: float | None = 0.0
    """Null leaves it out, for models that take none."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the limit on a reply's tokens; OpenAI's reasoning models know the second name alone."""
    input_price: float = 0.0
    """Per million prompt tokens, in the currency of `max_cost`."""
    output_price: float = 0.0
    """Per million generated tokens."""


@dataclass(frozen=True)
class Rollouts:
    """How the generator writes the rollouts that are read."""

    generator: Role = "reasoning"
    engine: Literal["openai"] | None = None
    """Null: the study's `engine`. `openai`: any OpenAI-compatible server, at `endpoint`."""
    endpoint: Endpoint | None = None
    ids: Literal["tokenizer", "server"] = "tokenizer"
    """Engine `openai`: token ids by tokenising the answer's text, or from a server that returns them (vLLM does)."""
    temperature: float = 0.7
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have at least this probability."""
    top_k: int | None = None
    """Draw from so many of the likeliest tokens, before `top_p`; null: from all."""
    max_new_tokens: int = 500
    samples: int = 1
    shards: int = 2
    batch_size: int = 64


@dataclass(frozen=True)
class Llm:
    """How a language model labels sentences."""

    endpoint: Endpoint
    prompt: str = "resources/annotation/labels-v1.md"
    """The instructions, a versioned file: the six labels, and none of the metric's keywords."""
    chunk_sentences: int = 40
    """Sentences in one request; a longer rollout is cut into chunks at sentence borders."""
    overlap_sentences: int = 6
    """Sentences that neighbouring chunks share; a shared sentence keeps the label from the chunk that shows more
    around it."""
    attempts: int = 3
    """Requests for one chunk until every sentence of it has a valid label; each names the fault of the last."""
    max_invalid_share: float = 0.02
    """More sentences without a valid label than this fail the rule."""
    max_cost: float | None = None
    """Stop before the study's requests to this annotator cost more than this: all that they ever cost, of killed
    runs, of other wordings and of steered text too, not what another study or annotator paid. Held back is the most
    that a request under way can cost. Not counted: requests that broke or were killed before their reply arrived,
    and what an earlier `model` or `base_url` cost. On a file system without locks jobs at the same time do not see
    one another's replies."""
    batch: bool = False
    """Use the endpoint's Batch API: later, at `batch_price` times the price."""
    batch_price: float = 0.5
    batch_poll: float = 30.0
    """Seconds between looks at a batch."""


@dataclass(frozen=True)
class Annotator:
    """One annotator; its name in the study is its name in every table."""

    kind: Literal["lexicon", "llm", "published"]
    llm: Llm | None = None
    file: str | None = None
    """`published`: a JSON file of annotated chains."""
    mapping: dict[str, str] = field(default_factory=dict)
    """Renames labels after annotation, for instance to merge two; costs no new request."""


@dataclass(frozen=True)
class Labels:
    """Who labels the sentences."""

    annotator: str = "lexicon"
    """Whose labels the vectors and tables stand on."""
    annotators: dict[str, Annotator] = field(default_factory=lambda: {"lexicon": Annotator("lexicon")})
    """All of them, side by side: agreement is told for each pair."""
    steered_sweep: str = "two_by_two"
    """Whose steered rollouts (base-derived vector, reasoning target) LLM annotators label too, for Table C.1."""
    steered_prompts: int = 10
    """Prompts of that sweep; all magnitudes of each."""


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
    top_p: float = 1.0
    top_k: int | None = None
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
    engine: EngineName = "transformers"
    """What runs the models wherever text is generated, for rollouts and in sweeps."""
    vllm: Vllm | None = None
    """Left out, it is the defaults of `Vllm` where that is the engine, and null elsewhere."""
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
    "rollouts.prompts": ("seed", "prompts"),
    "steering.check_parity": ("seed", "pair", "engine", "vllm", "vectors", "activations"),
    "rollouts.sampling": ("seed", "pair", "engine", "vllm", "rollouts"),
    "rollouts.sentences": (),
    "labels.labelling": ("study", "labels"),
    "labels.check_annotators": ("labels",),
    "rollouts.check_models": ("pair", "engine", "vllm", "rollouts", "sweeps", "activations"),
    "labels.steered_labels": ("study", "vectors", "labels"),
    "labels.compare_annotators": ("seed", "statistics"),
    "directions.activations": ("pair", "activations"),
    "directions.vectors": ("seed", "vectors", "activations"),
    "steering.selection": ("selection", "vectors", "activations"),
    "directions.cosines": ("seed", "vectors", "statistics"),
    "steering.sweeps": ("seed", "pair", "engine", "vllm", "sweeps", "vectors", "activations"),
    "steering.measurements": ("keywords", "pair", "vectors"),
    "steering.log_odds": ("seed", "pair", "prompts", "keywords", "vectors"),
    "directions.lens": ("pair", "keywords", "vectors"),
    "directions.projections": ("pair", "prompts", "keywords", "vectors"),
    "results.tables": ("seed", "keywords", "vectors", "activations", "sweeps", "selection", "statistics"),
    "results.figures": ("keywords", "vectors", "activations"),
    "results.claims": ("vectors", "statistics"),
    "results.report": ("study", "pair", "keywords", "vectors", "activations"),
}
"""The sections that each step may see."""


def read_study(values: dict[str, Any]) -> Study:
    """Check a study's mapping and return it typed.

    Raises:
        SettingsError: for an unknown or missing key, a wrong type or a value out of range.
    """
    study: Study = _read(Study, values, "")
    if study.engine == "vllm" and study.vllm is None:
        study = replace(study, vllm=Vllm())
    _check(study)
    return study


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal settings give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def step_settings(study: Study, step: str, **extra: Any) -> dict[str, Any]:
    """The sections of one step as plain values, plus what the rule adds (a shard, the name of a sweep or annotator)."""
    values = asdict(study)
    if step not in ("rollouts.check_models", "steering.check_parity"):
        del values["pair"]["parameters"]  # decides what jobs ask for, and no result
    if "sweep" in extra:
        values["sweeps"] = {extra["sweep"]: values["sweeps"][extra["sweep"]]}
    if "annotator" in extra:
        name = extra["annotator"]
        own = values["labels"]["annotators"][name]
        shared = values["labels"] if step == "labels.steered_labels" else {}
        values["labels"] = {**shared, "annotator": name, "annotators": {name: own}}
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
    problems, options = [], [option for option in get_args(kind) if option is not type(None)]
    if value is None and len(options) < len(get_args(kind)):
        return None
    if len(options) == 1:
        return _read(options[0], value, path)
    for option in options:
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
    _check_labels(study.labels)
    _check_vllm(study)
    _check_rollouts(study.rollouts)
    if not study.sweeps:
        raise SettingsError("sweeps: missing setting; at least one sweep is needed")
    if study.selection.sweep not in study.sweeps:
        raise SettingsError(f"selection.sweep: no such sweep; choose from {_list(study.sweeps)}")
    for name, sweep in study.sweeps.items():
        _check_sweep(study, name, sweep)
    _check_steered(study)
    _check_selection(study, study.sweeps[study.selection.sweep])


def _check_numbers(study: Study) -> None:
    if study.pair.parameters is not None and study.pair.parameters <= 0:
        raise SettingsError("pair.parameters: must be more than 0 (billions)")
    if study.seed < 0:
        raise SettingsError(f"seed: {study.seed} is not allowed; at least 0")
    if study.rollouts.temperature < 0:
        raise SettingsError("rollouts.temperature: must be 0 (greedy) or more")
    drawn: list[tuple[str, Rollouts | Sweep]] = [
        ("rollouts", study.rollouts),
        *((f"sweeps.{name}", sweep) for name, sweep in study.sweeps.items()),
    ]
    for path, section in drawn:
        if not 0 < section.top_p <= 1:
            raise SettingsError(f"{path}.top_p: must be more than 0 and at most 1")
        if section.top_k is not None and section.top_k < 1:
            raise SettingsError(f"{path}.top_k: {section.top_k} is not allowed; at least 1, or null")
    prompts = study.prompts.train + study.prompts.heldout
    if study.rollouts.shards > prompts:
        raise SettingsError(f"rollouts.shards: {study.rollouts.shards} is more than there are prompts ({prompts})")
    if study.selection.min_distinct_2 < 0:
        raise SettingsError("selection.min_distinct_2: must be 0 or more")
    if study.selection.max_longest_run < 1:
        raise SettingsError("selection.max_longest_run: must be 1 or more; every text has a run of one token")


def _check_vllm(study: Study) -> None:
    vllm = study.vllm
    if vllm is None:
        return
    if study.engine != "vllm":
        raise SettingsError("vllm: only engine vllm has it; set engine: vllm or leave it out")
    for key in ("tensor_parallel", "parity_prompts", "parity_tokens"):
        if getattr(vllm, key) < 1:
            raise SettingsError(f"vllm.{key}: {getattr(vllm, key)} is not allowed; at least 1")
    if vllm.parity_prompts > study.prompts.train:
        raise SettingsError(f"vllm.parity_prompts: must be at most prompts.train ({study.prompts.train})")
    if not 0 < vllm.memory_share <= 1:
        raise SettingsError("vllm.memory_share: must be more than 0 and at most 1")
    if vllm.parity_tolerance is not None and vllm.parity_tolerance <= 0:
        raise SettingsError("vllm.parity_tolerance: must be more than 0")
    longest = max([study.rollouts.max_new_tokens, *(sweep.max_new_tokens for sweep in study.sweeps.values())])
    if vllm.max_length is not None and vllm.max_length <= longest:
        raise SettingsError(f"vllm.max_length: must be more than the longest max_new_tokens ({longest})")


def _check_rollouts(rollouts: Rollouts) -> None:
    if (rollouts.engine == "openai") != (rollouts.endpoint is not None):
        must = "missing setting; engine openai needs it" if rollouts.endpoint is None else "only engine openai has it"
        raise SettingsError(f"rollouts.endpoint: {must}")
    if rollouts.ids == "server" and rollouts.engine != "openai":
        raise SettingsError("rollouts.ids: 'server' is for engine openai; the others have the ids themselves")
    if rollouts.endpoint is not None:
        _check_endpoint("rollouts.endpoint", rollouts.endpoint)
        if rollouts.top_k is not None:
            raise SettingsError("rollouts.top_k: engine openai knows no such setting; leave it out")
        if rollouts.endpoint.temperature:
            raise SettingsError("rollouts.endpoint.temperature: rollouts.temperature is what counts; leave it out")
        if rollouts.endpoint.input_price or rollouts.endpoint.output_price:
            raise SettingsError("rollouts.endpoint: rollouts are not counted against max_cost; leave the prices out")


def _check_keywords(keywords: tuple[str, ...]) -> None:
    for number, keyword in enumerate(keywords):
        if not KEYWORD.fullmatch(keyword):
            raise SettingsError(f"keywords[{number}]: {keyword!r} is not one word of letters; give each word alone")


def _check_steered(study: Study) -> None:
    labels, sweep = study.labels, study.sweeps.get(study.labels.steered_sweep)
    if all(annotator.llm is None for annotator in labels.annotators.values()):
        return
    if sweep is None or "reasoning" not in sweep.targets or "base" not in sweep.readers or sweep.operation != "add":
        raise SettingsError(
            f"labels.steered_sweep: {labels.steered_sweep!r} is not allowed; name a sweep that adds the base-derived "
            "vector to the reasoning model"
        )
    if not 1 <= labels.steered_prompts <= sweep.prompts:
        raise SettingsError(
            f"labels.steered_prompts: give 1 to sweeps.{labels.steered_sweep}.prompts ({sweep.prompts})"
        )


def _check_labels(labels: Labels) -> None:
    if labels.annotator not in labels.annotators:
        known = _list(labels.annotators) or "none"
        raise SettingsError(f"labels.annotator: {labels.annotator!r} is not allowed; labels.annotators has {known}")
    for name, annotator in labels.annotators.items():
        path = f"labels.annotators.{name}"
        _check_name(path, name)
        _check_annotator(path, annotator)


def _check_annotator(path: str, annotator: Annotator) -> None:
    for key, kind in (("llm", "llm"), ("file", "published")):
        given = getattr(annotator, key) is not None
        if given != (annotator.kind == kind):
            must = f"only annotators of kind {kind} have it" if given else f"missing setting; kind {kind} needs it"
            raise SettingsError(f"{path}.{key}: {must}")
    for label in (*annotator.mapping, *annotator.mapping.values()):
        if label not in BEHAVIOURS:
            raise SettingsError(f"{path}.mapping: {label!r} is no label; choose from {_list(BEHAVIOURS)}")
    if annotator.llm is not None:
        _check_llm(f"{path}.llm", annotator.llm)


def _check_llm(path: str, llm: Llm) -> None:
    _check_endpoint(f"{path}.endpoint", llm.endpoint)
    for key in ("chunk_sentences", "attempts"):
        if getattr(llm, key) < 1:
            raise SettingsError(f"{path}.{key}: {getattr(llm, key)} is not allowed; at least 1")
    if not 0 <= llm.overlap_sentences < llm.chunk_sentences:
        raise SettingsError(f"{path}.overlap_sentences: must be 0 or more and less than chunk_sentences")
    if not 0 <= llm.max_invalid_share <= 1:
        raise SettingsError(f"{path}.max_invalid_share: must lie between 0 and 1")
    if llm.max_cost is not None and llm.max_cost > 0 and not llm.endpoint.input_price + llm.endpoint.output_price:
        raise SettingsError(f"{path}.max_cost: give endpoint.input_price and endpoint.output_price, too")
    for key in ("max_cost", "batch_price", "batch_poll"):
        if (getattr(llm, key) or 0) < 0:
            raise SettingsError(f"{path}.{key}: must be 0 or more")


def _check_endpoint(path: str, endpoint: Endpoint) -> None:
    if not endpoint.model:
        raise SettingsError(f"{path}.model: give the model's name")
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", endpoint.key_variable):
        raise SettingsError(
            f"{path}.key_variable: give the NAME of an environment variable (capital letters, digits, '_'), not a key"
        )
    if endpoint.base_url is not None and not re.fullmatch(r"https?://[^\s@/?#]+(?:/[^\s@?#]*)?", endpoint.base_url):
        raise SettingsError(f"{path}.base_url: give http(s)://host/path without user, password or query")
    for key, least in (("concurrency", 1), ("retries", 0), ("input_price", 0), ("output_price", 0)):
        if getattr(endpoint, key) < least:
            raise SettingsError(f"{path}.{key}: {getattr(endpoint, key)} is not allowed; at least {least}")
    if endpoint.temperature is not None and endpoint.temperature < 0:
        raise SettingsError(f"{path}.temperature: must be 0 or more, or null")
    if endpoint.timeout <= 0:
        raise SettingsError(f"{path}.timeout: must be more than 0 seconds")


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
