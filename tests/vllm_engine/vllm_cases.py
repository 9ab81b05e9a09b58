"""Small models on the disk, requests under every condition, and engines that run them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, GemmaConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from repurpose.model.engines import Request, Sampling
from repurpose.model.engines.choice import open_transformers
from repurpose.model.engines.parity import Parity, compare
from repurpose.model.engines.vllm import VllmEngine
from repurpose.model.loading import load_model
from repurpose.model.steer import Operation, Positions, Steer
from repurpose.model.tokens import stop_token_ids
from repurpose.study.settings import Pair, Role, Vllm

ORGANISM = Path(__file__).parents[2] / "resources" / "organism"
CONFIGS = {
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
    "mistral": MistralConfig,
    "gemma": GemmaConfig,
}
VOCABULARY, WIDTH, LAYERS = 160, 128, 3
GREEDY = Sampling(0.0, 24)
STOP = 1


def organism() -> Pair:
    return Pair(str(ORGANISM / "base"), str(ORGANISM / "reasoning"))


def random_pair(kind: str, folder: Path) -> Pair:
    """A pair of random models of one architecture, with weights large enough that they do not repeat one token."""
    shape = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": 256, "num_hidden_layers": LAYERS}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 1024}
    ends = {"bos_token_id": 0, "eos_token_id": STOP, "pad_token_id": STOP, "tie_word_embeddings": kind == "gemma"}
    size = 0.05 if kind == "gemma" else 0.3
    extra = {"sliding_window": None} if kind == "mistral" else {}
    for seed, role in enumerate(("base", "reasoning")):
        torch.manual_seed(seed)
        config = CONFIGS[kind](**shape, **heads, **ends, **extra, initializer_range=size)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder / role)
    return Pair(str(folder / "base"), str(folder / "reasoning"))


def open_vllm(
    pair: Pair, role: Role, batch_size: int = 256, length: int = 320, compiled: bool = False, **more: Any
) -> VllmEngine:
    options = more.pop("options", Vllm())
    return VllmEngine(pair, role, stop_ids(pair, role), batch_size, options, length, compiled, **more)


def stop_ids(pair: Pair, role: Role) -> list[int]:
    if not (Path(getattr(pair, role)) / "tokenizer.json").exists():
        return [STOP]
    return stop_token_ids(pair, role)


def make_steer(operation: Operation, width: int, layer: int, magnitude: float, positions: Positions) -> Steer:
    vector = np.random.default_rng([layer, width]).standard_normal(width).astype(np.float32)
    unit = vector / np.linalg.norm(vector) if operation in ("add", "ablate") else None
    return Steer(f"{operation} at {layer} x {magnitude}, {positions}", operation, layer, magnitude, unit, positions)


def conditions(width: int, layers: int, norm: float) -> list[Steer | None]:
    """None, and every operation at the first, a middle and the last layer, both ways, at several magnitudes."""
    found: list[Steer | None] = [None]
    for positions in ("all", "generated"):
        for layer in sorted({0, layers // 2, layers - 1}):
            for dose in (-1.0, 0.25, 1.0, 3.0):
                found.append(make_steer("add", width, layer, dose * norm, positions))
        for operation in ("noise", "self", "ablate"):
            found.append(make_steer(operation, width, layers // 2, norm, positions))
    return found


def mixed_requests(pair: Pair, prompts: Sequence[Sequence[int]], norm: float) -> list[Request]:
    config = AutoModelForCausalLM.from_pretrained(pair.base).config
    steers = conditions(config.hidden_size, config.num_hidden_layers, norm)
    return [Request(list(p), 100 + i, steer) for i, p in enumerate(prompts) for steer in steers]


def random_prompts(count: int, vocabulary: int = VOCABULARY, longest: int = 40) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [[0, *rng.integers(2, vocabulary, rng.integers(3, longest)).tolist()] for _ in range(count)]


def compare_with_transformers(
    engine: VllmEngine, pair: Pair, role: Role, requests: Sequence[Request], tolerance: float = 1e-3
) -> Parity:
    scored = engine.generate_scored(requests, GREEDY)
    return compare(load_model(pair, role), requests, scored, tolerance)


def transformers_tokens(pair: Pair, role: Role, requests: Sequence[Request]) -> list[list[int]]:
    engine = open_transformers(pair, role, 64)
    return [done.token_ids for done in engine.generate(requests, GREEDY)]


def group(leader: int) -> list[str]:
    """Processes of a session that are alive."""
    found = subprocess.run(["ps", "-o", "stat=,args=", "-s", str(leader)], capture_output=True, text=True)
    return [line for line in found.stdout.splitlines() if not line.startswith("Z")]


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Look again and again until something is true; whether it became so in time."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.2)
    return true()
