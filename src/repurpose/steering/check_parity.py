"""Prove on the study's own pair that vLLM steers as the transformers engine does, before anything is steered.

vLLM runs in a process of its own, so that its memory is free again when the transformers model is loaded. Both load
float32 where the machine has room for it: in half precision only a coarse comparison is possible.
"""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from multiprocessing import get_context

import torch

from repurpose.data.command import run_step
from repurpose.data.files import write_text
from repurpose.directions.unit_directions import Directions, read_pair_directions
from repurpose.model.engines import Request, Sampling, Scored, row_seed
from repurpose.model.engines.parity import TOLERANCES, compare, gate_steers
from repurpose.model.engines.pool import leave_with
from repurpose.model.engines.vllm_requirements import check_memory, installed_version
from repurpose.model.gpus import lease_gpus
from repurpose.model.loading import ModelError, load_model, made_with
from repurpose.model.tokens import prompt_token_ids
from repurpose.steering.conditions import Row, choose_prompts
from repurpose.steering.sweeps import pair_tokenizer
from repurpose.study.settings import Pair, Role, SettingsError, StepSettings, Vllm

CONTROL = "random-00"


def gate_requests(settings: StepSettings, prompts: Sequence[Row], directions: Directions) -> list[Request]:
    """One request a training prompt and condition, at the middle layer with a vector; a SettingsError without any."""
    target, behaviour = settings.target, settings.vectors.behaviour
    keys = sorted(key for key in directions.units if (key.name, key.reader) == (behaviour, "base"))
    if not keys:
        raise SettingsError(f"vectors.behaviour: no vector of {behaviour} was computed, so nothing can be compared")
    layers = sorted({key.layer for key in keys})
    layer = layers[len(layers) // 2]
    controls = [key for key in directions.units if (key.name, key.layer) == (CONTROL, layer)]
    chosen = [next(key for key in keys if key.layer == layer), *controls[:1]]
    units = {key.name: directions.unit(key) for key in chosen}
    tokenizer = pair_tokenizer(settings, target)
    steers = gate_steers(units, layer, directions.norms[target, layer])
    return [
        Request(prompt_token_ids(tokenizer, row["messages"]), row_seed(settings.seed, row["prompt_id"], 0), steer)
        for row in choose_prompts(prompts, "train", (settings.vllm or Vllm()).parity_prompts, "vllm.parity_prompts")
        for steer in steers
    ]


def run_vllm(pair: Pair, role: Role, requests: Sequence[Request], tokens: int, options: Vllm) -> list[Scored]:
    """What vLLM writes, greedily."""
    from repurpose.model.engines.choice import open_engine
    from repurpose.model.engines.vllm import VllmEngine

    longest = max(len(request.prompt_ids) for request in requests) + tokens
    with open_engine("vllm", pair, role, min(len(requests), 256), longest, options) as engine:
        assert isinstance(engine, VllmEngine)
        return engine.generate_scored(requests, Sampling(0.0, tokens))


def run_apart(pair: Pair, role: Role, requests: Sequence[Request], options: Vllm) -> list[Scored]:
    """`run_vllm` in a process of its own; raises ModelError where that process was killed."""
    with ProcessPoolExecutor(1, get_context("spawn"), leave_with, (os.getpid(),)) as other:
        try:
            return other.submit(run_vllm, pair, role, requests, options.parity_tokens, options).result()
        except BrokenProcessPool as problem:
            raise ModelError(
                "vLLM's process ended without a word, as one does that takes more memory than there is; give the "
                "job more, or lower vllm.parity_prompts"
            ) from problem


def main() -> None:
    with run_step("steering.check_parity", __doc__, one=["prompts"], many=["vectors"]) as step:
        settings, role, options = step.settings, step.settings.target, step.settings.vllm or Vllm()
        lease_gpus(options.tensor_parallel, torch.cuda.device_count())  # for both processes, one after the other
        directions = read_pair_directions(step.given.vectors)
        requests = gate_requests(settings, step.read("prompts").to_dicts(), directions)
        pair = replace(settings.pair, dtype="float32")
        try:
            check_memory(pair, options)
        except ModelError:  # no room for that
            pair = settings.pair
        scored = run_apart(pair, role, requests, options)
        tolerance = options.parity_tolerance or TOLERANCES[pair.dtype]
        found = compare(load_model(pair, role), requests, scored, tolerance)
        said = {"target": role, "dtype": pair.dtype, "tolerance": tolerance, **asdict(found)}
        made = {"vllm": installed_version(), **made_with(settings.pair, role), "code": settings.code}
        write_text(step.given.output, json.dumps({**said, **made}, indent=1) + "\n")


if __name__ == "__main__":
    main()
