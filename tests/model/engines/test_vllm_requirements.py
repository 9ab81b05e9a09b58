"""What is wrong with an engine, a machine or a pair is said in one line, before any weights are loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import StepMaker, from_source

from repurpose.data.files import write_table
from repurpose.data.schemas import PROMPTS
from repurpose.model.engines.vllm_requirements import (
    ARCHITECTURES,
    VERSION,
    check_architectures,
    check_memory,
    check_requirements,
    check_version,
    installed_version,
)
from repurpose.model.loading import ModelError
from repurpose.study.memory import memory_limit
from repurpose.study.settings import Pair, Vllm


def change_config(folders: dict[str, str], target: Path, **changes: Any) -> Pair:
    """The pair with another configuration of the reasoning model."""
    config = json.loads(Path(folders["reasoning"], "config.json").read_text())
    target.mkdir()
    (target / "config.json").write_text(json.dumps({**config, **changes}))
    return Pair(folders["base"], str(target))


def test_a_good_pair_passes(pair_folders: dict[str, str]) -> None:
    pair = Pair(**pair_folders)
    check_architectures(pair)
    check_memory(pair, Vllm())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": ["GPTNeoXForCausalLM"]}, "pair.reasoning: GPTNeoXForCausalLM cannot be steered in vLLM; Ll"),
        ({"architectures": None}, "pair.reasoning: unknown cannot be steered in vLLM"),
        ({"layer_types": ["full_attention", "full_attention", "sliding_attention"]}, "with sliding-window attention"),
    ],
)
def test_an_architecture_that_is_not_served_is_named(
    pair_folders: dict[str, str], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        check_architectures(change_config(pair_folders, tmp_path / "other", **changes))
    assert "LlamaForCausalLM" in ARCHITECTURES


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without cards says")
def test_a_large_model_without_a_card_is_refused(pair_folders: dict[str, str]) -> None:
    pair = Pair(**pair_folders, dtype="bfloat16", parameters=8.03)
    with pytest.raises(ModelError, match=r"the pair has 16.1 GB of weights in bfloat16 and this machine has no NVIDIA"):
        check_memory(pair, Vllm())


class Card:
    total_memory = 24 * 2**30


@pytest.fixture
def one_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has one card with 24 GB."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: Card)


@pytest.mark.usefixtures("one_card")
def test_a_card_that_is_too_small_is_refused_with_what_is_needed(pair_folders: dict[str, str]) -> None:
    pair = Pair(**pair_folders, dtype="bfloat16", parameters=32.0)
    with pytest.raises(ModelError, match=r"needs 80,800 MB on each of 1 cards, 23,192 MB may be taken \(0.9 of a card"):
        check_memory(pair, Vllm())
    check_memory(Pair(**pair_folders, dtype="bfloat16", parameters=7.6), Vllm())


@pytest.mark.usefixtures("one_card")
def test_a_model_that_fits_no_single_card_is_refused_because_it_is_read_on_one(
    pair_folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(ModelError, match=r"reads activations on one card and needs 37,600 MB there, 23,192 MB may be"):
        check_memory(Pair(**pair_folders, dtype="bfloat16", parameters=14.0), Vllm(tensor_parallel=4))


@pytest.mark.usefixtures("one_card")
def test_a_model_that_the_machine_cannot_hold_on_its_way_to_a_card_is_refused(
    pair_folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = memory_limit()
    monkeypatch.setattr(Card, "total_memory", 10 * limit)
    too_many = limit / 2e9  # with what else a process needs, more than there is
    with pytest.raises(ModelError, match=r"engine: the pair needs [0-9,]+ MB of memory, this job may take"):
        check_memory(Pair(**pair_folders, dtype="bfloat16", parameters=too_many), Vllm())


@pytest.mark.parametrize(
    ("options", "longest", "said"),
    [
        (
            Vllm(tensor_parallel=3),
            100,
            "vllm.tensor_parallel: 3 processes cannot share the 4 attention heads of pair",
        ),
        (Vllm(max_length=99), 100, "vllm.max_length: 99 tokens are too few for the longest text; raise it to 100 or"),
        (Vllm(), 513, "pair.base: it reads at most 512 tokens and the longest text may have 513, prompt included"),
    ],
)
def test_what_vllm_would_refuse_when_it_loads_is_refused_before(
    pair_folders: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: Vllm,
    longest: int,
    said: str,
) -> None:
    install(monkeypatch, tmp_path, VERSION)
    check_requirements(Pair(**pair_folders), Vllm(), 512)
    with pytest.raises(ModelError, match=said):
        check_requirements(Pair(**pair_folders), options, longest)


LIMITED = """
import os, resource, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # with fewer threads torch itself has room enough
resource.setrlimit(resource.RLIMIT_AS, (6_900_000_000, 6_900_000_000))
from repurpose.model.engines.vllm_requirements import check_memory
from repurpose.study.settings import Pair, Vllm
try:
    check_memory(Pair(*sys.argv[1:], dtype="float32", parameters=0.26), Vllm())
except Exception as problem:
    print(problem)
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without cards says")
def test_too_little_memory_says_how_much_is_needed(pair_folders: dict[str, str]) -> None:
    command = [sys.executable, "-c", LIMITED, pair_folders["base"], pair_folders["reasoning"]]
    done = subprocess.run(command, env=from_source(), capture_output=True, text=True)
    assert done.stdout.startswith("engine: the pair needs 7,120 MB of memory, this job may take 6,900 MB"), done.stderr


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, version: str) -> None:
    """Put what an installer writes of a release of vLLM on the path, before what is there."""
    written = folder / f"vllm-{version}.dist-info"
    written.mkdir()
    (written / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    monkeypatch.syspath_prepend(folder)


def test_another_vllm_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, "0.31.0")
    with pytest.raises(ModelError, match=r"vLLM 0.31.0 is installed, steering needs 0.32.0; .*envs/create.sh vllm"):
        check_version()


def test_a_build_for_cuda_is_the_same_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, f"{VERSION}+cu130")
    check_version()


@pytest.mark.skipif(installed_version() is not None, reason="says what an environment without vLLM says")
def test_rollouts_without_vllm_end_with_one_line(
    make_step: StepMaker, tmp_path: Path, prompt_rows: list[dict[str, Any]]
) -> None:
    write_table(tmp_path / "prompts.parquet", prompt_rows, PROMPTS, {})
    values = make_step("rollouts.sampling", sections={"engine": "vllm"}, shard=0).values
    command = ["-m", "repurpose.rollouts.sampling", "--settings", json.dumps(values)]
    command += ["--prompts", str(tmp_path / "prompts.parquet"), "--output", str(tmp_path / "0.parquet")]
    done = subprocess.run([sys.executable, *command], env=from_source(), capture_output=True, text=True)
    assert done.returncode == 1 and not (tmp_path / "0.parquet").exists()
    assert done.stderr.strip().startswith(
        "repurpose rollouts.sampling: engine: vllm is not installed in this environment"
    )
    assert len(done.stderr.strip().splitlines()) == 1
