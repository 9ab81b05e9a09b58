"""The settings of a study, typed and checked; standard library and pydantic only, because the Snakefile imports it.

A study file is a mapping of sections. `read_study` turns it into a `Study` or raises `SettingsError` with one line
that names the key and what is allowed. A step receives only the sections that `STEP_SECTIONS` grants it, as
canonical JSON; that same JSON is the rule's Snakemake parameter, so what a step can see is what replans it.

What is left out takes the default given here, which is the value of the default study, config.yaml, but for what
belongs to its pair: dtype and layers.
"""

import json
import os
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema
from pydantic.dataclasses import dataclass

from repurpose.study.messages import SettingsError as SettingsError
from repurpose.study.messages import one_line
from repurpose.study.prompt_counts import ALL, OWN_PROMPTS, is_path, with_counts

Behaviour = Literal[
    "initializing", "deduction", "adding-knowledge", "example-testing", "uncertainty-estimation", "backtracking"
]
VectorControl = Literal["mean", "random", "covariance-random", "shuffle", "same-offset", "rival"]
"""Controls that are vectors: overall mean, fixed random directions, random ones with the covariance of the activations,
label shuffles, matched other starts, the strongest of the permutation test."""
TokenControl = Literal["noise", "self"]
"""Controls made at each token: fresh Gaussian noise, self-amplification."""
Direction = Literal[Behaviour, VectorControl, TokenControl]
BEHAVIOURS: tuple[str, ...] = get_args(Behaviour)
TOKEN_CONTROLS: tuple[str, ...] = get_args(TokenControl)
CONTROLS: tuple[str, ...] = (*get_args(VectorControl), *TOKEN_CONTROLS)
NUMBERED = ("random", "covariance-random", "shuffle", "rival")
"""Controls of which there are several: `random` stands for random-00, random-01, ..."""
VARIANTS = ("without-keywords", "without-uncertainty")
"""What may be projected out of a study's vector: `backtracking-without-keywords`."""
RESERVED = ("replies",)
"""Folders of results/ that all studies share, so that no study may bear the name."""
USAGE = "_usage"
"""Ends the name of the file of what an annotator cost, beside that of its labels."""
OTHER_NAMES = ("none", "unsteered", "natural", "behaviour", "other", "outside")
"""What tables and figures call something else, so that no vector from outside may bear it."""
Role = Literal["base", "reasoning"]
EngineName = Literal["transformers", "vllm"]
KEYWORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
"""What a keyword may be: one word as `repurpose.steering.metrics` counts words, or it would never be found."""

T = TypeVar("T")
RULES = ConfigDict(
    extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True, hide_input_in_errors=True
)


def matching(pattern: str | re.Pattern[str], must: str) -> AfterValidator:
    """A check of a text against a pattern; `must` says what is allowed, `{!r}` in it is the text."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(must.format(text))
        return text

    return AfterValidator(check)


def each_once(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return values of which none is given twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} is given twice")
    return values


def possible_path(text: str) -> str:
    """Return a text that may be a path, or a name on a hub."""
    if not is_path(text):
        raise ValueError(f"{text!r} is no path; give one whose parts have 1 to 255 bytes, without `~user`")
    return text


Location = Annotated[str, AfterValidator(possible_path)]
Several = Annotated[
    tuple[T, ...], Field(min_length=1, json_schema_extra={"uniqueItems": True}), AfterValidator(each_once)
]
MOST = 1_000_000
Count = Annotated[int, Field(ge=1, le=MOST)]
"""Of prompts, tokens, rows: more than anybody could compute."""
FewerCount = Annotated[int, Field(ge=1, le=10_000)]
"""Of what is a job, a request, or a further pass over all rows."""
COUNT = {"type": "integer", "minimum": 1, "maximum": MOST}
CountOrShare = Annotated[
    Count, WithJsonSchema({"anyOf": [COUNT, {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}]})
]
CountOrAll = Annotated[Count, WithJsonSchema({"anyOf": [COUNT, {"const": ALL}]})]
"""A file may say a share, or `all`: `with_counts` has made a number of it before it is checked."""
Amount = Annotated[float, Field(ge=0, le=1e6)]
"""Of temperature or money."""
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Share = Annotated[float, Field(gt=0, le=1)]
Magnitude = Annotated[float, Field(ge=-1e6, le=1e6)]
"""Negative reverses; what is larger leaves no number of a model finite."""
Offset = Annotated[int, Field(ge=-512, le=512)]
"""Tokens from a sentence's start."""
Name = Annotated[
    str, matching(r"[A-Za-z0-9_-]{1,64}", "{!r} may hold only letters, digits, '-' and '_', and at most 64 of them")
]
Keyword = Annotated[str, matching(KEYWORD, "{!r} is not one word of letters; give each word alone")]
Url = Annotated[
    str,
    matching(r"https?://[^\s@/?#]+(?:/[^\s@?#]*)?", "give http(s)://host/path without user, password or query"),
]
Variable = Annotated[
    str,
    matching(r"[A-Z_][A-Z0-9_]*", "give the NAME of an environment variable (capital letters, digits, '_'), not a key"),
]
DirectionName = Annotated[Name, WithJsonSchema({"anyOf": [{"enum": [*BEHAVIOURS, *CONTROLS]}, {"type": "string"}]})]
"""Whether it is a label, a control or a vector from outside, only the whole study tells."""
Label = Annotated[str, matching("|".join(BEHAVIOURS), f"{{!r}} is no label; choose from {', '.join(BEHAVIOURS)}")]


