"""Which engine runs a model of the pair: vLLM, or transformers in one process or in several that share the batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from repurpose.model.engines import Engine
from repurpose.model.engines.pool import PooledEngine
from repurpose.model.engines.transformers import TransformersEngine
from repurpose.model.engines.vllm_requirements import check_memory, check_requirements
from repurpose.model.gpus import lease_gpus
from repurpose.model.loading import load_model
from repurpose.model.tokens import stop_token_ids
from repurpose.study.settings import EngineName, Pair, Role, Vllm

POOLED_BYTES = 1 << 28
"""Models up to this size are loaded once in every process."""


@contextmanager
def open_engine(
    name: EngineName,
    pair: Pair,
    role: Role,
    batch_size: int,
    max_length: int,
    options: Vllm | None = None,
    steered: bool = True,
    stop_ids: Sequence[int] | None = None,
) -> Iterator[Engine]:
    """Load a model of the pair into the named engine; at the end, or at SIGTERM, vLLM's processes are gone.

    Args:
        max_length: tokens of the longest text, prompt included.
        options: vLLM's own settings. steered: whether any row will be steered. stop_ids: see `open_transformers`.
    """
    if name == "transformers":
        yield share_work(open_transformers(pair, role, batch_size, stop_ids), pair, role)
        return
    from repurpose.model.engines.vllm import VllmEngine, leave_on_sigterm

    assert options is not None  # every study with this engine has them
    check_requirements(pair, options, max_length)
    lease_gpus(options.tensor_parallel, torch.cuda.device_count())
    check_memory(pair, options)
    compiled = options.compile_rollouts and not steered
    ends = stop_ids or stop_token_ids(pair, role)
    with leave_on_sigterm(), VllmEngine(pair, role, ends, batch_size, options, max_length, compiled) as engine:
        yield engine


def open_transformers(
    pair: Pair, role: Role, batch_size: int, stop_ids: Sequence[int] | None = None
) -> TransformersEngine:
    """Load a model of the pair into the engine `transformers`; its texts end at `stop_ids`, or else at its own."""
    return TransformersEngine(load_model(pair, role), stop_ids or stop_token_ids(pair, role), batch_size)


def share_work(engine: TransformersEngine, pair: Pair, role: Role) -> Engine:
    """The engine itself, or as many processes as it has threads where the model is small and on the CPU."""
    threads, small = torch.get_num_threads(), engine.model.get_memory_footprint() <= POOLED_BYTES
    if threads == 1 or not small or engine.model.device.type != "cpu":
        return engine
    one = partial(open_transformers, pair, role, engine.batch_size, engine.stop_ids.tolist())
    return PooledEngine(one, threads, engine.batch_size)
