"""What jobs ask of a machine: memory, GPUs and time from a model's size. Standard library only: the Snakefile calls.

With P parameters, w bytes each (4 in float32, 2 in half precision) and t GPUs that share the model:

    weights          = P x w
    host memory      = 4 GB + 3 x weights                      (read, converted, and room to work in)
    GPU memory       = 4 GB + 1.2 x weights / t                (weights, activations, a small cache)
    host memory      = that + rows of a batch x weights / 5    (of a job that generates without a GPU)
    minutes          = 15 + 1.5 x (weights / 0.2 GB/s + tokens x P / 3e13 per second) / 60

The rate of 3e13 parameter tokens a second is a cautious one for one A100 with full batches (3,750 tokens a second of an
8 B model). Half as much again, because a cluster kills a job that asked for too little. Models of at most 1 GiB ask
for an hour and no GPU, and so do published rollouts, for which none is loaded. A job that was killed for want of memory
or time is tried once more, where a cluster may kill it, with twice as much of both.
"""

import math
from collections.abc import Iterable
from itertools import product, starmap
from typing import NamedTuple

from repurpose.study.conditions import Condition, KnownVectors, VectorKey, expand, grid, kind_of
from repurpose.study.pair_files import MADE_MODELS, MADE_PARAMETERS, ROLES, local_folders, read_configs
from repurpose.study.settings import BEHAVIOURS, Role, Study, Sweep, variants

GB = 1e9
SMALL_BYTES = 1 << 30
"""Models up to this size need no GPU."""
SMALL_MINUTES = 60
"""Of a job with one of them, or with none."""
HUB_PARAMETERS = 8.0
"""Billions, of a hub name whose size the study does not give."""
HUB_LAYERS = 32
"""Of a hub name: its configuration may not be on this machine yet."""
DISK_RATE = 0.2 * GB
TOKEN_RATE = 3e13
GPU_THREADS = 4
"""Of a job with GPUs: one thread starves them. Without a GPU a rule's own number stays, on which results depend."""
ROWS_OF_WEIGHTS = 5
"""Rows of a batch that take as much memory as the weights, without a GPU: keys and values, logits, hooks' copies."""
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def weight_bytes(parameters: float, dtype: str) -> float:
    """Bytes of the weights of so many billions of parameters."""
    return parameters * GB * BYTES[dtype]


def host_megabytes(weights: float, rows: int = 0) -> int:
    """Megabytes of the machine's memory that a job with the model asks for; `rows`: those that it generates at once."""
    return math.ceil((4 * GB + 3 * weights + rows * weights / ROWS_OF_WEIGHTS) / 1e6)


def gpu_megabytes(weights: float, gpus: int) -> int:
    """Megabytes that the model needs on each GPU, at least."""
    return math.ceil((4 * GB + 1.2 * weights / gpus) / 1e6)


def gpus(weights: float, shared_by: int = 1) -> int:
    """GPUs of a job with the model."""
    return 0 if weights <= SMALL_BYTES else shared_by


def minutes(weights: float, parameters: float, tokens: int) -> int:
    """Minutes of a job that generates or reads so many tokens."""
    if weights <= SMALL_BYTES:
        return SMALL_MINUTES
    return math.ceil(15 + 1.5 * (weights / DISK_RATE + tokens * parameters * GB / TOKEN_RATE) / 60)


def rollout_tokens(study: Study) -> int:
    """Tokens generated for one shard of rollouts, at most."""
    prompts = math.ceil((study.prompts.train + study.prompts.heldout) / study.rollouts.shards)
    return prompts * study.rollouts.samples * study.rollouts.max_new_tokens


def sweep_tokens(study: Study, sweep: Sweep, layers: int) -> int:
    """Tokens generated in one job of a sweep, at most: every vector there is, every text as long as it may be."""
    conditions = 1 + len(list_conditions(study, sweep, "reasoning", layers))
    return conditions * math.ceil(sweep.prompts / sweep.shards) * sweep.samples * sweep.max_new_tokens


