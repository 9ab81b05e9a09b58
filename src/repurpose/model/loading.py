"""Models and tokenizers from disk: safetensors only, no code from the model's directory, errors in one line."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PretrainedConfig, PreTrainedModel

from repurpose.model.gpus import check_count, lease_gpus, reading_gpus
from repurpose.study.messages import as_line
from repurpose.study.pair_files import ADAPTER, KNOWN_LAYERS, ROLES, SHAPE, WEIGHTS_INDEX, check_weight_files
from repurpose.study.settings import Pair, Role

HASHED_BYTES = 1 << 30
"""Model directories up to this size are identified by content, larger ones by their files' sizes and times."""


REMEDIES = {
    "gated": " Accept its licence on the hub, then name your token in the environment variable HF_TOKEN.",
    "private": " A private model wants a token that may read it, in the environment variable HF_TOKEN.",
}
"""What to do about a model that its owner gives to some people only, by a word of what the hub says."""


TOLD = (OSError, ValueError, KeyError, SafetensorError)
"""Errors whose kind says nothing beside their message."""


class ModelError(RuntimeError):
    """A model cannot be loaded or does not fit the study; the message is one line."""


def _source(pair: Pair, role: Role) -> tuple[str, str | None]:
    """A model's directory or hub name, and its revision there."""
    return getattr(pair, role), getattr(pair, f"{role}_revision")


@contextmanager
def naming_faults(pair: Pair, role: Role) -> Iterator[None]:
    """Raise a ModelError that says what is wrong and what to do, whatever is raised of a model's files in the block."""
    try:
        yield
    except (ModelError, torch.OutOfMemoryError):
        raise
    except Exception as problem:  # libraries take much in a file for granted
        lines = [line.strip() for line in str(problem).split("\n") if line.strip()]
        said = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1])  # the next where it announces it
        kind = "" if isinstance(problem, TOLD) else f"{type(problem).__name__}: "
        words = str(problem).lower().replace("401", "private")  # what the hub answers for one
        remedy = next((remedy for word, remedy in REMEDIES.items() if word in words), "")
        told = as_line(f"{kind}{said}{remedy}")
        raise ModelError(f"pair.{role}: cannot load {getattr(pair, role)}: {told}") from problem


def load(kind: Any, pair: Pair, role: Role, **options: Any) -> Any:
    """Load what a class of transformers makes of one of the pair; a ModelError says what is wrong and what to do."""
    name, revision = _source(pair, role)
    with naming_faults(pair, role):
        return kind.from_pretrained(name, revision=revision, trust_remote_code=False, **options)