@dataclass(frozen=True, config=RULES)
class Pair:
    """The two models: local directories or hub names."""

    base: Location
    reasoning: Location
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    base_revision: str | None = None
    reasoning_revision: str | None = None
    parameters: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Billions of them in one model, from which jobs ask for memory and time; null: from a local model's files, and 8
    for a hub name."""
    gpus: FewerCount = 1
    """GPUs that share one model where transformers reads it, for a model that one does not hold: each has some of its
    layers. `vllm.tensor_parallel` is the same for vLLM."""


@dataclass(frozen=True, config=RULES)
class Vllm:
    """How vLLM runs the pair, where it is the engine."""

    tensor_parallel: FewerCount = 1
    """Processes that share one model; where there are GPUs, one for each."""
    max_length: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Tokens of the longest text, prompt included; null takes what the job at hand needs."""
    memory_share: Share = 0.9
    """Share of a GPU's memory that vLLM may take."""
    compile_rollouts: bool = False
    """Compile the model (and capture CUDA graphs) for the unsteered rollouts. What is steered is never compiled:
    compiled layers skip the hooks."""
    parity_prompts: FewerCount = 4
    """Prompts on which each target is held against the transformers engine before anything is steered."""
    parity_tokens: Count = 32
    """Tokens generated for each of them, greedily, under each condition of the comparison."""
    parity_tolerance: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Largest difference of a log-probability, in nats; null: 0.001 in float32, 0.25 in half precision."""


@dataclass(frozen=True, config=RULES)
class Prompts:
    """Where prompts come from and how they are split."""

    source: Location
    """`organism` or `word-problems` (those of our own pairs), a JSON-lines file with category, prompt and, where known,
    answer, or a JSON file of published chains, whose problems are the prompts."""
    train: CountOrShare
    """A number or, of a file's prompts, a share such as 0.8."""
    heldout: CountOrShare


@dataclass(frozen=True, config=RULES)
class Endpoint:
    """An OpenAI-compatible server. Its key never stands in a study: the step that needs it reads the environment."""

    model: Annotated[str, matching(r"(?s).+", "give the model's name")]
    base_url: Url | None = None
    """Such as `http://127.0.0.1:8000/v1`; null: OpenAI's own."""
    key_variable: Variable = "OPENAI_API_KEY"
    """The environment variable that holds the key."""
    concurrency: FewerCount = 8
    """Requests under way at once, at most."""
    timeout: Seconds = 120.0
    """Seconds that one attempt may take."""
    retries: Annotated[int, Field(ge=0, le=1000)] = 6
    """Further attempts after 408, 409, 429, 5xx and broken connections, with the SDK's backoff and Retry-After."""
    temperature: Amount | None = 0.0
    """Null leaves it out, for models that take none."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the limit on a reply's tokens; OpenAI's reasoning models know the second name alone."""
    input_price: Amount = 0.0
    """Per million prompt tokens, in the currency of `max_cost`."""
    output_price: Amount = 0.0
    """Per million generated tokens."""


@dataclass(frozen=True, config=RULES)
class Rollouts:
    """How the generator writes the rollouts that are read."""

    generator: Role = "reasoning"
    engine: Literal["openai", "published"] | None = None
    """Null: the study's `engine`. `openai`: any OpenAI-compatible server, at `endpoint`. `published`: none, the chains
    of `file` are the rollouts."""
    file: Location | None = None
    """Engine `published`: a JSON file of chains, the one that `prompts.source` names: prompt and chain are of one
    record."""
    endpoint: Endpoint | None = None
    ids: Literal["tokenizer", "server"] = "tokenizer"
    """Engine `openai`: token ids by tokenising the answer's text, or from a server that returns them (vLLM does)."""
    temperature: Amount = 0.7
    """0 is greedy."""
    top_p: Share = 1.0
    """Draw from the likeliest tokens that together have at least this probability."""
    top_k: Count | None = None
    """Draw from so many of the likeliest tokens, before `top_p`; null: from all."""
    max_new_tokens: Count = 320
    """Published chains that are longer are cut there."""
    samples: FewerCount = 1
    """Of published chains there are as many as the file has of a problem."""
    shards: FewerCount = 2
    """Files, and jobs that may run side by side."""
    batch_size: Count = 64

    def __post_init__(self) -> None:
        for key, engine, given in (("endpoint", "openai", self.endpoint), ("file", "published", self.file)):
            if (self.engine == engine) != (given is not None):
                needs = f"only engine {engine} has it" if given else f"missing setting; engine {engine} needs it"
                raise SettingsError(f"{key}: {needs}")
        if self.engine == "published" and self.samples != 1:
            raise SettingsError("samples: engine published takes the chains that the file has; leave it out")
        if self.ids == "server" and self.engine != "openai":
            raise SettingsError("ids: 'server' is for engine openai; the others have the ids themselves")
        if self.endpoint is not None:
            if self.top_k is not None:
                raise SettingsError("top_k: engine openai knows no such setting; leave it out")
            if self.endpoint.temperature:
                raise SettingsError("endpoint.temperature: rollouts.temperature is what counts; leave it out")
            if self.endpoint.input_price or self.endpoint.output_price:
                raise SettingsError("endpoint: rollouts are not counted against max_cost; leave the prices out")


