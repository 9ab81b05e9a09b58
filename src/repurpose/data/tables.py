"""Schema of every table, atomic writing, provenance in each file's metadata.

A table is Parquet; its columns are the contract between two steps. A file appears under its name only when it is
whole: it is written beside and renamed, so what exists is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from repurpose import __version__
from repurpose.study.settings import canonical_json

METADATA_KEY = b"repurpose"


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


text, whole, real, flag = pa.string(), pa.int64(), pa.float64(), pa.bool_()
ids = pa.list_(pa.int32())

PROMPTS = _schema(prompt_id=text, category=text, split=text, messages=text, answer=text)
"""One prompt; `messages` is JSON, a list of {role, content}; `answer` may be null."""

ROLLOUTS = _schema(
    prompt_id=text,
    sample=whole,
    split=text,
    category=text,
    answer=text,
    model=text,
    engine=text,
    seed=whole,
    prompt_token_ids=ids,
    token_ids=ids,
    text=text,
    finish_reason=text,
)
"""One sampled answer; the ids are authoritative, `text` decodes `token_ids`."""

SENTENCES = _schema(
    prompt_id=text,
    sample=whole,
    split=text,
    sentence=whole,
    char_start=whole,
    char_end=whole,
    token_start=whole,
    token_end=whole,
    text=text,
    labelled=flag,
)
"""One sentence; characters count in the rollout's text, tokens in its generated ids (0 = first generated). `labelled`
says whether annotators are asked for it: tags alone and what follows the thinking are not."""

JUDGEMENT = _schema(annotator=text, label=text, status=text, reply=text)
LABELS = pa.schema([*(f for f in SENTENCES if f.name != "labelled"), *JUDGEMENT])
"""One sentence as one annotator labels it. `status` is ok, skipped (not asked for), or what was wrong with the
annotator's answer; then `label` is null and `reply` holds the answer as it came. Nothing invalid becomes a label."""

USAGE = _schema(
    prompt_id=text,
    sample=whole,
    sentences=whole,
    requests=whole,
    prompt_tokens=whole,
    completion_tokens=whole,
    cost=real,
    paid_earlier=real,
)
"""What one rollout's labels took of a language model, as its server counts; `cost` in the currency of the study's
prices, `paid_earlier` the part of it that an earlier run paid."""

ACTIVATIONS = _schema(
    prompt_id=text,
    sample=whole,
    sentence=whole,
    window_start=whole,
    layer=whole,
    vector=pa.binary(),
)
"""One window's mean activation; `vector` is the bytes of d numbers, d and dtype in the metadata. Sorted by layer, a
row group per layer."""

VECTORS = _schema(
    name=text,
    kind=text,
    reader=text,
    layer=whole,
    window_start=whole,
    window_length=whole,
    estimator=text,
    positives=whole,
    total=whole,
    norm=real,
    residual_norm=real,
    split_half_cosine=real,
    split_half_low=real,
    split_half_high=real,
    vector=pa.binary(),
)
"""One vector (float32 bytes). `kind` is behaviour or control; controls are mean, same-offset, shuffle-00 ...,
random-00 ...; `residual_norm` is the reader's median L2 norm of single-token activations at that site."""

COSINES = _schema(
    name=text,
    layer=whole,
    window_start=whole,
    positives=whole,
    prompts=whole,
    cross_half=real,
    cross_half_low=real,
    cross_half_high=real,
    reliability_base=real,
    reliability_base_low=real,
    reliability_reasoning=real,
    reliability_reasoning_low=real,
    disattenuated=real,
    disattenuated_low=real,
    disattenuated_high=real,
)
"""How alike the two readers' vectors of one name are at the selected site, read on DISJOINT halves of the prompts;
`prompts` have positives. `disattenuated` is `cross_half` over the geometric mean of the reliabilities, null where the
lower end of either is not above 0."""

SWEEPS = _schema(
    sweep=text,
    target=text,
    direction=text,
    kind=text,
    reader=text,
    layer=whole,
    window_start=whole,
    operation=text,
    positions=text,
    magnitude=real,
    dose=real,
    multiple=real,
    prompt_id=text,
    category=text,
    answer=text,
    sample=whole,
    seed=whole,
    prompt_tokens=whole,
    token_ids=ids,
    text=text,
    finish_reason=text,
    steered_positions=whole,
    expected_positions=whole,
)
"""One steered rollout. `direction` is a vector's name, `noise`, `self` or `none` (unsteered); `magnitude` is the L2
norm added, `dose` that over the target's median residual norm at the site, `multiple` the value as written in the
study. `steered_positions` is counted inside the hook."""

STEERED_KEY = (
    *("sweep", "target", "direction", "kind", "reader", "layer", "window_start", "operation", "multiple"),
    *("magnitude", "prompt_id", "category", "sample"),
)
"""What a labelled sentence of steered text keeps of its row."""
STEERED_LABELS = pa.schema(
    [
        *(f for f in SWEEPS if f.name in STEERED_KEY),
        *_schema(cell=whole, sentence=whole, text=text),
        *JUDGEMENT,
    ]
)
"""One sentence of a steered rollout as one annotator labels it; `cell` numbers the rollouts."""

