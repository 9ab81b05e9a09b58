"""Which interpreter runs what, and what is said where there is none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from repurpose.study.jobs.environments import Environments
from repurpose.study.jobs.parameters import Checks
from repurpose.study.settings import SettingsError, read_study

SERVED = {"engine": "openai", "endpoint": {"model": "m"}}
GRID = {
    "split": "train",
    "prompts": 2,
    "layers": "all",
    "window_starts": "all",
    "magnitudes": {"unit": "l2", "values": [1.0]},
}
STUDY: dict[str, Any] = {
    "study": "mine",
    "pair": {"base": "owner/base", "reasoning": "owner/reasoning"},
    "prompts": {"source": "organism", "train": 4, "heldout": 4},
    "sweeps": {"grid": GRID},
    "selection": {"sweep": "grid"},
}


def environments(root: Path, conda: bool = False, named: dict[str, str] | None = None, **changes: Any) -> Environments:
    return Environments(read_study({**STUDY, **changes}), root, conda, named or {})


def build(root: Path, name: str) -> str:
    """What envs/create.sh leaves of an environment."""
    python = root / "envs" / ".venvs" / name / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return str(python)


def test_the_main_interpreter_is_the_named_one_or_the_built_one_or_this_one(tmp_path: Path) -> None:
    assert environments(tmp_path).python("main") == sys.executable
    built = build(tmp_path, "main")
    assert environments(tmp_path).python("main") == built
    assert environments(tmp_path, named={"REPURPOSE_PYTHON_MAIN": "/its/own"}).python("main") == "/its/own"
    assert environments(tmp_path, conda=True, named={"REPURPOSE_PYTHON_MAIN": "/its/own"}).python("main") == "python"


def test_vllm_s_interpreter_for_gpus_goes_before_that_for_a_cpu(tmp_path: Path) -> None:
    assert environments(tmp_path).python("vllm") == ""
    for_cpu = build(tmp_path, "vllm-cpu")
    assert environments(tmp_path).python("vllm") == for_cpu
    assert environments(tmp_path).python("vllm") == for_cpu != build(tmp_path, "vllm")
    assert environments(tmp_path).python("vllm") == str(tmp_path / "envs" / ".venvs" / "vllm" / "bin" / "python")
    assert environments(tmp_path, named={"REPURPOSE_PYTHON_VLLM": "/nowhere"}).python("vllm") == ""


def test_the_engine_decides_where_models_are_steered_and_an_endpoint_where_rollouts_come_from(tmp_path: Path) -> None:
    def places(**changes: Any) -> tuple[str, str]:
        found = environments(tmp_path, **changes)
        return found.sampling, found.steering

    assert places() == ("main", "main")
    assert places(engine="vllm") == ("vllm", "vllm")
    assert places(engine="vllm", rollouts=SERVED) == ("main", "vllm")


def test_a_missing_engine_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    environments(tmp_path).check()
    with pytest.raises(SettingsError, match=r"^engine: vllm needs its own environment, .* `envs/create.sh vllm-cpu`"):
        environments(tmp_path, engine="vllm").check()
    with pytest.raises(SettingsError, match=r"^engine: REPURPOSE_PYTHON_VLLM names /nowhere, which is not there"):
        environments(tmp_path, engine="vllm", named={"REPURPOSE_PYTHON_VLLM": "/nowhere"}).check()
    environments(tmp_path, engine="vllm", conda=True).check()
    build(tmp_path, "vllm")
    environments(tmp_path, engine="vllm").check()


def test_models_are_checked_in_each_environment_that_a_job_can_reach(tmp_path: Path) -> None:
    def checked(conda: bool, **changes: Any) -> list[str]:
        found = environments(tmp_path, conda, **changes)
        return Checks(found.study, found).models("prompts.parquet").split(" && ")

    build(tmp_path, "vllm")
    assert len(checked(False)) == 1  # small local models, too
    both = checked(False, engine="vllm", rollouts=SERVED)
    assert ["--engine" in command for command in both] == [False, True]
    assert not any("--machine" in command for command in both)
    assert len(checked(True, engine="vllm", rollouts=SERVED)) == 1  # conda shows the job the main environment only
    assert len(checked(True, engine="vllm")) == 2


def test_annotators_are_checked_where_one_needs_a_server_or_a_file(tmp_path: Path) -> None:
    assert Checks(environments(tmp_path).study, environments(tmp_path)).annotators() == ""
    annotators = {"lexicon": {"kind": "lexicon"}, "ward": {"kind": "published", "file": "it's.json"}}
    found = environments(tmp_path, labels={"annotators": annotators})
    command = Checks(found.study, found).annotators()
    assert command.startswith(f"{sys.executable} -m repurpose.labels.check_annotators --settings ")
    assert command.endswith(" &&") and "it'\"'\"'s.json" in command
