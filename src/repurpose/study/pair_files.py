"""What the files of a study say before any job starts: prompts, annotations, vectors and, for local models, the pair.

Of models JSON files only, because the Snakefile calls it each time that it plans. A hub name is left to the first job
that loads it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from repurpose.study.instructions import read_instructions
from repurpose.study.prompt_counts import OWN_PROMPTS, PROMPT_SOURCES, check_enough, count_prompts
from repurpose.study.published import is_published
from repurpose.study.settings import Activations, Role, SettingsError, Study, Sweep, Vectors, locate
from repurpose.study.vector_files import READERS, read_vector

ROLES: tuple[Role, Role] = ("base", "reasoning")
VARIANTS = {"blind": "--blind", **{f"seed-{seed}": f"--seed {seed}" for seed in range(1, 5)}}
"""Of the SmolLM2 pair's reasoning model, with how each is trained when a study asks for it: a negative control, whose
traces go back at random steps, and other seeds."""
MADE_MODELS = (
    "resources/smollm2/base",
    "resources/smollm2/reasoning",
    *(f"resources/smollm2/{variant}/reasoning" for variant in VARIANTS),
)
"""Models that rules make of what can be fetched and of an adapter; no weights are there before."""
MADE_FILES = ("config.json", "tokenizer.json", "model.safetensors")
"""What such a rule gives; the weights come last."""
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
MADE_CONFIG = {"model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576}
MADE_PARAMETERS = 0.135
"""Billions of them in each of those models."""
SHAPE = {"num_hidden_layers": "layers", "hidden_size": "numbers in the residual stream"}
"""What must be equal in both models, or a direction of one could not be added to the other at the same layer.
The rows of their embeddings may be more in one: many models have some that stand for no token."""
OLDER_NAMES = {"n_layer": "num_hidden_layers", "n_embd": "hidden_size"}
"""How GPT-2 names what others name otherwise."""
KNOWN_LAYERS = "give a model like Llama, Qwen, Gemma, GPT-NeoX or GPT-2"
"""What may stand instead of a model whose layers are not known."""
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
WEIGHTS_SUFFIX = ".safetensors"
ADAPTER = "adapter_config.json"
"""Where it lies, transformers adds the adapter to the model beside it, or loads another model; vLLM does neither."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
"""A tokenizer is one of these, at least."""


def check_models(study: Study) -> None:
    """Raise a SettingsError, naming the setting and what is allowed, for what is wrong with files.

    These are prompts, annotations, vectors from outside, and local models' weights, shapes, layers, vocabularies.
    """
    for setting, file, allowed in _named_files(study):
        if not Path(locate(file)).is_file():
            raise SettingsError(f"{setting}: no file at {file}; give {allowed}")
    for name, annotator in study.labels.annotators.items():
        if annotator.llm is not None:
            read_instructions(locate(annotator.llm.prompt), f"labels.annotators.{name}.llm.prompt")
    prompts = study.prompts
    there = count_prompts(prompts.source, locate(prompts.source))
    check_enough(prompts.source, prompts.train, prompts.heldout, there)
    if (chains := study.rollouts.file) is not None and not is_published(locate(chains)):
        raise SettingsError(f"rollouts.file: {chains} is no JSON list; give a file of published chains")
    folders = local_folders(study)
    configs = read_configs(study)
    for role, folder in folders.items():
        _check_files(role, folder)
    check_layers(study.activations, study.sweeps, configs)
    check_vectors(study.vectors, configs)
    if len(configs) == len(ROLES):
        check_shapes(configs["base"], configs["reasoning"])
    if len(folders) == len(ROLES):
        _check_tokenizers(folders["base"], folders["reasoning"])


def _named_files(study: Study) -> Iterator[tuple[str, str, str]]:
    """Yield the setting, the file and what is allowed of all that must be a file."""
    if study.prompts.source not in OWN_PROMPTS:
        yield "prompts.source", study.prompts.source, PROMPT_SOURCES
    for name, annotator in study.labels.annotators.items():
        if annotator.file is not None:
            yield f"labels.annotators.{name}.file", annotator.file, "a JSON file of annotated chains"
        if annotator.llm is not None:
            yield f"labels.annotators.{name}.llm.prompt", annotator.llm.prompt, "a text of instructions"
    for name, vector in study.vectors.outside.items():
        yield f"vectors.outside.{name}.file", vector.file, f"a {', '.join(READERS)} file"