def list_conditions(study: Study, sweep: Sweep, target: Role, layers: int) -> list[Condition]:
    """The steered conditions of a sweep on one target, as the sweep itself lists them where every vector is there.

    The one beside the selected site, too, which a sweep leaves out where the site is the same.
    """
    read = asked_of(study.activations.layers, range(layers))
    starts = study.activations.window_starts
    counts = {
        "random": study.vectors.random_directions,
        "covariance-random": study.vectors.covariance_directions,
        "shuffle": study.vectors.shuffles,
        "rival": study.permutations.rivals,
    }
    numbered = [f"{kind}-{n:02d}" for kind, count in counts.items() for n in range(count)]
    names = (*BEHAVIOURS, *variants(study.vectors.behaviour), "mean", "same-offset", *numbered, *study.vectors.outside)
    keys = set(starmap(VectorKey, product(names, ROLES, read, starts)))
    vectors = KnownVectors(keys, dict.fromkeys(product(ROLES, read), 1.0))
    grid_layers = read[:1] if sweep.layers == "selected" else asked_of(sweep.layers, read)
    grid_starts = starts[:1] if sweep.window_starts == "selected" else asked_of(sweep.window_starts, starts)
    listed = expand(sweep, target, vectors, grid(sweep, vectors, grid_layers, grid_starts), selected=1.0)
    behaviour = study.vectors.behaviour
    beside = Condition(
        behaviour, kind_of(behaviour), "base", None, study.selection.beside_window, "add", "all", 1.0, 1.0, 1.0
    )
    return listed + [beside] * (sweep.beside and target == "reasoning")


def asked_of(asked: Iterable[int] | str, known: Iterable[int]) -> list[int]:
    """What a setting lists, or all that there are."""
    return list(known if isinstance(asked, str) else asked)


class Demands(NamedTuple):
    """What those jobs of one study ask for that run a model: megabytes of the machine's memory, GPUs, minutes."""

    memory: int
    gpus: int
    """Where a model is read with transformers."""
    sweep_memory: dict[str, int]
    engine_gpus: int
    """Where the study's engine generates."""
    sampling_memory: int
    sampling_gpus: int
    """Where rollouts are sampled, perhaps from a server."""
    sampling_calls: int
    """1 where rollouts are sampled from a server: how many such jobs run at once, the resource `api_calls` limits."""
    minutes: int
    """Where one shard of rollouts is sampled or read."""
    sampling_minutes: int
    """Where one is sampled, or taken from a file."""
    sweep_minutes: dict[str, int]
    selection_threads: int
    """Of the sweep that selects, which other jobs wait for: a job that is alone has a process for each."""
    retries: int | None
    """Further attempts of a job that may run out of memory or time; for small models null: as the profile says."""


def study_demands(study: Study) -> Demands:
    """What the jobs of a study ask for, by its larger model's size: as the study says, or as local files are."""
    parameters = study.pair.parameters or _read_parameters(study)
    layers = int(read_configs(study).get("reasoning", {}).get("num_hidden_layers", HUB_LAYERS))
    weights, served = weight_bytes(parameters, study.pair.dtype), study.rollouts.engine is not None
    asked_minutes = minutes(weights, parameters, rollout_tokens(study))
    engine_gpus = gpus(weights, study.vllm.tensor_parallel if study.vllm else study.pair.gpus)
    tokens = {name: sweep_tokens(study, sweep, layers) for name, sweep in study.sweeps.items()}
    here = 0 if engine_gpus else 1  # without a GPU a batch lies in the machine's memory
    batches = {name: here * sweep.batch_size for name, sweep in study.sweeps.items()}
    return Demands(
        memory=host_megabytes(weights),
        gpus=gpus(weights, study.pair.gpus),
        sweep_memory={name: host_megabytes(weights, rows) for name, rows in batches.items()},
        engine_gpus=engine_gpus,
        sampling_memory=host_megabytes(0 if served else weights, here * study.rollouts.batch_size),
        sampling_gpus=0 if served else engine_gpus,
        sampling_calls=int(study.rollouts.engine == "openai"),
        minutes=asked_minutes,
        sampling_minutes=SMALL_MINUTES if study.rollouts.file else asked_minutes,
        sweep_minutes={name: minutes(weights, parameters, number) for name, number in tokens.items()},
        selection_threads=cpu_threads(engine_gpus, otherwise=2 if _selects_in_one_job(study) else 1),
        retries=1 if gpus(weights) else None,
    )


def _selects_in_one_job(study: Study) -> bool:
    sweep = study.sweeps.get(study.selection.sweep)
    return sweep is not None and sweep.shards == 1


def _read_parameters(study: Study) -> float:
    """Billions of parameters of the larger model, as far as that is known before a job starts."""
    folders = local_folders(study)
    if len(folders) == len(ROLES):
        sizes = [sum(file.stat().st_size for file in folder.glob("*.safetensors")) for folder in folders.values()]
        return max(sizes) / BYTES[study.pair.dtype] / GB
    made = {study.pair.base, study.pair.reasoning} <= set(MADE_MODELS)
    return MADE_PARAMETERS if made else HUB_PARAMETERS


def cpu_threads(gpus: int, otherwise: int = 1) -> int:
    """Threads of a job that runs a model."""
    return GPU_THREADS if gpus else otherwise