@dataclass(frozen=True, config=RULES)
class Llm:
    """How a language model labels sentences."""

    endpoint: Endpoint
    prompt: Location = "resources/annotation/labels-v1.md"
    """The instructions, a versioned file: the six labels, and none of the metric's keywords."""
    chunk_sentences: FewerCount = 40
    """Sentences in one request; a longer rollout is cut into chunks at sentence borders."""
    overlap_sentences: Annotated[int, Field(ge=0, le=10_000)] = 6
    """Sentences that neighbouring chunks share; a shared sentence keeps the label from the chunk that shows more
    around it."""
    attempts: Annotated[int, Field(ge=1, le=1000)] = 3
    """Requests for one chunk until every sentence of it has a valid label; each names the fault of the last."""
    max_invalid_share: Annotated[float, Field(ge=0, le=1)] = 0.02
    """More sentences without a valid label than this fail the rule."""
    max_cost: Amount | None = None
    """Stop before the study's requests to this annotator cost more than this: all that they ever cost, of killed
    runs, of other wordings and of steered text too, not what another study or annotator paid. Held back is the most
    that a request under way can cost. Not counted: requests that broke or were killed before their reply arrived,
    and what an earlier `model` or `base_url` cost. On a file system without locks jobs at the same time do not see
    one another's replies."""
    batch: bool = False
    """Use the endpoint's Batch API: later, at `batch_price` times the price."""
    batch_price: Amount = 0.5
    batch_poll: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """Seconds between looks at a batch."""

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_sentences < self.chunk_sentences:
            raise SettingsError("overlap_sentences: must be 0 or more and less than chunk_sentences")
        if self.max_cost and not self.endpoint.input_price + self.endpoint.output_price:
            raise SettingsError("max_cost: give endpoint.input_price and endpoint.output_price, too")


@dataclass(frozen=True, config=RULES)
class Annotator:
    """One annotator; its name in the study is its name in every table."""

    kind: Literal["lexicon", "llm", "published"]
    llm: Llm | None = None
    file: Location | None = None
    """`published`: a JSON file of annotated chains."""
    mapping: dict[Label, Label] = Field(default_factory=dict)
    """Renames labels after annotation, for instance to merge two; costs no new request."""

    def __post_init__(self) -> None:
        for key, kind, given in (("llm", "llm", self.llm), ("file", "published", self.file)):
            if given is None and self.kind == kind:
                raise SettingsError(f"{key}: missing setting; kind {kind} needs it")
            if given is not None and self.kind != kind:
                raise SettingsError(f"{key}: only annotators of kind {kind} have it")


def check_labels_text(key: str, name: str, annotators: Mapping[str, Annotator]) -> None:
    """Raise a SettingsError for a setting whose annotator is not there, or cannot label steered text."""
    able = [other for other, annotator in annotators.items() if annotator.kind != "published"]
    if name not in able:
        known = ", ".join(able) or "none"
        raise SettingsError(f"{key}: {name!r} is not allowed; annotators that can label any text are: {known}")


@dataclass(frozen=True, config=RULES)
class Labels:
    """Who labels what."""

    unit: Literal["sentence", "span"] = "sentence"
    """What is labelled, and read before: our sentences, or each span as the file of the study's own annotator, which
    must be a published one, has it. Other annotators label the same."""

    annotator: str = "lexicon"
    """Whose labels the vectors and tables stand on."""
    annotators: dict[Name, Annotator] = Field(default_factory=lambda: {"lexicon": Annotator("lexicon")})
    """All of them, side by side: agreement is told for each pair."""
    steered_annotator: str | None = None
    """Who labels steered text; null: `annotator`. One that is published cannot, and then nothing is known of labels of
    steered text unless another is named here."""
    steered_sweep: str = "two_by_two"
    """Whose steered rollouts (base-derived vector, reasoning target) the other annotators label, too, where one is a
    language model, for Table C.1."""
    steered_prompts: Count = 10
    """Prompts of that sweep; all magnitudes of each."""

    def __post_init__(self) -> None:
        if self.annotator not in self.annotators:
            known = ", ".join(self.annotators) or "none"
            raise SettingsError(f"annotator: {self.annotator!r} is not allowed; labels.annotators has {known}")
        if self.steered_annotator is not None:
            check_labels_text("steered_annotator", self.steered_annotator, self.annotators)


