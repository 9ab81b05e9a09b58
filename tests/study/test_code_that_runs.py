"""The digest against the facts: whatever of the package runs while a step runs is in the step's digest."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.tiny import StepMaker

from repurpose.data.files import write_table
from repurpose.data.schemas import PROMPTS
from repurpose.study.code_digest import COMPUTING, NOT_COMPUTING, PACKAGE, SUPPORT, choices, step_parts
from repurpose.study.settings import StepSettings, canonical_json

Run = Callable[..., set[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a step's command in this process and returns the package's files that ran."""

    def run_step(settings: StepSettings, **files: str | list[str]) -> set[str]:
        paths = {name: [value] if isinstance(value, str) else value for name, value in files.items()}
        options = [part for name, values in paths.items() for part in (f"--{name}", *values)]
        monkeypatch.setattr("sys.argv", [settings.step, "--settings", canonical_json(settings.values), *options])
        module, ran = importlib.import_module(f"repurpose.{settings.step}"), set()

        def note(frame: FrameType, event: str, _: object) -> None:
            if event == "call":
                ran.add(frame.f_code.co_filename)

        sys.setprofile(note)
        try:
            module.main()
        finally:
            sys.setprofile(None)
        return {Path(file).relative_to(PACKAGE).as_posix() for file in ran if file.startswith(f"{PACKAGE}/")}

    return run_step


def left_out(settings: StepSettings, ran: set[str]) -> set[str]:
    """The files that ran, may decide a value and are not in the step's digest."""
    files, symbols = step_parts(settings.step, choices(settings.step, settings.values))
    counted = {*files, *(symbol.file for symbol in symbols)}
    decide = {name for name in ran if name in COMPUTING or name.split("/")[0] not in SUPPORT} - set(NOT_COMPUTING)
    return decide - {file.relative_to(PACKAGE).as_posix() for file in counted}


def test_what_runs_from_prompts_to_measurements_is_in_the_digests(
    tmp_path: Path, make_step: StepMaker, prompt_rows: list[dict[str, object]], vector_files: list[str], run: Run
) -> None:
    names = ("prompts", "rollouts", "sentences", "labels", "activations", "sweep", "likelihoods", "measurements")
    files = {name: str(tmp_path / f"{name}.parquet") for name in names}
    write_table(files["prompts"], prompt_rows, PROMPTS, {})
    steps: list[tuple[StepSettings, dict[str, Any], str]] = [
        (make_step("rollouts.prompts"), {"output": str(tmp_path / "other.parquet")}, "organism/language.py"),
        (make_step("rollouts.sampling", shard=0), {"prompts": files["prompts"], "output": files["rollouts"]}, ""),
        (make_step("rollouts.sentences"), {"rollouts": files["rollouts"], "output": files["sentences"]}, ""),
        (
            make_step("labels.labelling", annotator="lexicon"),
            {"sentences": files["sentences"], "rollouts": files["rollouts"], "output": files["labels"]},
            "labels/lexicon.py",
        ),
        (
            make_step("directions.activations", reader="base"),
            {"rollouts": files["rollouts"], "sentences": files["sentences"], "output": files["activations"]},
            "model/hooks.py",
        ),
        (
            make_step("steering.sweeps", sweep="grid", target="reasoning"),
            {"prompts": files["prompts"], "vectors": vector_files, "output": files["sweep"]},
            "model/engines/transformers.py",
        ),
        (
            make_step("steering.likelihood", sweep="grid", target="reasoning"),
            {name: files[name] for name in ("sweep", "prompts")} | {"output": files["likelihoods"]},
            "model/continuations.py",
        ),
        (
            make_step("steering.measurements"),
            {name: files[name] for name in ("sweep", "likelihoods", "rollouts")} | {"output": files["measurements"]},
            "steering/metrics.py",
        ),
    ]
    for settings, paths, expected in steps:
        ran = run(settings, **paths)
        assert {f"{settings.step.replace('.', '/')}.py", expected or "data/files.py"} <= ran
        assert not left_out(settings, ran), settings.step


def test_what_is_left_out_is_noticed(tmp_path: Path, make_step: StepMaker, run: Run) -> None:
    settings = make_step("rollouts.prompts")
    ran = run(settings, output=str(tmp_path / "prompts.parquet"))
    assert left_out(make_step("steering.selection"), ran) >= {"rollouts/prompts.py", "organism/language.py"}
