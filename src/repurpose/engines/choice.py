"""Which engine runs a model of the pair: one process, or several that share the batches of a small model."""

from __future__ import annotations

from functools import partial

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from repurpose.engines import Engine
from repurpose.engines.pool import PooledEngine
from repurpose.engines.transformers import TransformersEngine
from repurpose.models import load_model, load_tokenizer
from repurpose.settings import Pair, Role

POOLED_BYTES = 1 << 28
"""Models up to this size are loaded once in every process."""


def open_engine(pair: Pair, role: Role, batch_size: int) -> TransformersEngine:
    """Load a model of the pair into an engine."""
    model = load_model(pair, role)
    return TransformersEngine(model, stop_token_ids(model, load_tokenizer(pair, role)), batch_size)


def stop_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that end a text, from the tokenizer and the model's generation settings."""
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    listed = configured if isinstance(configured, list) else [configured]
    return sorted({i for i in [*listed, tokenizer.eos_token_id] if i is not None})


def share_work(engine: TransformersEngine, pair: Pair, role: Role) -> Engine:
    """The engine itself, or as many processes as it has threads where the model is small and on the CPU."""
    threads, small = torch.get_num_threads(), engine.model.get_memory_footprint() <= POOLED_BYTES
    if threads == 1 or not small or engine.model.device.type != "cpu":
        return engine
    return PooledEngine(partial(open_engine, pair, role, engine.batch_size), threads, engine.batch_size)