@dataclass(frozen=True, config=RULES)
class Activations:
    """Where and how the residual stream is read."""

    layers: Several[int] | Literal["all"] = "all"
    """The default study lists some of its pair's; a study that extends none reads all."""
    window_starts: Several[Offset] = (-20, -13, -9, -6)
    """Tokens from a sentence's start."""
    window_length: Annotated[int, Field(ge=1, le=1024)] = 6
    """Tokens in a window; the paper's [-13, -8] is start -13, length 6."""
    batch_tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] = 16384
    dtype: Literal["float32", "float16"] = "float32"


@dataclass(frozen=True, config=RULES)
class OutsideVector:
    """A vector from outside: of a file, or a row of a matrix in it, such as an SAE's decoder."""

    file: Location
    """A .safetensors, .gguf or .npy file; other formats, and what would be unpickled, are not read."""
    layer: Annotated[int, Field(ge=0)]
    """The decoder block, counted from 0, whose output it is of; it is steered and projected on there alone."""
    tensor: str | None = None
    """Its name in the file; null: the only one or, in a GGUF file, `direction.<layer>`."""
    index: Annotated[int, Field(ge=0)] | None = None
    """The row of a matrix, counted from 0; null for a vector."""
    norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """The L2 norm that it is stored with; null: its own. Steering takes its direction and a sweep's magnitudes."""


@dataclass(frozen=True, config=RULES)
class Vectors:
    """How directions are computed from activations, and which come from outside."""

    behaviour: Behaviour = "backtracking"
    estimator: Literal["minus_all", "minus_rest"] = "minus_all"
    """Mean before the behaviour minus mean before all sentences, as in the paper, or before all others."""
    random_directions: FewerCount = 4
    covariance_directions: FewerCount = 4
    """Random directions with the covariance of the activations at each site."""
    shuffles: FewerCount = 2
    split_halves: FewerCount = 20
    outside: dict[Name, OutsideVector] = Field(default_factory=dict)
    """Vectors from files, by the names that sweeps call them: see docs/vectors.md."""

    def __post_init__(self) -> None:
        taken = (*BEHAVIOURS, *CONTROLS, *OTHER_NAMES)
        for name in self.outside:
            if name in taken or name.startswith(tuple(f"{kind}-" for kind in NUMBERED)) or name.endswith(VARIANTS):
                raise SettingsError(f"outside.{name}: the name is taken; give one that no label or control has")


@dataclass(frozen=True, config=RULES)
class Magnitudes:
    """Strengths of steering, in one of three units."""

    unit: Literal["l2", "dose", "selected"]
    """`l2`: the norm added; `dose`: times the reasoning model's median residual norm at the site;
    `selected`: times the magnitude that the selection sweep chose."""
    values: Several[Magnitude]


@dataclass(frozen=True, config=RULES)
class Sweep:
    """A grid of conditions over prompts."""

    split: Literal["train", "heldout"]
    prompts: CountOrAll
    """A number of the split's prompts, or `all`."""
    magnitudes: Magnitudes
    targets: Several[Role] = ("reasoning",)
    readers: Several[Role] = ("base",)
    directions: Several[DirectionName] = ("backtracking",)
    """Labels, controls, the study's vector with something projected out, and names of `vectors.outside`; those at the
    layer of the vector alone."""
    layers: Several[int] | Literal["all", "selected"] = "selected"
    window_starts: Several[int] | Literal["all", "selected"] = "selected"
    beside: bool = False
    """Also steer the reasoning model at the best cell of `selection.beside_window`."""
    operation: Literal["add", "ablate"] = "add"
    positions: Literal["all", "generated"] = "all"
    samples: FewerCount = 1
    max_new_tokens: Count = 128
    temperature: Amount = 0.7
    top_p: Share = 1.0
    top_k: Count | None = None
    shards: FewerCount = 1
    """Jobs of one target that may run side by side, each with some of the prompts; no number depends on it."""
    batch_size: Count = 192

    def __post_init__(self) -> None:
        without = [name for name in self.directions if name in TOKEN_CONTROLS]
        if self.operation == "ablate" and without:
            raise SettingsError(f"directions: {without[0]} has no direction that could be ablated; leave it out")
        if self.beside and (self.operation != "add" or "base" not in self.readers):
            raise SettingsError("beside: only a sweep that adds the base-derived vector has it; leave it out")
        if self.operation == "add" and not any(self.magnitudes.values):
            raise SettingsError("magnitudes.values: give one other than 0; 0 steers nothing")


