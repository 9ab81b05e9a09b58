"""What the rules pass to steps; standard library only, because the Snakefile imports it."""

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from repurpose.study.code_digest import step_code
from repurpose.study.jobs.environments import EnvironmentName, Environments
from repurpose.study.settings import SettingsError, Study, canonical_json, step_settings

BATCHES = ("batch_size", "batch_tokens")
"""Settings that say how much is computed at once."""
SECTIONS = "REPURPOSE_SECTIONS"


def step_parameter(study: Study, step: str, wildcards: Mapping[str, str]) -> str:
    """A step's settings, wildcards and code digest as one JSON text: Snakemake compares values without their names."""
    named = {name: int(text) if name == "shard" else text for name, text in wildcards.items()}
    values = without_batches(step_settings(study, step, **named))
    return canonical_json({**values, "code": step_code(step, values)})


def without_batches(values: Mapping[str, Any]) -> dict[str, Any]:
    """A step's sections without the sizes of batches: no number depends on them, so rules pass them by `--batch`."""

    def leave_out(section: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in section.items() if name not in BATCHES}

    told = {name: leave_out(values[name]) for name in ("rollouts", "activations") if name in values}
    if "sweeps" in values:
        told["sweeps"] = {name: leave_out(sweep) for name, sweep in values["sweeps"].items()}
    return {**values, **told}


UNTOLD = {"pair": ("parameters", "gpus"), "explorer": ("steered",)}
"""What steps are not told, as `step_settings` has it."""


def _without(section: Any, *keys: str) -> Any:
    return {key: value for key, value in section.items() if key not in keys} if keys else section


def section_digests(values: Mapping[str, Any]) -> dict[str, str]:
    """8 hex digits for each section of a study or a step, without what replans nothing; of sweeps and annotators each.

    So a step knows whether what it reads was made of the study as it is now, whatever sections it has itself.
    """
    told: dict[str, Any] = {}
    for name, section in without_batches(values).items():
        if name == "sweeps":
            told |= {f"sweeps.{one}": _without(sweep, "shards") for one, sweep in section.items()}
        elif name == "labels":
            told |= {f"labels.annotators.{one}": annotator for one, annotator in section.get("annotators", {}).items()}
        else:
            told[name] = _without(section, *UNTOLD.get(name, ()))
    return {name: hashlib.sha256(canonical_json(section).encode()).hexdigest()[:8] for name, section in told.items()}


def study_variable(study: Study) -> dict[str, str]:
    """The variable by which the workflow tells every step what the study's sections are; small, whatever the study."""
    return {SECTIONS: canonical_json(section_digests(asdict(study)))}


def told_sections() -> dict[str, str]:
    """What the workflow tells of the study's sections; nothing where a step is called by hand."""
    return dict(json.loads(os.environ.get(SECTIONS, "{}")))


def step_variables(source: Path, gpus: int = 1) -> dict[str, str]:
    """Every step's environment, beside what Snakemake adds (OMP_NUM_THREADS: {threads}); the package is in `source`.

    `gpus`: how many share one model where transformers reads it.
    """
    if os.pathsep in f"{source}":
        raise SettingsError(
            f"{source.parent}: no {os.pathsep!r} may be in this path, it ends a path in PYTHONPATH; rename it"
        )
    return {
        "PYTHONPATH": f"{source}",  # the package runs from the source tree, installed nowhere
        "PYTHONHASHSEED": "0",  # the order of sets is the same on every run
        "REPURPOSE_GPUS": f"{gpus}",
        "OMP_WAIT_POLICY": "PASSIVE",  # a waiting thread leaves its core to the job beside it
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_MININTERVAL": "2",  # a bar moves every two seconds, so that logs stay short
        "TQDM_NCOLS": "90",
    }


@dataclass(frozen=True)
class Checks:
    """Commands that go before what is costly; each ends in `&&`, or is empty where there is nothing to check."""

    study: Study
    environments: Environments

    def annotators(self) -> str:
        """Ask each annotator's server or read its file, where there are any."""
        if not any(one.llm or one.file for one in self.study.labels.annotators.values()):
            return ""
        return self._command("main", "labels.check_annotators")

    def models(self, prompts: str) -> str:
        """Try all of the pair but its weights, where it is read and, in vLLM's environment, where it is steered."""
        samples_here = self.study.rollouts.engine is None  # else a cluster sends the job to where no GPUs are
        options = ["--prompts", prompts, *(["--machine"] if samples_here else [])]
        checks = [self._command("main", "rollouts.check_models", *options)]
        in_sight = self.environments.sampling == "vllm" or not self.environments.conda  # conda shows a job only its own
        if self.environments.steering == "vllm" and in_sight:
            checks.append(self._command("vllm", "rollouts.check_models", *options, "--engine"))
        return " ".join(checks)

    def _command(self, environment: EnvironmentName, step: str, *options: str) -> str:
        python, settings = self.environments.python(environment), canonical_json(step_settings(self.study, step))
        return f"{shlex.join([python, '-m', f'repurpose.{step}', '--settings', settings, *options])} &&"
