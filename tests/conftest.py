"""Fixtures of all tests: a tiny random pair on the disk, its tokenizer, prompts, settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from tests.tiny import GRID, LAYERS, VECTOR_NAMES, WIDTH, StepMaker, make_byte_tokenizer, make_model, make_tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from repurpose.data.files import write_table
from repurpose.data.schemas import VECTORS
from repurpose.study.settings import Pair, StepSettings, canonical_json, read_study, step_settings

pytest_plugins = ["tests.time_limits"]
torch.set_num_threads(1)
hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one is no wrong result
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture
def model() -> LlamaForCausalLM:
    return make_model()


@pytest.fixture(scope="session")
def pair_folders(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> dict[str, str]:
    """Directories of a base and a reasoning model, as a study names them."""
    folder = tmp_path_factory.mktemp("pair")
    for seed, role in enumerate(("base", "reasoning")):
        make_model(seed, len(tokenizer)).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return {role: str(folder / role) for role in ("base", "reasoning")}


@pytest.fixture(scope="session")
def vector_files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """VECTORS tables of both readers, random but of the right shape."""
    folder, generator, paths = tmp_path_factory.mktemp("vectors"), np.random.default_rng(0), []
    for reader, norm in (("base", 6.0), ("reasoning", 8.0)):
        rows = [
            {
                "name": name,
                "reader": reader,
                "layer": layer,
                "window_start": start,
                "residual_norm": norm + layer,
                "vector": generator.standard_normal(WIDTH).astype(np.float32).tobytes(),
            }
            for name in VECTOR_NAMES
            for layer in range(LAYERS)
            for start in (-3, 0)
        ]
        paths.append(str(folder / f"{reader}.parquet"))
        write_table(paths[-1], rows, VECTORS, {})
    return paths


@pytest.fixture
def named_as_llama(tmp_path: Path) -> Pair:
    """A directory like that of R1-Distill-Llama: byte-level tokens in the file, Llama 2's class in the settings."""
    folder, tokenizer = tmp_path / "named-as-llama", make_byte_tokenizer()
    make_model(0, len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tokenizer_class": "LlamaTokenizerFast"}))
    return Pair(str(folder), str(folder))


@pytest.fixture
def make_step(pair_folders: dict[str, str]) -> StepMaker:
    """Return a function that makes a step's settings from a small study with some sections changed."""

    def make(step: str, *, sections: dict[str, Any] | None = None, **extra: Any) -> StepSettings:
        values: dict[str, Any] = {
            "study": "small",
            "pair": dict(pair_folders),
            "prompts": {"source": "organism", "train": 4, "heldout": 4},
            "rollouts": {"max_new_tokens": 12, "batch_size": 3},
            "activations": {"window_starts": [-3, 0], "window_length": 2, "batch_tokens": 64},
            "vectors": {"random_directions": 2, "covariance_directions": 2, "shuffles": 2, "split_halves": 4},
            "permutations": {"directions": 3, "passages": 2, "rivals": 2},
            "sweeps": {"grid": GRID},
            "selection": {"sweep": "grid"},
        }
        for name, section in (sections or {}).items():
            values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
        return StepSettings(step, canonical_json(step_settings(read_study(values), step, **extra)))

    return make


@pytest.fixture
def prompt_rows() -> list[dict[str, Any]]:
    """Return prompts of two categories and both splits."""
    questions = ["the sum of three and four", "add one", "so we add one more step to it now", "three and four"]
    return [
        {
            "prompt_id": f"p{number}",
            "category": ("sums", "steps")[number % 2],
            "split": ("train", "heldout")[number // 4],
            "messages": canonical_json([{"role": "user", "content": questions[number % 4]}]),
            "answer": "7",
        }
        for number in range(8)
    ]