def local_folders(study: Study) -> dict[Role, Path]:
    """The directories of local models; raises SettingsError for a name that is neither that nor a hub name."""
    found: dict[Role, Path] = {}
    for role in ROLES:
        name = getattr(study.pair, role)
        folder = Path(locate(name))
        if name in MADE_MODELS:
            found |= {role: made_folder(name)} if (made_folder(name) / MADE_FILES[-1]).is_file() else {}
        elif folder.is_dir():
            found[role] = folder
        # a hub name is `owner/name`, and no folder here bears the owner's name
        elif name.startswith((".", "/", "~")) or name.count("/") != 1 or Path(locate(name.split("/")[0])).is_dir():
            raise SettingsError(f"pair.{role}: no model at {name}; give a directory with config.json")
    return found


class ToMake(NamedTuple):
    """Jobs that make models for a study: its own and, of a reasoning model, the base in it and an adapter."""

    bases: int
    merged: int
    trained: int


def models_to_make(study: Study) -> ToMake:
    """How many models of a study a rule has yet to make."""
    base, *others = MADE_MODELS
    missing = {name for name in MADE_MODELS if not (made_folder(name) / MADE_FILES[-1]).is_file()}
    needed = {study.pair.base, study.pair.reasoning} & missing
    merged = needed & set(others)
    adapters = [made_folder(name).with_name("adapter") / ADAPTER_FILES[-1] for name in needed & set(others[1:])]
    bases = (needed | missing if merged else needed) & {base}
    return ToMake(len(bases), len(merged), sum(not file.is_file() for file in adapters))


def count_to_make(study: Study) -> int:
    """How many jobs make models for a study."""
    return sum(models_to_make(study))


def made_folder(name: str) -> Path:
    """Where a rule makes a model: in the repository, as a study's relative paths count."""
    return Path(os.environ.get("REPURPOSE_ROOT", "."), name)


def read_configs(study: Study) -> dict[Role, dict[str, Any]]:
    """The configurations that are known before a job starts: of local models, and of those that a rule makes."""
    folders, names = local_folders(study), {role: getattr(study.pair, role) for role in ROLES}
    made = {role: dict(MADE_CONFIG) for role in ROLES if names[role] in MADE_MODELS}
    return made | {role: read_config(role, folder) for role, folder in folders.items()}


def read_config(role: Role, folder: Path) -> dict[str, Any]:
    """A model's configuration; raises SettingsError where there is none, or none of a model with layers."""
    file = folder / "config.json"
    if not file.is_file():
        raise SettingsError(f"pair.{role}: {folder} has no config.json, so it is no model directory")
    with _reading(role, file, "model's configuration") as content:
        whole = {**content, **content.get("text_config", {})}
        config = {OLDER_NAMES.get(key, key): value for key, value in whole.items()}
        kind = config.get("model_type")
        if kind is None or "num_hidden_layers" in config:
            return {**config, "num_hidden_layers": int(config["num_hidden_layers"])}
    raise SettingsError(
        f"pair.{role}: {folder} is a {kind} model, whose layers are not known (no num_hidden_layers); {KNOWN_LAYERS}"
    )


@contextmanager
def _reading(role: Role, file: Path, kind: str) -> Iterator[Any]:
    """Give what a JSON file holds; whatever is missed in it shows that the file is not of its kind."""
    try:
        yield json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise SettingsError(f"pair.{role}: {file} is no {kind} ({problem!r})") from problem


def check_weight_files(role: Role, folder: Path) -> None:
    """Check that weights lie in the folder under the names by which they are loaded (SettingsError)."""
    if (folder / ADAPTER).is_file():
        raise SettingsError(f"pair.{role}: {folder} has an {ADAPTER}; merge the adapter into the model")
    names, index = [WEIGHTS], folder / WEIGHTS_INDEX
    if not (folder / WEIGHTS).is_file() and index.is_file():
        with _reading(role, index, "index of weights") as content:
            names = sorted({str(name) for name in content["weight_map"].values()})
    allowed = f"{WEIGHTS}, or {WEIGHTS_INDEX} with the files that it names"
    for name in names:
        if Path(name).name != name or not name.endswith(WEIGHTS_SUFFIX):
            raise SettingsError(
                f"pair.{role}: {index} names {name}; give {WEIGHTS_SUFFIX[1:]} files of the same folder"
            )
        if not (folder / name).is_file():
            raise SettingsError(f"pair.{role}: {folder} has no {name}; its weights must be {allowed}")