@dataclass(frozen=True, config=RULES)
class Selection:
    """How layer, window and magnitude are chosen on training prompts."""

    sweep: str = "selection"
    metric: Literal["keyword_share", "backtracking_share", "valid_backtracking"] = "backtracking_share"
    """What the chosen cell has most of: keywords, sentences that the annotator labels as the behaviour or, in the
    embedded pair's language, sentences that its grammar produces as backtracking."""
    annotator: str | None = None
    """Who labels the sweep's texts; null: who labels the others. A cheaper one may be named; the report says how far it
    agrees with the study's own."""
    beside_window: Offset | None = -13
    """The start of a window whose best coherent cell is reported on held-out prompts beside the chosen one, by sweeps
    with `beside`: the paper's. Null: none."""
    latest_end: Annotated[int, Field(ge=-512, le=2048)] = -1
    """A window that is selected ends at or before this offset, so that it never reads the sentence itself."""
    max_nats: Annotated[float, Field(gt=0, le=1000)] = 0.25
    """Coherent: the mean negative log-likelihood per token, under the unsteered target, at most so much above
    that of unsteered text, ..."""
    scored_prompts: Count = 6
    """... read on the texts of so many prompts of each cell, one sample each; ..."""
    min_distinct_2: Annotated[float, Field(ge=0, le=1000)] = 0.9
    """... no loops: distinct-2 at least this share of the unsteered value, ..."""
    max_longest_run: Annotated[float, Field(ge=1, le=MOST)] = 2.0
    """... and the mean longest run of one token at most this many tokens; ..."""
    min_grammatical: Annotated[float, Field(ge=0, le=1000)] = 0.9
    """... in the embedded pair's language, sentences that its grammar can produce at least this share of the unsteered
    ones."""


@dataclass(frozen=True, config=RULES)
class Permutations:
    """The permutation test: log-odds of the keywords under many directions that mean nothing, without sampling."""

    directions: FewerCount = 200
    """Label shuffles within prompts, and as many random directions with the covariance of the activations."""
    passages: FewerCount = 3
    """Held-out rollouts that are read, the shortest; and as many training ones, on which the rivals are chosen."""
    tokens: Count = 64
    """Generated tokens of a passage at which a sentence may begin; later sentences are not read."""
    rivals: Annotated[int, Field(ge=1, le=100)] = 5
    """Of all these directions the strongest on training passages, which sweeps may name: `rival`."""

    def __post_init__(self) -> None:
        if self.rivals > 2 * self.directions:
            raise SettingsError(f"rivals: at most {2 * self.directions}, which are tested")


@dataclass(frozen=True, config=RULES)
class Statistics:
    """Intervals."""

    bootstrap: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Resamples of whole prompts."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95


@dataclass(frozen=True, config=RULES)
class Explorer:
    """How much text explorer.html shows; the page itself says what is left out."""

    rollouts: Count = 500
    """Rollouts at most, held-out ones first, the categories in turn."""
    steered: Count = 12_000
    """Texts of the sweeps at most, unsteered ones included: whole prompts, so that conditions stand side by side."""


@dataclass(frozen=True, config=RULES)
class Study:
    """A whole study."""

    study: Name
    """results/<study>/ holds everything that the study makes. Not `replies`, where all studies keep paid replies."""
    pair: Pair
    prompts: Prompts
    sweeps: Annotated[dict[Name, Sweep], Field(min_length=1)]
    engine: EngineName = "transformers"
    """What runs the models wherever text is generated, for rollouts and in sweeps."""
    vllm: Vllm | None = None
    """Left out, it is the defaults of `Vllm` where that is the engine, and null elsewhere."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Every random draw of the study derives from it."""
    keywords: Several[Keyword] = ("wait", "hmm")
    """The words of the metric (Eq. 1 of the paper)."""
    rollouts: Rollouts = Field(default_factory=Rollouts)
    labels: Labels = Field(default_factory=Labels)
    activations: Activations = Field(default_factory=Activations)
    vectors: Vectors = Field(default_factory=Vectors)
    selection: Selection = Field(default_factory=Selection)
    permutations: Permutations = Field(default_factory=Permutations)
    statistics: Statistics = Field(default_factory=Statistics)
    explorer: Explorer = Field(default_factory=Explorer)