MEASUREMENTS = pa.schema(
    [f for f in SWEEPS if f.name not in ("token_ids", "text")]
    + [
        pa.field("words", whole),
        pa.field("keyword_words", whole),
        pa.field("keyword_share", real),
        pa.field("sentences", whole),
        pa.field("backtracking_sentences", whole),
        pa.field("backtracking_share", real),
        pa.field("keyword_sentences", whole),
        pa.field("keyword_backtracking_sentences", whole),
        pa.field("wrong_steps", whole),
        pa.field("wrong_steps_backtracked", whole),
        pa.field("right_steps", whole),
        pa.field("right_steps_backtracked", whole),
        pa.field("distinct_2", real),
        pa.field("longest_run", whole),
        pa.field("compression_ratio", real),
        pa.field("length", whole),
        pa.field("finished", flag),
        pa.field("correct", flag),
    ]
)
"""The sweep's key and its metrics. `keyword_share` is Eq. 1 of the paper as a share (0 to 1); `correct` is null
where no answer is known; a text that gives none is wrong. Table C.1 needs the sentences with a keyword, and those of
them that are labelled backtracking. Steps of arithmetic are those of the embedded pair's language. In a study of
another behaviour the `backtracking_` columns count that label."""

LOGODDS = _schema(
    target=text,
    context=text,
    direction=text,
    kind=text,
    reader=text,
    layer=whole,
    window_start=whole,
    magnitude=real,
    dose=real,
    multiple=real,
    prompt_id=text,
    positions=whole,
    steered_positions=whole,
    expected_positions=whole,
    log_odds=real,
    change=real,
)
"""Mean log-odds (nats) per prompt or document: `context` is keyword (a keyword against any other token at sentence
starts of the reasoning model's rollouts) or mark ("mistake" against "correct" in homework); `change` is steered minus
unsteered; direction `none` holds the unsteered value."""

LENS = _schema(
    direction=text,
    reader=text,
    unembedding=text,
    layer=whole,
    window_start=whole,
    word=text,
    score=real,
    rank=real,
)
"""Mean logit of a unit direction for the vocabulary entries that hold a word; `rank` is the mean percentile (1 = top).
The word `top` rows hold the ten best tokens in `word` as `top:<token>`."""

PROJECTIONS = _schema(
    prompt_id=text,
    sample=whole,
    reader=text,
    layer=whole,
    position=whole,
    token=text,
    projection=real,
    keyword=flag,
    label=text,
    sentence=whole,
    correct_step=flag,
    since_step=whole,
)
"""Centred activation dot unit direction for each generated token of held-out rollouts. `correct_step` says, where the
truth is known, whether the last step before the token is right; `since_step` counts tokens since its end."""


class TableError(ValueError):
    """A table lacks a column or cannot be read; the message names the file."""


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling path that is renamed to `path` when the block ends without an exception."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, content: str) -> None:
    """Write a text file whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def write_table(
    path: Path | str,
    table: pa.Table | pl.DataFrame | list[dict[str, Any]],
    schema: pa.Schema,
    provenance: Mapping[str, Any],
) -> None:
    """Write a table under its schema, with its provenance in the file's metadata."""
    arrow = _to_arrow(table, schema).replace_schema_metadata(_pack(provenance))
    with whole_file(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def _to_arrow(table: pa.Table | pl.DataFrame | list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    if isinstance(table, list):
        return pa.Table.from_pylist(table, schema=schema)
    arrow = table.to_arrow() if isinstance(table, pl.DataFrame) else table
    missing = [name for name in schema.names if name not in arrow.column_names]
    if missing:
        raise TableError(f"column {missing[0]} is missing; the schema asks for {', '.join(schema.names)}")
    return arrow.select(schema.names).cast(schema)


def _pack(provenance: Mapping[str, Any]) -> dict[bytes, bytes]:
    return {METADATA_KEY: json.dumps(provenance, sort_keys=True).encode()}


def read_table(paths: Path | str | list[Path] | list[str], columns: list[str] | None = None) -> pl.DataFrame:
    """Read one table, or several shards of it one after the other."""
    many = paths if isinstance(paths, list) else [paths]
    return pl.concat([pl.from_arrow(pq.read_table(p, columns=columns)) for p in many])


def read_provenance(path: Path | str) -> dict[str, Any]:
    """Return the provenance that a file carries (empty where it has none)."""
    packed = pq.read_schema(path).metadata or {}
    return json.loads(packed.get(METADATA_KEY, b"{}"))


def provenance(settings: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
    """What a file says of its making: settings, their digest, versions, commit, machine type; never a path or a key."""
    digest = hashlib.sha256(canonical_json(settings).encode()).hexdigest()[:16]
    return {"settings": settings, "settings_digest": digest, **_environment(), **extra}


@cache
def _environment() -> dict[str, Any]:
    libraries = ("torch", "transformers", "polars", "pyarrow", "numpy", "snakemake")
    versions = {}
    for name in libraries:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "package": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "libraries": versions,
    }


def _commit() -> str | None:
    """The commit that the code is of, with `-dirty` where tracked files differ from it; None where there is no git."""
    commit = _git("rev-parse", "HEAD")
    changed = commit and _git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str | None:
    # Without optional locks: steps that run side by side must not wait for one another's index.
    command = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
