"""Check models, engine and machine before rollouts are spent, by what needs no weights.

A command before the rollouts' own, as that of the annotators: a plan reads few of the pair's files. Where the engine
is vLLM it runs in that environment, too, which rollouts from an endpoint would not meet before the first sweep.
"""

from collections.abc import Sequence

import torch

from repurpose.data.command import run_step
from repurpose.model.engines.vllm_requirements import check_gpu, check_memory, check_requirements
from repurpose.model.loading import load_shape, model_parameters
from repurpose.model.pair_checks import check_context, check_pair, check_template
from repurpose.model.template_checks import check_rendering
from repurpose.model.tokens import check_ids_fit, load_tokenizer, prompt_token_ids
from repurpose.study.pair_files import ROLES, check_layers, check_vectors
from repurpose.study.resources import weight_bytes
from repurpose.study.settings import StepSettings, Vllm


def check_models(settings: StepSettings, messages: Sequence[str], engine: bool, machine: bool) -> None:
    """Refuse a pair that the study could not use to its end.

    Args:
        settings: of the study.
        messages: those of all prompts, as JSON.
        engine: whether this process's environment is that of the engine, or that in which activations are read.
        machine: whether the study's models will run on a machine like this one.

    Raises:
        ModelError, SettingsError, GpuError: in one line, what is wrong and what to do.
    """
    pair = settings.pair
    check_pair(pair)
    shapes = {role: load_shape(pair, role) for role in ROLES}
    check_layers(settings.activations, settings.sweeps, shapes)
    check_vectors(settings.vectors, shapes)
    check_template(pair, settings.rollouts.generator)
    longest = check_lengths(settings, messages)
    if settings.engine != "vllm":
        return
    options = settings.vllm or Vllm()
    if engine:
        check_requirements(pair, options, longest)
    if engine and machine:
        check_memory(pair, options)
    elif machine:
        check_gpu(max(weight_bytes(model_parameters(pair, role), pair.dtype) for role in ROLES), pair.dtype)


def check_lengths(settings: StepSettings, messages: Sequence[str]) -> int:
    """The most tokens that a text may have, prompt included; a ModelError where they are too many for either model."""
    tokenizers = [load_tokenizer(settings.pair, role) for role in {"reasoning", settings.rollouts.generator}]
    for tokenizer in tokenizers:
        check_rendering(tokenizer, messages)
    prompts = [prompt_token_ids(tokenizer, one) for tokenizer in tokenizers for one in messages]
    for role in ROLES:
        check_ids_fit([max(ids) for ids in prompts if ids], settings.pair, role)
    prompt = max(map(len, prompts))
    written = {f"sweeps.{name}": sweep.max_new_tokens for name, sweep in settings.sweeps.items()}
    written["rollouts"] = settings.rollouts.max_new_tokens
    section = max(written, key=written.__getitem__)
    check_context(settings.pair, prompt + written[section], f"{section}.max_new_tokens")
    return prompt + written[section]


def main() -> None:
    torch.set_num_threads(1)
    flags = {
        "engine": "this is the environment of the study's engine",
        "machine": "the models will run on a machine like this one",
    }
    with run_step("rollouts.check_models", __doc__, one=["prompts"], flags=flags, outputs=None) as step:
        given = step.given
        check_models(step.settings, step.read("prompts")["messages"].to_list(), given.engine, given.machine)


if __name__ == "__main__":
    main()