def loaded_file(pair: Pair, role: Role, file: str) -> Path | None:
    """Where a file of a model lies: in its directory, or in the hub's cache once it was loaded from there."""
    name, revision = _source(pair, role)
    if Path(name).is_dir():
        return path if (path := Path(name, file)).is_file() else None
    found = try_to_load_from_cache(name, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def load_config(pair: Pair, role: Role) -> PretrainedConfig:
    config: PretrainedConfig = load(AutoConfig, pair, role)
    return config


def load_text_config(pair: Pair, role: Role) -> PretrainedConfig:
    """What a configuration says of the model that writes text: a part of it where the model also sees, or all of it."""
    text: PretrainedConfig = load_config(pair, role).get_text_config()
    return text


def load_shape(pair: Pair, role: Role) -> dict[str, Any]:
    """What must be equal in both models, from a model's configuration, whatever names its architecture gives it."""
    config = load_text_config(pair, role)
    return {key: getattr(config, key, None) for key in SHAPE}


def common_vocabulary(pair: Pair) -> int:
    """The ids that both models have a row of the embedding for: 0 up to this number.

    What one of them has beyond is padding or tokens that the other lacks; what compares the two leaves it out.
    """
    return min(int(load_text_config(pair, role).vocab_size) for role in ROLES)


def generation_stop_ids(pair: Pair, role: Role) -> list[int]:
    """Ids that end a text by the model's generation settings, or by its configuration where it has none."""
    name, revision = _source(pair, role)
    with naming_faults(pair, role):
        try:
            settings: Any = GenerationConfig.from_pretrained(name, revision=revision or "main")
        except OSError:
            if loaded_file(pair, role, "generation_config.json") is not None:
                raise
            settings = load_text_config(pair, role)
    given = settings.eos_token_id
    ids = given if isinstance(given, list) else [] if given is None else [given]
    if not all(type(one) is int for one in ids):
        raise ModelError(f"pair.{role}: eos_token_id of {name} holds what is no token id; give numbers")
    return ids


def model_parameters(pair: Pair, role: Role) -> float:
    """Billions of parameters, as the study says or the configuration's shapes give."""
    if pair.parameters is not None:
        return pair.parameters
    return sum(weight.numel() for weight in empty_model(pair, role).parameters()) / 1e9


def empty_model(pair: Pair, role: Role) -> PreTrainedModel:
    """A model as its configuration says, without weights or memory for them; ModelError where it writes no text."""
    config = load_config(pair, role)
    with naming_faults(pair, role):
        try:
            with torch.device("meta"):
                model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
        except ValueError as problem:
            if not str(problem).startswith("Unrecognized configuration class"):
                raise
            raise ModelError(f"pair.{role}: a {config.model_type} model writes no text; {KNOWN_LAYERS}") from problem
    return model


def load_model(pair: Pair, role: Role) -> PreTrainedModel:
    """Load one of the pair for inference, on a GPU of its own where there is one, or on as many as the study says.

    Raises:
        ModelError: where the files do not give every number of the model, or one that is no number.
    """
    there, shared = torch.cuda.device_count(), reading_gpus()
    if there:
        check_count(shared, there, "pair.gpus")
    lease_gpus(shared, there)
    _check_files(pair, role)
    # what does not fit is refused here, in words: transformers would draw it at random, or print a table
    options: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    options |= placement(there, shared)
    loaded, found = load(AutoModelForCausalLM, pair, role, dtype=getattr(torch, pair.dtype), **options)
    _check_keys(pair, role, found)
    _check_files(pair, role)  # once more, because of a hub's model they are known only now
    if "device_map" not in options:
        loaded = loaded.to("cuda" if torch.cuda.is_available() else "cpu")
    model: PreTrainedModel = loaded.train(False).requires_grad_(False)
    _check_numbers(pair, role, model)
    return model


def placement(there: int, shared: int) -> dict[str, str]:
    """What `from_pretrained` is told of where a model goes: nothing, or to deal its layers out over the GPUs."""
    return {"device_map": "balanced"} if there and shared > 1 else {}


def _check_files(pair: Pair, role: Role) -> None:
    for name in (WEIGHTS_INDEX, ADAPTER):
        if (file := loaded_file(pair, role, name)) is not None:
            check_weight_files(role, file.parent)


def _check_keys(pair: Pair, role: Role, found: Mapping[str, Any]) -> None:
    """Refuse weights that are not those of the configuration; `found` is what transformers says of them."""
    faults = {
        "missing_keys": "its weights lack {}, of which the configuration speaks",
        "unexpected_keys": "its weights hold {}, of which the configuration does not speak",
        "mismatched_keys": "its weights hold {} in another shape than the configuration says",
    }
    for kind, words in faults.items():
        # a key stands alone or, where its shape is wrong, before the two shapes
        keys = sorted(key if isinstance(key, str) else key[0] for key in found[kind])
        if keys:
            more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
            raise ModelError(
                f"pair.{role}: {getattr(pair, role)} is not whole: {words.format(keys[0])}{more}; give the model's "
                "own files"
            )


def _check_numbers(pair: Pair, role: Role, model: PreTrainedModel) -> None:
    for name, weight in chain(model.named_parameters(), model.named_buffers()):
        if weight.is_floating_point() and not weight.isfinite().all():
            raise ModelError(
                f"pair.{role}: {name} of {getattr(pair, role)} holds a number that is not finite in {pair.dtype}; "
                "give other weights, or another pair.dtype"
            )


def model_digest(pair: Pair, role: Role) -> str:
    """Identify a model's files, so that what was made with other weights is never taken for this model's.

    A directory counts by content (by sizes and times above `HASHED_BYTES`), a hub name by its commit.
    """
    name, revision = _source(pair, role)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        load_config(pair, role)  # asks the hub which commit the revision is
        config = loaded_file(pair, role, "config.json")
        assert config is not None, "the hub's cache holds what was just loaded"
        return _digest([name, str(revision), config.parent.name])
    files = sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors", ".jinja"})
    if sum(path.stat().st_size for path in files) <= HASHED_BYTES:
        return _digest([part for path in files for part in (path.name, _file_digest(path))])
    return _digest([f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files])


def made_with(pair: Pair, *roles: Role) -> dict[str, Any]:
    """What a table says of the models that it was made with: `model_digest` by role, and `device`."""
    return {"model_digest": {role: model_digest(pair, role) for role in roles}, "device": device_name()}


def device_name() -> str:
    """The accelerator's name, or `cpu`."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
