"""The workflow's commands with vLLM as the engine: from a hub, what they refuse in one line, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.hub import Hub, Repository
from tests.tiny import StepMaker, from_source, make_model
from transformers import PreTrainedTokenizerFast
from vllm_cases import group, wait_until

from repurpose.data.files import read_table, write_table
from repurpose.data.schemas import PROMPTS

TOKEN = "hf_has-accepted-the-licence"
OPTIONS = {"parity_prompts": 2, "parity_tokens": 4}
Command = Callable[..., list[str]]
"""Makes the command of a step: `command(step, base, reasoning, **more)`."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> dict[str, str]:
    """The small pair, with heads as wide as vLLM's kernels for CPUs want them."""
    folder = tmp_path_factory.mktemp("pair")
    for seed, role in enumerate(("base", "reasoning")):
        make_model(seed, len(tokenizer), head_dim=32).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return {role: str(folder / role) for role in ("base", "reasoning")}


@pytest.fixture
def command(make_step: StepMaker, tmp_path: Path, prompt_rows: list[dict[str, Any]]) -> Command:
    write_table(tmp_path / "prompts.parquet", prompt_rows, PROMPTS, {})

    def make(step: str, base: str, reasoning: str, output: str = "out", processes: int = 1, **more: Any) -> list[str]:
        pair = {"base": base, "reasoning": reasoning, "parameters": more.pop("parameters", None)}
        options = {**OPTIONS, "tensor_parallel": processes, "parity_tolerance": more.pop("parity_tolerance", None)}
        values = make_step(step, sections={"engine": "vllm", "vllm": options}, **more).values
        values = {**values, "pair": {**values["pair"], **pair}}
        files = ["--prompts", str(tmp_path / "prompts.parquet"), "--output", str(tmp_path / output)]
        return [sys.executable, "-m", f"repurpose.{step}", "--settings", json.dumps(values), *files]

    return make


@pytest.fixture
def hub(folders: dict[str, str]) -> Iterator[Hub]:
    base = Repository(Path(folders["base"]), "a" * 40, gated=True)
    with Hub({"meta/base": base, "deep/reasoning": Repository(Path(folders["reasoning"]), "b" * 40)}, TOKEN) as hub:
        yield hub


def said(command: list[str], environment: dict[str, str]) -> str:
    """The one line that a refused command says."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and len(lines) == 1, done.stderr
    return lines[0]


def test_a_pair_on_a_hub_writes_what_the_same_pair_in_a_directory_writes(
    hub: Hub, folders: dict[str, str], command: Command, tmp_path: Path
) -> None:
    """Configuration, tokenizer and weights come from the hub; the gated base model is asked for before any weights."""
    named = command("rollouts.sampling", "meta/base", "deep/reasoning", "hub.parquet", shard=0)
    remedy = "gated repo. Accept its licence on the hub, then name your token in the environment variable HF_TOKEN."
    assert said(named, hub.environment(tmp_path / "cache")).endswith(remedy)
    assert not [path for _, path, _ in hub.asked if path.endswith(".safetensors")]
    subprocess.run(named, env=hub.environment(tmp_path / "cache", TOKEN), check=True)
    subprocess.run(
        command("rollouts.sampling", *folders.values(), "folder.parquet", shard=0), env=from_source(), check=True
    )
    assert ("GET", f"deep/reasoning/resolve/{'b' * 40}/model.safetensors", 200) in hub.asked
    hub_rows, folder_rows = (read_table(tmp_path / f"{name}.parquet") for name in ("hub", "folder"))
    assert hub_rows["token_ids"].to_list() == folder_rows["token_ids"].to_list()
    assert hub_rows.height == 4 and set(hub_rows["model"]) == {"deep/reasoning"}


LIMITED = 'ulimit -v 6738281; exec taskset -c "$0" "$@"'  # with few threads torch itself has room enough


def test_too_little_memory_is_said_before_anything_is_loaded(folders: dict[str, str], command: Command) -> None:
    rollouts = command("rollouts.sampling", *folders.values(), parameters=0.26, shard=0)
    limited = ["bash", "-c", LIMITED, str(min(os.sched_getaffinity(0))), *rollouts]
    assert "engine: the pair needs 7,120 MB of memory, this job may take 6,899 MB" in said(limited, from_source())


def test_an_architecture_that_is_not_served_is_named(folders: dict[str, str], command: Command, tmp_path: Path) -> None:
    config = json.loads(Path(folders["base"], "config.json").read_text())
    other = tmp_path / "other"
    shutil.copytree(folders["base"], other)
    (other / "config.json").write_text(json.dumps({**config, "architectures": ["GPTNeoXForCausalLM"]}))
    line = said(command("rollouts.sampling", str(other), folders["reasoning"], shard=0), from_source())
    assert "pair.base: GPTNeoXForCausalLM cannot be steered in vLLM; LlamaForCausalLM, Qwen2" in line


def test_sigterm_ends_the_gate_with_its_engine(
    folders: dict[str, str], command: Command, vector_files: list[str], tmp_path: Path
) -> None:
    gate = command("steering.check_parity", *folders.values(), "parity.json", processes=2, target="reasoning")
    gate += ["--vectors", *vector_files]
    with subprocess.Popen(gate, env=from_source(), start_new_session=True) as run:
        assert wait_until(lambda: any("VLLM::Worker_TP1" in line for line in group(run.pid)), 120)
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == -signal.SIGTERM
        assert wait_until(lambda: not group(run.pid), 120)  # a worker that was only starting ends late
    assert not (tmp_path / "parity.json").exists()


def test_a_gate_that_finds_a_difference_writes_no_proof(
    folders: dict[str, str], command: Command, vector_files: list[str], tmp_path: Path
) -> None:
    """What sweeps wait for is not there, so none starts; engines that add in another order differ by some 1e-6."""
    strict = command(
        "steering.check_parity", *folders.values(), "parity.json", target="reasoning", parity_tolerance=1e-12
    )
    done = subprocess.run([*strict, "--vectors", *vector_files], env=from_source(), capture_output=True, text=True)
    assert done.returncode == 1 and not (tmp_path / "parity.json").exists()
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("repurpose steering.check_parity: vLLM and transformers differ under condition "), (
        done.stderr
    )
    assert line.endswith("(tolerance 1e-12); nothing was steered")
