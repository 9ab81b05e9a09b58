"""Hub names, loaded from a hub on loopback that speaks the real protocol: revisions, gated models, tokens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.hub import Hub, Repository
from tests.tiny import StepMaker

from repurpose.data.files import read_table, write_table
from repurpose.data.schemas import PROMPTS
from repurpose.study.settings import Pair

BASE_COMMIT, REASONING_COMMIT = "a" * 40, "b" * 40
TOKEN = "hf_has-accepted-the-licence"
Command = Callable[..., subprocess.CompletedProcess[str]]
"""Runs the command of a step on a pair of hub names: `command(step, *arguments, token=..., **changes of the pair)`."""


@pytest.fixture
def hub(pair_folders: dict[str, str]) -> Iterator[Hub]:
    """A gated base model and an open reasoning model, as in the published study."""
    base = Repository(Path(pair_folders["base"]), BASE_COMMIT, gated=True)
    reasoning = Repository(Path(pair_folders["reasoning"]), REASONING_COMMIT, revisions=("main", "v1"))
    with Hub({"meta/base": base, "deep/reasoning": reasoning}, TOKEN) as hub:
        yield hub


@pytest.fixture
def command(hub: Hub, make_step: StepMaker, tmp_path: Path, prompt_rows: list[dict[str, Any]]) -> Command:
    write_table(tmp_path / "prompts.parquet", prompt_rows, PROMPTS, {})

    def run(step: str, *more: str, token: str | None = None, **extra: Any) -> subprocess.CompletedProcess[str]:
        sections = extra.pop("sections", {})
        values = make_step(step, sections=sections, **extra).values
        names = {"base": "meta/base", "reasoning": "deep/reasoning", **sections.get("pair", {})}
        values = {**values, "pair": {**values["pair"], **names}}
        arguments = ["-m", f"repurpose.{step}", "--settings", json.dumps(values)]
        arguments += ["--prompts", str(tmp_path / "prompts.parquet"), *more]
        environment = hub.environment(tmp_path / "cache", token)
        return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)

    return run


def test_a_gated_base_model_is_named_before_the_reasoning_model_writes(hub: Hub, command: Command) -> None:
    done = command("rollouts.check_models")
    assert done.returncode == 1 and done.stderr.strip() == (
        "repurpose rollouts.check_models: pair.base: cannot load meta/base: You are trying to access a gated repo. "
        "Accept its licence on the hub, then name your token in the environment variable HF_TOKEN."
    )
    assert ("HEAD", f"meta/base/resolve/{BASE_COMMIT}/config.json", 401) in hub.asked
    assert not [path for _, path, _ in hub.asked if path.endswith(".safetensors")]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"activations": {"layers": [1, 3]}}, "activations.layers: layer 3 is not in the base model; 0 to 2 are"),
        (
            {"rollouts": {"max_new_tokens": 512}},
            "pair.base: it reads at most 512 tokens and the longest",
        ),
    ],
)
def test_layers_and_lengths_of_hub_models_are_checked(command: Command, sections: dict[str, Any], said: str) -> None:
    done = command("rollouts.check_models", token=TOKEN, sections=sections)
    assert done.returncode == 1 and f"repurpose rollouts.check_models: {said}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_token_opens_it_and_is_written_nowhere(hub: Hub, command: Command, tmp_path: Path) -> None:
    at = {"pair": {"reasoning_revision": "v1"}}
    done = command("rollouts.sampling", "--output", str(tmp_path / "0.parquet"), token=TOKEN, sections=at, shard=0)
    assert done.returncode == 0, done.stderr
    assert read_table(tmp_path / "0.parquet").height == 4  # half of the prompts
    weights = [asked for asked in hub.asked if asked[1].endswith(".safetensors") and asked[0] == "GET"]
    assert weights == [("GET", f"deep/reasoning/resolve/{REASONING_COMMIT}/model.safetensors", 200)]
    assert TOKEN not in done.stderr and TOKEN.encode() not in (tmp_path / "0.parquet").read_bytes()


EACH = """
import json, os, sys
from repurpose.model.pair_checks import check_pair
from repurpose.model.tokens import load_tokenizer
from repurpose.study.settings import Pair
for token, pair, text in json.loads(sys.argv[1]):
    os.environ["HF_TOKEN"] = token
    try:
        check_pair(Pair(**pair))
        tokenizer = load_tokenizer(Pair(**pair), "base")
        print(tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)))
    except Exception as problem:
        print(type(problem).__name__, problem)
"""


def test_what_a_hub_refuses_or_has_not_is_named_in_a_line(hub: Hub, tmp_path: Path, named_as_llama: Pair) -> None:
    hub.repositories["my/copy"] = Repository(Path(named_as_llama.base), "c" * 40)
    hub.unknown = "hf_mistyped"
    named = {"base": "meta/base", "reasoning": "deep/reasoning"}
    cases = [
        ("hf_of-somebody-else", named, "gated repo. Accept its licence on the hub"),
        (
            TOKEN,
            {**named, "reasoning": "deep/nothing"},
            "pair.reasoning: cannot load deep/nothing: deep/nothing is not",
        ),
        (TOKEN, {**named, "reasoning_revision": "v2"}, "pair.reasoning: cannot load deep/reasoning: v2 is not a valid"),
        ("hf_mistyped", named, "401 Unauthorized"),
        (TOKEN, {"base": "my/copy", "reasoning": "my/copy"}, "Wait, 3 and 4"),  # with its spaces
    ]
    asked = json.dumps([(token, pair, "Wait, 3 and 4") for token, pair, _ in cases])
    environment = hub.environment(tmp_path / "cache")
    done = subprocess.run([sys.executable, "-c", EACH, asked], env=environment, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert [said in line for line, (*_, said) in zip(lines, cases, strict=True)] == [True] * len(cases), done.stdout
    assert [line.startswith("ModelError pair.") for line in lines] == [True, True, True, True, False]
    assert "HF_TOKEN" in lines[0] and "HF_TOKEN" in lines[1] and "HF_TOKEN" in lines[3]
    assert {status for _, path, status in hub.asked if path.startswith("meta/base/resolve")} == {401, 403, 200}


DIGESTS = """
from repurpose.model.loading import load_model, model_digest
from repurpose.study.settings import Pair
pair = Pair("deep/reasoning", "deep/reasoning", base_revision="v1")
print(model_digest(pair, "base"), model_digest(pair, "reasoning"))
load_model(pair, "base")
print(model_digest(pair, "base"), model_digest(pair, "reasoning"))
"""


def test_a_model_on_a_hub_is_its_commit_whatever_was_loaded_before(hub: Hub, tmp_path: Path) -> None:
    """Or a killed job would find other keys in its journal than it wrote."""

    def digests() -> list[str]:
        command = [sys.executable, "-c", DIGESTS]
        done = subprocess.run(command, env=hub.environment(tmp_path / "cache"), capture_output=True, text=True)
        return done.stdout.splitlines()

    before, loaded = digests()
    assert before == loaded and len(set(before.split())) == 2
    hub.repositories["deep/reasoning"].commit = "c" * 40
    moved, _ = digests()
    assert not set(moved.split()) & set(before.split())