STEP_SECTIONS: dict[str, tuple[str, ...]] = {
    "rollouts.prompts": ("seed", "prompts"),
    "steering.check_parity": ("seed", "pair", "engine", "vllm", "vectors", "activations"),
    "rollouts.sampling": ("seed", "pair", "engine", "vllm", "rollouts"),
    "rollouts.sentences": ("seed",),  # by which it knows the rollouts of another study
    "labels.spans": ("labels",),
    "labels.labelling": ("study", "labels"),
    "labels.check_annotators": ("labels",),
    "rollouts.check_models": ("pair", "engine", "vllm", "rollouts", "sweeps", "activations", "vectors"),
    "labels.steered_labels": ("study", "vectors", "labels"),
    "labels.compare_annotators": ("seed", "statistics"),
    "directions.activations": ("pair", "activations"),
    "directions.vectors": ("seed", "vectors", "activations"),
    "steering.selection": ("selection", "vectors", "activations"),
    "directions.cosines": ("seed", "vectors", "statistics"),
    "directions.variants": ("pair", "keywords", "vectors"),
    "steering.permutations": ("seed", "pair", "keywords", "vectors", "activations", "permutations"),
    "steering.sweeps": ("seed", "pair", "engine", "vllm", "sweeps", "vectors", "activations"),
    "steering.merge_sweep": ("sweeps",),
    "steering.likelihood": ("seed", "pair", "selection"),
    "steering.measurements": ("keywords", "pair", "vectors", "prompts", "labels"),
    "steering.log_odds": ("seed", "pair", "prompts", "keywords", "vectors"),
    "directions.lens": ("pair", "keywords", "vectors"),
    "directions.export": (),
    "directions.projections": ("pair", "prompts", "keywords", "vectors"),
    "directions.traces": ("pair", "explorer"),
    "results.tables": ("seed", "keywords", "vectors", "activations", "sweeps", "selection", "statistics"),
    "results.figures": ("keywords", "vectors", "activations"),
    "results.claims": ("prompts", "vectors", "sweeps", "statistics"),
    "results.report": ("study", "pair", "keywords", "vectors", "activations"),
    "results.explorer": ("study", "pair", "keywords", "vectors", "activations", "labels", "explorer"),
}
"""The sections that each step may see."""


def read_study(values: dict[str, Any]) -> Study:
    """Return a study's mapping typed; raises SettingsError for a key or value that is unknown, missing or wrong."""
    study: Study = _read(Study, with_counts(values, locate))
    if study.engine == "vllm" and study.vllm is None:
        study = replace(study, vllm=Vllm())
    for fault in _faults(study):
        raise SettingsError(fault)
    return study


def _read(kind: Any, value: Any, section: str = "") -> Any:
    """A value of a study's section, or a whole study, as a type.

    It is read as JSON, where a mapping may stand for a section and a list for a tuple.
    """
    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_json(json.dumps(value, default=str))
    except ValidationError as problem:
        raise SettingsError(one_line(problem, value, adapter.json_schema(), section)) from None


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal settings give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def step_settings(study: Study, step: str, **extra: Any) -> dict[str, Any]:
    """The sections of one step as plain values, plus what the rule adds (a shard, the name of a sweep or annotator)."""
    values = asdict(study)
    if step not in ("rollouts.check_models", "steering.check_parity"):
        del values["pair"]["parameters"]  # decides what jobs ask for, and no result
    if step == "directions.traces":
        del values["explorer"]["steered"]  # changes no trace
    del values["pair"]["gpus"]  # the same; a step finds it in its environment
    for sweep in values["sweeps"].values():
        del sweep["shards"]  # a job is told its share of the prompts beside its settings
    if "sweep" in extra:
        values["sweeps"] = {extra["sweep"]: values["sweeps"][extra["sweep"]]}
    if "annotator" in extra or step == "labels.spans":
        name = extra.get("annotator") or values["labels"]["annotator"]
        own = values["labels"]["annotators"][name]
        shared = values["labels"] if step == "labels.steered_labels" else {"unit": values["labels"]["unit"]}
        values["labels"] = {**shared, "annotator": name, "annotators": {name: own}}
    if step == "results.explorer":  # which labels with the lexicons alone; others' labels are given
        named = values["labels"]["annotators"].items()
        lexicons = {name: one for name, one in named if one["kind"] == "lexicon"}
        values["labels"] = {"annotator": next(iter(lexicons)), "annotators": lexicons} if lexicons else {}
    return {**{name: values[name] for name in STEP_SECTIONS[step]}, **extra}


if TYPE_CHECKING:
    Sections = Study
else:
    Sections = object


