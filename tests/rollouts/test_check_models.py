"""What would stop a study later stops it before the first rollout, in one line, for directories as for hub names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import LAYERS, WIDTH, StepMaker
from transformers import GPT2Config, GPTNeoXConfig, PretrainedConfig, T5Config

from repurpose.rollouts.check_models import check_models
from repurpose.study.settings import canonical_json

Refused = Callable[..., str]
"""Tries the pair with another base model and other settings; returns what is said of it."""
SHAPE: dict[str, Any] = {"vocab_size": 64, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
UNKNOWN = "not a Llama-like model; its decoder layers are not known"
OTHERS: dict[str, tuple[PretrainedConfig, str]] = {
    "gpt2": (GPT2Config(vocab_size=64, n_embd=WIDTH, n_layer=LAYERS, n_head=4), f"GPT2LMHeadModel: {UNKNOWN}"),
    "gpt_neox": (GPTNeoXConfig(**SHAPE), f"GPTNeoXForCausalLM: {UNKNOWN}"),
    "t5": (T5Config(vocab_size=64, d_model=WIDTH, num_layers=LAYERS), "a t5 model writes no text"),
}


@pytest.fixture
def refused(make_step: StepMaker, prompt_rows: list[dict[str, Any]]) -> Refused:
    messages = [row["messages"] for row in prompt_rows]

    def check(messages: list[str] = messages, **sections: Any) -> str:
        with pytest.raises((ValueError, RuntimeError)) as problem:
            check_models(make_step("rollouts.check_models", sections=sections), messages, engine=False, machine=True)
        assert type(problem.value).__module__.startswith("repurpose"), "a traceback, not a line"
        assert "\n" not in str(problem.value)
        return str(problem.value)

    return check


def copy_model(pair_folders: dict[str, str], role: str, folder: Path) -> str:
    shutil.copytree(pair_folders[role], folder)
    return str(folder)


@pytest.mark.parametrize("kind", OTHERS)
def test_an_architecture_that_cannot_be_steered(
    refused: Refused, pair_folders: dict[str, str], tmp_path: Path, kind: str
) -> None:
    other, (config, said) = copy_model(pair_folders, "base", tmp_path / kind), OTHERS[kind]
    config.save_pretrained(other)
    assert refused(pair={"base": other}) == f"pair.base: {said}; give a model like Llama, Qwen, Mistral or Gemma"


@pytest.mark.parametrize("role", ["base", "reasoning"])
def test_a_generator_without_a_chat_template(
    refused: Refused, pair_folders: dict[str, str], tmp_path: Path, role: str
) -> None:
    other = copy_model(pair_folders, role, tmp_path / role)
    Path(other, "chat_template.jinja").unlink()
    said = refused(pair={role: other}, rollouts={"generator": role})
    assert said.startswith(f"pair.{role}: the tokenizer of {other} has no chat template for the prompts; add one")


def test_a_template_that_takes_no_such_prompt(refused: Refused, pair_folders: dict[str, str], tmp_path: Path) -> None:
    other = copy_model(pair_folders, "reasoning", tmp_path / "other")
    Path(other, "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    assert "has no use for a prompt: roles must alternate" in refused(pair={"reasoning": other})


def test_texts_that_are_longer_than_the_context_name_what_makes_them_so(refused: Refused, make_step: StepMaker) -> None:
    said = refused(rollouts={"max_new_tokens": 512})
    assert said.startswith("pair.base: it reads at most 512 tokens and the longest text may have 5")
    assert said.endswith("; lower rollouts.max_new_tokens")
    grid = make_step("rollouts.check_models").values["sweeps"]["grid"]
    assert refused(sweeps={"grid": {**grid, "max_new_tokens": 700}}).endswith("; lower sweeps.grid.max_new_tokens")
    long = canonical_json([{"role": "user", "content": "one more step " * 200}])
    assert "the longest text may have 6" in refused(messages=[long])
