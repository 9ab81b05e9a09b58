"""What would stop a study later stops it before the first rollout, in one line, for directories as for hub names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import LAYERS, WIDTH, StepMaker
from transformers import Gemma3Config, GPT2Config, OPTConfig, PretrainedConfig, T5Config

from repurpose.model.loading import ModelError, load_model
from repurpose.rollouts.check_models import check_models
from repurpose.study.settings import Pair, canonical_json

Refused = Callable[..., str]
"""Tries the pair with another base model and other settings; returns what is said of it."""
SHAPE: dict[str, Any] = {"vocab_size": 64, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
UNKNOWN = "its decoder layers are not known"
OTHERS: dict[str, tuple[PretrainedConfig, str]] = {
    "opt": (OPTConfig(ffn_dim=64, word_embed_proj_dim=WIDTH, **SHAPE), f"OPTForCausalLM: {UNKNOWN}"),
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
    found = refused(pair={"base": other})
    assert found == f"pair.base: {said}; give a model like Llama, Qwen, Gemma, GPT-NeoX or GPT-2"


TEXT = {**SHAPE, "head_dim": 8, "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 128}
SEEING = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
NAMED_OTHERWISE: dict[str, PretrainedConfig] = {
    "gpt2": GPT2Config(vocab_size=64, n_embd=WIDTH, n_layer=LAYERS, n_head=4, n_positions=128),
    "gemma3 with images": Gemma3Config(text_config=TEXT, vision_config={**SEEING, "image_size": 28, "patch_size": 14}),
}


@pytest.mark.parametrize("kind", NAMED_OTHERWISE)
def test_an_architecture_that_names_its_shape_otherwise(
    make_step: StepMaker, refused: Refused, pair_folders: dict[str, str], tmp_path: Path, kind: str
) -> None:
    pair = {role: copy_model(pair_folders, role, tmp_path / role) for role in pair_folders}
    for folder in pair.values():
        NAMED_OTHERWISE[kind].save_pretrained(folder)
    prompts = ['[{"role": "user", "content": "add one"}]']
    check_models(make_step("rollouts.check_models", sections={"pair": pair}), prompts, engine=False, machine=False)
    assert refused(prompts, pair=pair, activations={"layers": [3]}) == (
        "activations.layers: layer 3 is not in the base model; 0 to 2 are"
    )
    assert "it reads at most 128 tokens" in refused(prompts, pair=pair, rollouts={"max_new_tokens": 128})


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


LOOP = "{% for a in range(99999) %}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
        ("{{ messages[0]['content'] + 1 }}", "TypeError: "),
        ("{{ range(10 ** 9) }}", "OverflowError: "),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError: "),
        ("{% if %}", "Expected an expression, got 'end of statement block'"),
        ("{{ messages.nobody.content }}", "'list object' has no attribute 'nobody'"),
        (f"{LOOP * 4}{'{% endfor %}' * 4}", "it did not end within 1 seconds, or took too much memory"),
    ],
    ids=["number", "type", "range", "depth", "syntax", "undefined", "endless"],
)
def test_a_template_that_fails_or_never_ends(
    refused: Refused,
    pair_folders: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    template: str,
    said: str,
) -> None:
    monkeypatch.setattr("repurpose.model.template_checks.SECONDS", 1)
    other = copy_model(pair_folders, "reasoning", tmp_path / "other")
    Path(other, "chat_template.jinja").write_text(template)
    assert f"the chat template of {other} has no use for a prompt: {said}" in refused(pair={"reasoning": other})


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "cut in the numbers": lambda content: content[:-9],
    "cut in the header": lambda content: content[:100],
    "empty": lambda _: b"",
    "a header of 2**63 bytes": lambda content: (2**63).to_bytes(8, "little") + content[8:],
    "no header": lambda content: content[:8] + b"x" + content[9:],
    "another format": lambda _: b"weights",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_weights(refused: Refused, pair_folders: dict[str, str], tmp_path: Path, damage: str) -> None:
    other = copy_model(pair_folders, "base", tmp_path / "other")
    file = Path(other, "model.safetensors")
    file.write_bytes(DAMAGED[damage](file.read_bytes()))
    assert refused(pair={"base": other}).startswith(f"pair.base: {file} is no whole safetensors file (")
    with pytest.raises(ModelError, match=r"^pair\.base: "):
        load_model(Pair(other, other), "base")


def with_key(key: str, value: Any) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps({**json.loads(content), key: value}).encode()


def whole(content: bytes) -> Callable[[bytes], bytes]:
    return lambda _: content


HOSTILE_FILES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    **{
        f"{file} {kind}": (file, whole(content))
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
        for kind, content in {
            "list": b"[]",
            "null": b"null",
            "deep": b"[" * 100_000,
            "cut": b"{",
            "no text": b"\xff",
        }.items()
    },
    "special tokens": ("special_tokens_map.json", whole(b"[]")),
    "added tokens": ("added_tokens.json", whole(b"[" * 100_000)),
    "no size": ("config.json", with_key("hidden_size", None)),
    "no vocabulary": ("config.json", with_key("vocab_size", -1)),
    "no heads": ("config.json", with_key("num_attention_heads", 0)),
    "no dtype": ("config.json", with_key("dtype", [])),
    "no kind": ("config.json", with_key("model_type", [[]])),
    "no code": ("config.json", with_key("auto_map", 3)),
    "no end": ("generation_config.json", with_key("eos_token_id", [["a"]])),
    "deep header": ("model.safetensors", whole((100_000).to_bytes(8, "little") + b"[" * 100_000)),
}


@pytest.mark.faults
@pytest.mark.parametrize("kind", HOSTILE_FILES)
def test_a_hostile_file_of_a_model_is_one_line(
    refused: Refused, pair_folders: dict[str, str], tmp_path: Path, kind: str
) -> None:
    """What transformers and its libraries raise of it is anything; 98 of 253 such files ended in a traceback."""
    other = copy_model(pair_folders, "base", tmp_path / "other")
    name, change = HOSTILE_FILES[kind]
    file = Path(other, name)
    file.write_bytes(change(file.read_bytes() if file.exists() else b""))
    said = refused(pair={"base": other})
    assert said.startswith("pair.base: ") and said.isprintable() and len(said) < 1_200


def test_texts_that_are_longer_than_the_context_name_what_makes_them_so(refused: Refused, make_step: StepMaker) -> None:
    said = refused(rollouts={"max_new_tokens": 512})
    assert said.startswith("pair.base: it reads at most 512 tokens and the longest text may have 5")
    assert said.endswith("; lower rollouts.max_new_tokens")
    grid = make_step("rollouts.check_models").values["sweeps"]["grid"]
    assert refused(sweeps={"grid": {**grid, "max_new_tokens": 700}}).endswith("; lower sweeps.grid.max_new_tokens")
    long = canonical_json([{"role": "user", "content": "one more step " * 200}])
    assert "the longest text may have 6" in refused(messages=[long])
