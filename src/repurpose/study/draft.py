"""A study file for a pair and prompts that somebody brings: which layers, lengths, counts and batches fit them.

What was read of the models and the prompts goes in, the text of new_study.yaml comes out. It knows numbers alone, and
neither models nor tokenizers; `repurpose.rollouts.new_study` reads those.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from repurpose.study.pair_files import ROLES
from repurpose.study.resources import SMALL_BYTES, weight_bytes
from repurpose.study.settings import Pair, Role, SettingsError

TEMPLATE = Template(Path(__file__).with_name("new_study.yaml").read_text(encoding="utf-8"))
LAYERS_OF_32 = (4, 7, 10, 13, 16, 20, 25)
"""Layers that are read where a model has 32 of them: the paper's 10, its neighbourhood, and some all over."""
LENGTHS = (128, 192, 500)
"""Tokens generated in a sweep of many cells, of few, and for a rollout, where there is room."""
LEAST_ROOM = 32
"""Tokens to write, fewer of which hold neither a window nor a sentence after it."""
LARGEST_BATCH = 256
CACHE_BYTES = {True: 1e9, False: 8e9}
"""What keys and values of a batch may take, for a small model, which runs anywhere, and for one that wants a GPU."""
SWEPT = {"selection": 10, "two_by_two": 40, "baselines": 60}
"""Prompts of a sweep, where there are more."""


@dataclass(frozen=True)
class Facts:
    """What a study must fit."""

    layers: int
    context: int | None
    """Tokens that both models can read; None where neither names a limit."""
    prompt_tokens: int
    """Of the longest prompt in the chat format."""
    prompts: int
    cache_bytes: int
    """Keys and values of one token, in the larger model."""


@dataclass(frozen=True)
class Choices:
    """What whoever asks for a study says of it."""

    name: str
    file: str
    """The study file, as commands will name it."""
    schema: str
    """The JSON schema, by its path from the study file."""
    source: str
    """The file of prompts."""
    keywords: Sequence[str]
    annotator: str
    """`lexicon`, or the name of a language model."""
    base_url: str | None = None
    """The language model's server."""


def draft(choices: Choices, pair: Pair, facts: Facts) -> str:
    """The text of a study file; a SettingsError where no text fits beside the longest prompt.

    The pair has its dtype, billions of parameters and, for hub names, its revisions.
    """
    short, middle, long = choose_lengths(facts)
    train, heldout = split_prompts(facts.prompts)
    assert pair.parameters is not None
    batch = choose_batch(facts, long, small=weight_bytes(pair.parameters, pair.dtype) <= SMALL_BYTES)
    swept = {name: few_or_all(most, train if name == "selection" else heldout) for name, most in SWEPT.items()}
    shares = {"train": 0.8, "heldout": 0.2} if facts.prompts >= 5 else {"train": train, "heldout": heldout}
    return TEMPLATE.substitute(
        schema=choices.schema,
        shown=" and ".join(Path(getattr(pair, role)).name for role in ROLES),
        file=shlex.quote(choices.file),
        name=choices.name,
        keywords=f"[{', '.join(map(written, choices.keywords))}]",
        base=written(pair.base),
        reasoning=written(pair.reasoning),
        base_revision=revision_line(pair, "base"),
        reasoning_revision=revision_line(pair, "reasoning"),
        dtype=pair.dtype,
        parameters=round(max(pair.parameters, 1e-4), 4),
        source=written(choices.source),
        **shares,
        total=facts.prompts,
        context=told_context(facts),
        shards=min(2, facts.prompts),
        batch=batch,
        labels=labels_of(choices, min(10, SWEPT["two_by_two"], heldout)),
        layers=f"[{', '.join(map(str, choose_layers(facts.layers)))}]",
        layer_count=facts.layers,
        short_tokens=short,
        middle_tokens=middle,
        rollout_tokens=long,
        **{f"{name.removesuffix('s')}_prompts": prompts for name, prompts in swept.items()},
    )


def choose_layers(count: int) -> list[int]:
    """Layers of a model of so many, spread over its depth and dense near the paper's third."""
    return sorted({min(round(layer * count / 32), count - 1) for layer in LAYERS_OF_32})


def choose_lengths(facts: Facts) -> tuple[int, int, int]:
    """Tokens to generate in large sweeps, in small ones and for rollouts: all fit beside the longest prompt."""
    room = LENGTHS[-1] if facts.context is None else facts.context - facts.prompt_tokens
    if room < LEAST_ROOM:
        raise SettingsError(
            f"prompts.source: the longest prompt has {facts.prompt_tokens} of the {facts.context} tokens that the pair "
            f"reads, and fewer than {LEAST_ROOM} are left to write; give shorter prompts"
        )
    short, middle, long = (min(length, room) for length in LENGTHS)
    return short, middle, long


def split_prompts(count: int) -> tuple[int, int]:
    """Training and held-out prompts, four to one; a SettingsError where there are not two."""
    if count < 2:
        raise SettingsError(f"prompts.source: {count} prompts are too few; give at least 2, better 100 or more")
    train = min(round(0.8 * count), count - 1)
    return train, count - train


def few_or_all(most: int, there: int) -> int | str:
    """A number of prompts, or all where there are no more."""
    return most if there > most else "all"


def choose_batch(facts: Facts, tokens: int, small: bool) -> int:
    """Rows of a batch, a power of two, whose keys and values fit the memory that a job may take for them."""
    rows = CACHE_BYTES[small] / (facts.cache_bytes * (facts.prompt_tokens + tokens))
    return 1 << (max(1, min(int(rows), LARGEST_BATCH)).bit_length() - 1)


def told_context(facts: Facts) -> str:
    """What the longest text is held against."""
    if facts.context is None:
        return f"the longest prompt has {facts.prompt_tokens} tokens"
    return f"beside the longest prompt, {facts.prompt_tokens} of the {facts.context} tokens that the models read"


def revision_line(pair: Pair, role: Role) -> str:
    """A hub model's commit, so that the study reads the same for ever; nothing for a directory."""
    revision = getattr(pair, f"{role}_revision")
    return f"  {role}_revision: {written(revision)}\n" if revision else ""


def labels_of(choices: Choices, steered: int) -> str:
    """The section of labels, without its first line."""
    if choices.annotator == "lexicon":
        return (
            "  # CHANGE for results: these patterns know the English of our own pairs and give a first look alone.\n"
            "  # Name a language model instead: docs/labels.md.\n"
            "  annotator: lexicon\n"
            "  annotators:\n"
            "    lexicon: {kind: lexicon}\n"
        )
    name = slug(choices.annotator)
    server = f", base_url: {written(choices.base_url)}" if choices.base_url else ""
    return (
        f"  annotator: {name}\n"
        f"  steered_prompts: {steered}    # steered texts that it labels, too, for Table C.1\n"
        "  annotators:\n"
        f"    {name}:\n"
        "      kind: llm\n"
        "      llm:\n"
        "        # CHANGE: input_price and output_price, per million tokens, let `make plan` tell what it will cost.\n"
        f"        endpoint: {{model: {written(choices.annotator)}{server}, input_price: 0.0, output_price: 0.0}}\n"
    )


def slug(text: str) -> str:
    """A name for a study or an annotator: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "mine"


def written(text: str) -> str:
    """A text as YAML has it in a list or after a key: quoted where it might be read as something else."""
    plain = re.fullmatch(r"[A-Za-z./_~][A-Za-z0-9./_~@+-]*", text) and text.lower() not in WORDS_OF_YAML
    return text if plain else json.dumps(text, ensure_ascii=False)


WORDS_OF_YAML = {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "~"}