def _check_files(role: Role, folder: Path) -> None:
    """Check that weights and tokenizer are there, under the names by which they are loaded."""
    check_weight_files(role, folder)
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise SettingsError(f"pair.{role}: {folder} has no tokenizer; give one of {', '.join(TOKENIZERS)}")


def check_layers(activations: Activations, sweeps: dict[str, Sweep], configs: dict[Role, dict[str, Any]]) -> None:
    """Refuse layers that a model lacks, with a SettingsError that names the setting, the layer and those there are."""
    swept = {f"sweeps.{name}.layers": sweep.layers for name, sweep in sweeps.items()}
    asked = {"activations.layers": activations.layers, **swept}
    for (role, config), (path, layers) in product(configs.items(), asked.items()):
        count = config["num_hidden_layers"]
        missing = [layer for layer in layers if not 0 <= layer < count] if isinstance(layers, tuple) else []
        if missing:
            raise SettingsError(f"{path}: layer {missing[0]} is not in the {role} model; 0 to {count - 1} are")


def check_vectors(vectors: Vectors, configs: dict[Role, dict[str, Any]]) -> None:
    """Refuse vectors from outside that cannot be read or do not fit the models that are known (SettingsError)."""
    for name, vector in vectors.outside.items():
        path = f"vectors.outside.{name}"
        try:
            width = len(read_vector(locate(vector.file), vector.layer, vector.tensor, vector.index))
        except SettingsError as problem:
            raise SettingsError(f"{path}.{problem}") from None
        for role, config in configs.items():
            if vector.layer >= (count := config["num_hidden_layers"]):
                said = f"layer {vector.layer} is not in the {role} model; 0 to {count - 1} are"
                raise SettingsError(f"{path}.layer: {said}")
            if width != (hidden := config.get("hidden_size", width)):
                said = f"{vector.file} has {width} numbers there, the {role} model's residual stream {hidden}"
                raise SettingsError(f"{path}.file: {said}")


def check_shapes(base: dict[str, Any], reasoning: dict[str, Any]) -> None:
    """Refuse two models of different shapes, with a SettingsError that names the shape."""
    for key, words in SHAPE.items():
        ours, theirs = base.get(key), reasoning.get(key)
        if None not in (ours, theirs) and ours != theirs:
            raise SettingsError(f"pair.base: {ours} {words} ({key}), pair.reasoning has {theirs}; both must be equal")


def _check_tokenizers(base: Path, reasoning: Path) -> None:
    files = [folder / "tokenizer.json" for folder in (base, reasoning)]
    if not all(file.is_file() for file in files) or files[0].read_bytes() == files[1].read_bytes():
        return
    ours, theirs = (_tokenizer_parts(role, file) for role, file in zip(ROLES, files, strict=True))
    special = ours.pop("special") | theirs.pop("special")
    for parts in (ours, theirs):
        parts["vocabulary"] = {token: place for token, place in parts["vocabulary"].items() if token not in special}
    different = [part for part in ours if ours[part] != theirs[part]]
    if different:
        raise SettingsError(
            f"pair.base: its tokenizer disagrees with that of pair.reasoning in its {different[0]}; both must give "
            "the same ids"
        )


def _tokenizer_parts(role: Role, file: Path) -> dict[str, Any]:
    """What decides the ids of a text, written one way whatever version of the library wrote the file.

    `special` are the tokens beside those of text: of them two tokenizers may have others.
    """
    with _reading(role, file, "tokenizer") as content:
        model = content["model"]
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges") or ()]
        steps = {part: _plain_step(content.get(part)) for part in ("normalizer", "pre_tokenizer")}
        special = {token["content"] for token in content.get("added_tokens") or ()}
        return {"vocabulary": _places(model.get("vocab") or {}), "merges": merges, "special": special, **steps}


def _places(vocabulary: Any) -> dict[str, Any]:
    """A vocabulary by token: with its id or, in a list of tokens, its place and what else stands there."""
    if isinstance(vocabulary, dict):
        return vocabulary
    return {entry[0]: [place, *entry[1:]] for place, entry in enumerate(vocabulary)}


def _plain_step(step: Any) -> Any:
    """A step of a tokenizer: a sequence of none is none, of one is that one; offsets change no id."""
    if not isinstance(step, dict):
        return step
    for key in ("normalizers", "pretokenizers"):
        if step.get("type") == "Sequence" and isinstance(step.get(key), list):
            inner = [plain for plain in map(_plain_step, step[key]) if plain is not None]
            return {**step, key: inner} if len(inner) > 1 else next(iter(inner), None)
    return {key: value for key, value in step.items() if key != "trim_offsets"}