class StepSettings(Sections):
    """What a step was given, typed: the sections that `STEP_SECTIONS` grants it, and what the rule adds.

    Anything else of a study is an AttributeError, not a default.
    """

    shard: int
    sweep: str
    target: Role
    reader: Role
    annotator: str
    figure: str
    code: str | None = None
    """The digest of the step's code; none where the workflow did not give one."""

    def __init__(self, step: str, text: str, batch: int | None = None) -> None:
        self.step = step
        self.batch = batch
        """Rows or tokens in a batch, where they are given beside the settings: no number depends on them."""
        self.values: dict[str, Any] = json.loads(text)
        """As the study has them: paths count from the repository."""
        sections, added = typing.get_type_hints(Study), typing.get_type_hints(StepSettings)
        kinds = sections | added
        for name in (*STEP_SECTIONS[step], *(self.values.keys() - sections.keys())):
            setattr(self, name, _located(_read(kinds[name], self.values[name], name)))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"step {vars(self).get('step')} is not granted the settings {name}")


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
    if isinstance(section, Prompts) and section.source not in OWN_PROMPTS:
        return replace(section, source=locate(section.source))
    if isinstance(section, Rollouts) and section.file is not None:
        return replace(section, file=locate(section.file))
    return section


def _faults(study: Study) -> Iterator[str]:
    """Yield what is wrong between the sections of a study, the first fault first."""
    yield from _name_faults(study)
    prompts = study.prompts.train + study.prompts.heldout
    if study.rollouts.shards > prompts:
        yield f"rollouts.shards: {study.rollouts.shards} is more than there are prompts ({prompts})"
    if study.rollouts.file not in (None, study.prompts.source):
        yield f"rollouts.file: must be what prompts.source names, {study.prompts.source}: chains answer its prompts"
    if study.labels.unit == "span" and (kind := study.labels.annotators[study.labels.annotator].kind) != "published":
        yield (
            f"labels.unit: span is for published annotations, and labels.annotator {study.labels.annotator} is of kind "
            f"{kind}; take one of kind published, or unit sentence"
        )
    if study.selection.sweep not in study.sweeps:
        yield f"selection.sweep: no such sweep; choose from {', '.join(study.sweeps)}"
    if study.vllm is not None:
        yield from _vllm_faults(study, study.vllm)
    if many := list(_too_many(study)):
        yield f"{'; '.join(many)}; give at most as many, or all"
    for name, vector in study.vectors.outside.items():
        read = study.activations.layers
        if isinstance(read, tuple) and vector.layer not in read:
            listed = ", ".join(map(str, read))
            yield f"vectors.outside.{name}.layer: {vector.layer} is not read; choose from {listed}"
    for name, sweep in study.sweeps.items():
        yield from _sweep_faults(study, f"sweeps.{name}", sweep)
        yield from _direction_faults(study, f"sweeps.{name}", sweep)
    if any(annotator.llm is not None for annotator in study.labels.annotators.values()):
        yield from _steered_faults(study.labels, study.sweeps.get(study.labels.steered_sweep))
    yield from _metric_faults(study)
    yield from _selection_faults(study, f"sweeps.{study.selection.sweep}", study.sweeps[study.selection.sweep])


def _name_faults(study: Study) -> Iterator[str]:
    """Yield names that would give two things one file, on a file system that knows no capital letters, too."""
    if study.study.lower() in RESERVED:
        yield f"study: {study.study!r} is the folder that all studies' paid replies share; give another name"
    for section, names in (("sweeps", study.sweeps), ("labels.annotators", study.labels.annotators)):
        lower = [name.lower() for name in names]
        for name in names:
            if lower.count(name.lower()) > 1:
                yield f"{section}.{name}: another name there differs in capital letters alone; give it other letters"
    for name in study.labels.annotators:
        if f"{name}{USAGE}".lower() in map(str.lower, study.labels.annotators):
            yield f"labels.annotators.{name}{USAGE}: {name}'s costs are filed there; give a name without {USAGE}"


def _vllm_faults(study: Study, vllm: Vllm) -> Iterator[str]:
    if study.engine != "vllm":
        yield "vllm: only engine vllm has it; set engine: vllm or leave it out"
    if vllm.parity_prompts > study.prompts.train:
        yield f"vllm.parity_prompts: must be at most prompts.train ({study.prompts.train})"
    longest = max([study.rollouts.max_new_tokens, *(sweep.max_new_tokens for sweep in study.sweeps.values())])
    if vllm.max_length is not None and vllm.max_length <= longest:
        yield f"vllm.max_length: must be more than the longest max_new_tokens ({longest})"


def _too_many(study: Study) -> Iterator[str]:
    """Yield each sweep that wants more prompts than its split has: whoever changes those meets them all at once."""
    for name, sweep in study.sweeps.items():
        limit: int = getattr(study.prompts, sweep.split)
        if sweep.prompts > limit:
            yield f"sweeps.{name}.prompts: {sweep.prompts} is more than prompts.{sweep.split} ({limit})"
        elif sweep.shards > sweep.prompts:
            yield f"sweeps.{name}.shards: {sweep.shards} is more than sweeps.{name}.prompts ({sweep.prompts})"


def _sweep_faults(study: Study, path: str, sweep: Sweep) -> Iterator[str]:
    for key in ("layers", "window_starts"):
        wanted, read = getattr(sweep, key), getattr(study.activations, key)
        missing = set(wanted) - set(read) if isinstance(wanted, tuple) and isinstance(read, tuple) else set()
        if missing:
            yield f"{path}.{key}: {min(missing)} is not read; choose from {', '.join(map(str, read))}"


