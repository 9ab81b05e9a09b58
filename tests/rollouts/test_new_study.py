"""`repurpose new-study`: what it writes for a pair that no study of ours uses, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from tests.hub import Hub, Repository
from tests.tiny import SPECIAL, from_source, make_tokenizer
from tokenizers import Tokenizer
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, OPTConfig, PreTrainedTokenizerFast

from repurpose.rollouts.new_study import main
from repurpose.study.pair_files import check_models
from repurpose.study.plan import plan_study, read_shape
from repurpose.study.settings import Study, read_study
from repurpose.study.study_file import load_study, load_values

ROOT = Path(__file__).parents[2]
LAYERS, WIDTH, CONTEXT = 6, 32, 128
WORDS = ("scratchĠthat", "that", "perhaps", "wait", "hmm", "so")
REVISIONS = {"base": "a" * 40, "reasoning": "b" * 40}


def make_words() -> PreTrainedTokenizerFast:
    """A tokenizer of few words, one of them a phrase by which the lexicon knows backtracking."""
    content = json.loads(make_tokenizer().backend_tokenizer.to_str())
    special = [token["content"] for token in content["added_tokens"]]
    pieces = [*special, ".", "Ċ", "Wait", "Hmm", *(f"Ġ{word}" for word in WORDS)]
    content["model"]["vocab"] = {piece: number for number, piece in enumerate(pieces)}
    for number, token in enumerate(content["added_tokens"]):
        token["id"] = number
    plain = make_tokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        chat_template=plain.chat_template,
        bos_token=plain.bos_token,
        eos_token=plain.eos_token,
        pad_token=plain.pad_token,
    )


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two GPT-NeoX models, of which the base has padding in its embedding, and a file of prompts."""
    folder, tokenizer = tmp_path_factory.mktemp("strangers"), make_words()
    for seed, (role, padding) in enumerate((("Their Base", 5), ("Their-Reasoner-0.1B", 0))):
        torch.manual_seed(seed)
        config = GPTNeoXConfig(
            vocab_size=len(tokenizer) + padding,
            hidden_size=WIDTH,
            intermediate_size=64,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            initializer_range=0.1,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=False,
        )
        model = GPTNeoXForCausalLM(config)
        with torch.no_grad():  # one number of the residual stream, always there, speaks against all special tokens
            model.gpt_neox.final_layer_norm.bias[0] = 10
            head = model.get_output_embeddings().weight
            head[:, 0] = 0
            head[: len(SPECIAL), 0] = -3
        model.save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    texts = [f"so perhaps that{' so wait that' * more}" for more in range(12)]
    lines = [{"category": "ab"[n % 2], "prompt": text, "answer": 7} for n, text in enumerate(texts)]
    (folder / "prompts.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def call(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, as a user gives it in a folder of their own."""
    command = [sys.executable, "-c", "from repurpose.study.cli import main; main()", "new-study", *map(str, arguments)]
    outside = {**from_source(), **environment}
    return subprocess.run(command, cwd=folder, env=outside, capture_output=True, text=True)


Command = Callable[..., tuple[str, str]]
"""Gives the command in the strangers' folder; returns what it prints and, where it is refused, what is said of that."""


@pytest.fixture
def command(strangers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(strangers)
    monkeypatch.setenv("REPURPOSE_ROOT", os.path.relpath(ROOT, strangers))

    def run(*arguments: object) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["new-study", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            return capsys.readouterr().out, str(end.code)
        return capsys.readouterr().out, ""

    return run


def ask(command: Command, output: Path, *more: str) -> Study:
    """What is written for the strangers, read as a study."""
    printed, refused = command("Their Base", "Their-Reasoner-0.1B", "prompts.jsonl", "--output", output, *more)
    assert not refused, refused
    assert printed.startswith(f"{output}\n") and f"make plan CONFIG={output}" in printed
    return read_study(load_values(output))


def test_a_study_fits_its_pair_and_prompts(command: Command, strangers: Path, tmp_path: Path) -> None:
    study = ask(command, tmp_path / "mine.yaml")
    assert study.study == "their-reasoner-0-1b"
    assert study.pair.base == str(strangers / "Their Base") and study.pair.dtype == "float32"
    assert (study.prompts.train, study.prompts.heldout) == (10, 2)
    assert study.activations.layers == (1, 2, 3, 4, 5)
    longest = 4 + 3 + 3 * 11  # of the chat format, of the first words, of those that the last prompt repeats
    assert study.rollouts.max_new_tokens == study.sweeps["two_by_two"].max_new_tokens == CONTEXT - longest
    assert {sweep.magnitudes.unit for sweep in study.sweeps.values()} == {"dose", "selected"}
    assert study.keywords == ("wait", "hmm")


def test_what_is_written_says_what_to_change(command: Command, tmp_path: Path) -> None:
    ask(command, tmp_path / "mine.yaml")
    text = (tmp_path / "mine.yaml").read_text()
    assert text.count("CHANGE") >= 4 and "$" not in text.partition("\n")[2]
    schema = text.partition("$schema=")[2].partition("\n")[0]
    assert (tmp_path / schema).resolve() == ROOT / "workflow" / "schemas" / "study.schema.json"
    study = load_study(tmp_path / "mine.yaml")
    check_models(study)
    assert len(plan_study(study, read_shape(study))) > 4


def test_a_language_model_and_other_words_may_be_named(command: Command, tmp_path: Path) -> None:
    named = ("--annotator", "Some/Model 7B", "--base-url", "http://127.0.0.1:9/v1", "--keywords", "perhaps", "Oh")
    study = ask(command, tmp_path / "mine.yaml", "--name", "mine", *named)
    assert (study.study, study.keywords) == ("mine", ("perhaps",))
    (llm,) = [one.llm for one in study.labels.annotators.values() if one.llm]
    assert (llm.endpoint.model, llm.endpoint.base_url) == ("Some/Model 7B", "http://127.0.0.1:9/v1")
    assert study.labels.annotator == "some-model-7b" and study.labels.steered_prompts == 2


@pytest.fixture(scope="session")
def faulty(strangers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what is refused."""
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "empty").mkdir()
    OPTConfig(num_hidden_layers=LAYERS, hidden_size=WIDTH, num_attention_heads=4).save_pretrained(folder / "opt")
    for file in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (folder / "opt" / file).write_bytes((strangers / "Their Base" / file).read_bytes())
    (folder / "broken.jsonl").write_text('{"category": "a", "prompt": "b"}\n{"category": "a"}\n')
    (folder / "one.jsonl").write_text('{"category": "a", "prompt": "b"}\n')
    (folder / "long.jsonl").write_text(2 * (json.dumps({"category": "a", "prompt": 120 * " so"}) + "\n"))
    (folder / "there.yaml").write_text("")
    return folder


REFUSED = {
    "no folder": ({"base": "/nowhere/base"}, "pair.base: no model at /nowhere/base; give a directory with config.json"),
    "no model": ({"reasoning": "{faulty}/empty"}, "pair.reasoning: {faulty}/empty has no config.json, so it is no mo"),
    "architecture": ({"base": "{faulty}/opt"}, "pair.base: OPTForCausalLM: its decoder layers are not known; give a"),
    "no prompts": ({"prompts": "none.jsonl"}, "prompts.source: no file at none.jsonl; give "),
    "bad prompts": ({"prompts": "{faulty}/broken.jsonl"}, "prompts.source: broken.jsonl line 2: prompt is missing"),
    "one prompt": ({"prompts": "{faulty}/one.jsonl"}, "prompts.source: 1 prompts are too few; give at least 2"),
    "long prompts": ({"prompts": "{faulty}/long.jsonl"}, "prompts.source: the longest prompt has 124 of the 128 token"),
    "there already": ({"--output": "{faulty}/there.yaml"}, "--output: {faulty}/there.yaml is there already; give ano"),
    "no place": ({"--output": "{faulty}/none/x.yaml"}, "--output: there is no folder {faulty}/none"),
    "bad name": ({"--name": "my study"}, "study: 'my study' may hold only letters"),
    "keywords": ({"--keywords": "otherwise"}, "keywords: no token of the model is one of otherwise; give one that"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_one_line_and_writes_nothing(
    command: Command, faulty: Path, tmp_path: Path, case: str
) -> None:
    changes, said = REFUSED[case]
    changes = {key: value.replace("{faulty}", str(faulty)) for key, value in changes.items()}
    plain = {"base": "Their Base", "reasoning": "Their-Reasoner-0.1B", "prompts": "prompts.jsonl"}
    asked = {**plain, "--output": str(tmp_path / "mine.yaml"), **changes}
    options = [part for key, value in asked.items() if key.startswith("--") for part in (key, value)]
    printed, refused = command(*(asked[key] for key in plain), *options)
    assert refused.startswith("repurpose new-study: " + said.replace("{faulty}", str(faulty)))
    assert not printed and "\n" not in refused and not (tmp_path / "mine.yaml").exists()


@pytest.fixture
def hub(strangers: Path) -> Iterator[Hub]:
    folders = {"base": strangers / "Their Base", "reasoning": strangers / "Their-Reasoner-0.1B"}
    with Hub({f"they/{role}": Repository(folder, REVISIONS[role]) for role, folder in folders.items()}, "") as hub:
        yield hub


@pytest.mark.slow
def test_hub_names_are_pinned_to_their_commits(hub: Hub, strangers: Path, tmp_path: Path) -> None:
    there = hub.environment(tmp_path / "cache")
    done = call(strangers, "they/base", "they/reasoning", "prompts.jsonl", "--output", tmp_path / "x.yaml", **there)
    assert done.returncode == 0, done.stderr
    pair = load_values(tmp_path / "x.yaml")["pair"]
    assert pair["base"] == "they/base" and {role: pair[f"{role}_revision"] for role in REVISIONS} == REVISIONS
    assert not [path for _, path, _ in hub.asked if path.endswith(".safetensors")]


@pytest.mark.slow  # three quarters of a minute in which the library tries again
def test_a_hub_that_cannot_be_reached_is_one_line(hub: Hub, strangers: Path, tmp_path: Path) -> None:
    there = {**hub.environment(tmp_path / "cache"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = call(strangers, "they/base", "they/reasoning", "prompts.jsonl", "--output", tmp_path / "x.yaml", **there)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("repurpose new-study: pair.base: cannot load they/base: ")


@pytest.mark.workflow
@pytest.mark.slow
def test_the_study_runs_through_every_rule(command: Command, tmp_path: Path) -> None:
    """At smaller counts, as somebody who tries it first would set them."""
    ask(command, tmp_path / "mine.yaml", "--name", "mine")
    values = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    values["activations"]["layers"] = [1, 3]
    values["sweeps"]["selection"] |= {"prompts": 3, "max_new_tokens": 24}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    run = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "--configfile", "small.yaml"]
    outside = {**os.environ, "REPURPOSE_PYTHON_MAIN": sys.executable}
    done = subprocess.run([*run, "--cores", "2"], cwd=tmp_path, env=outside, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert (tmp_path / "results" / "mine" / "report.html").is_file()
    assert len((tmp_path / "results" / "mine" / "claims.csv").read_text().splitlines()) > 10