def _direction_faults(study: Study, path: str, sweep: Sweep) -> Iterator[str]:
    """Yield names that no direction bears, and vectors from outside at layers that are not theirs."""
    known = (*BEHAVIOURS, *variants(study.vectors.behaviour), *CONTROLS, *study.vectors.outside)
    for place, name in enumerate(sweep.directions):
        if name not in known:
            yield f"{path}.directions[{place}]: {name!r} is not allowed; choose from {', '.join(known)}"
        elif vector := study.vectors.outside.get(name):
            yield from _layer_faults(study, path, sweep, name, vector.layer)
        elif name == "rival" and {sweep.layers, sweep.window_starts} != {"selected"}:
            yield f"{path}.directions[{place}]: rival is of the selected site; give layers and window_starts: selected"


def variants(behaviour: str) -> tuple[str, ...]:
    """Names of a study's vector with something projected out; of uncertainty-estimation itself little would be left."""
    kept = VARIANTS[:1] if behaviour == "uncertainty-estimation" else VARIANTS
    return tuple(f"{behaviour}-{variant}" for variant in kept)


def names_variants(study: Study) -> bool:
    """Whether any sweep steers with a variant of the study's vector."""
    return any(set(variants(study.vectors.behaviour)).intersection(sweep.directions) for sweep in study.sweeps.values())


def _layer_faults(study: Study, path: str, sweep: Sweep, name: str, layer: int) -> Iterator[str]:
    """Yield what is wrong where a sweep steers, or can only steer, where a vector from outside is not from."""
    selecting = study.sweeps.get(study.selection.sweep, sweep).layers
    asked = selecting if sweep.layers == "selected" else sweep.layers
    asked = study.activations.layers if isinstance(asked, str) else asked
    may_be = sweep.layers == "selected" and (isinstance(asked, str) or layer in asked)
    if not may_be and asked != (layer,):
        has = "every layer that is read" if isinstance(asked, str) else ", ".join(map(str, asked))
        yield f"{path}.layers: {name} is a vector of layer {layer}, the sweep steers at {has}; give [{layer}]"


def _steered_faults(labels: Labels, sweep: Sweep | None) -> Iterator[str]:
    if sweep is None or "reasoning" not in sweep.targets or "base" not in sweep.readers or sweep.operation != "add":
        yield (
            f"labels.steered_sweep: {labels.steered_sweep!r} is not allowed; name a sweep that adds the base-derived "
            "vector to the reasoning model"
        )
    elif not 1 <= labels.steered_prompts <= sweep.prompts:
        yield f"labels.steered_prompts: give 1 to sweeps.{labels.steered_sweep}.prompts ({sweep.prompts})"


def _metric_faults(study: Study) -> Iterator[str]:
    """Yield what is wrong with what the site is chosen by."""
    labels, selection = study.labels, study.selection
    if selection.annotator is not None:
        try:
            check_labels_text("selection.annotator", selection.annotator, labels.annotators)
        except SettingsError as problem:
            yield str(problem)
            return
    name = selection.annotator or labels.steered_annotator or labels.annotator
    if selection.metric == "backtracking_share" and labels.annotators[name].kind == "published":
        yield (
            f"selection.metric: backtracking_share needs labels of steered text, which {name}, a published annotator, "
            "cannot give; name another one in labels.steered_annotator or selection.annotator, or take keyword_share"
        )
    if selection.metric == "valid_backtracking" and study.prompts.source != "organism":
        yield "selection.metric: valid_backtracking is known of the embedded pair's prompts (source organism) alone"


def _selection_faults(study: Study, path: str, sweep: Sweep) -> Iterator[str]:
    if sweep.beside or "selected" in (sweep.layers, sweep.window_starts, sweep.magnitudes.unit):
        yield f"{path}: the selection sweep cannot itself use 'selected'"
    if sweep.split != "train":
        yield f"{path}.split: must be train; what is chosen is reported on heldout prompts"
    chosen_on = {"targets": "reasoning", "readers": "base", "directions": study.vectors.behaviour}
    for key, needed in chosen_on.items():
        if needed not in getattr(sweep, key):
            yield f"{path}.{key}: must hold {needed}, on which the choice is made"
    if sweep.operation != "add" or max(sweep.magnitudes.values) <= 0:
        yield f"{path}: the selection sweep must add the direction at a magnitude above 0"
    starts = sweep.window_starts if isinstance(sweep.window_starts, tuple) else study.activations.window_starts
    end = min(starts) + study.activations.window_length - 1
    if end > study.selection.latest_end:
        yield (
            f"selection.latest_end: no window of {path} ends at {study.selection.latest_end} or before; the first "
            f"ends at {end}"
        )
