"""Which interpreter runs a step: that of envs/main, or vLLM's own; standard library only, the Snakefile imports it."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from repurpose.study.settings import SettingsError, Study

EnvironmentName = Literal["main", "vllm"]
BUILT = {"main": ("main",), "vllm": ("vllm", "vllm-cpu")}
"""Folders of envs/.venvs that envs/create.sh builds, by environment; vLLM's for GPUs goes before that for a CPU."""


@dataclass(frozen=True)
class Environments:
    """Where the steps of one study run."""

    study: Study
    root: Path
    """Of the repository."""
    conda: bool
    """Whether Snakemake makes the environments: `python` is then the right one."""
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def steering(self) -> EnvironmentName:
        """Where models are steered: the study's engine decides."""
        return "vllm" if self.study.engine == "vllm" else "main"

    @property
    def sampling(self) -> EnvironmentName:
        """Where rollouts are sampled: as they are steered, or in the main one where a server is asked."""
        return "main" if self.study.rollouts.engine else self.steering

    def python(self, name: EnvironmentName) -> str:
        """The interpreter: $REPURPOSE_PYTHON_<NAME>, what envs/create.sh built, for the main one this interpreter.

        Empty where vLLM's is nowhere.
        """
        if self.conda:
            return "python"
        paths = [self.root / "envs" / ".venvs" / folder / "bin" / "python" for folder in BUILT[name]]
        built = next((str(path) for path in paths if path.exists()), "")
        found = self._named(name) or built or (sys.executable if name == "main" else "")
        return found if name == "main" or Path(found).is_file() else ""

    def check(self) -> None:
        """Raise a SettingsError where jobs need an environment that is not there; a plan (-n) needs none."""
        if self.steering == "main" or self.python("vllm"):
            return
        if named := self._named("vllm"):
            raise SettingsError(
                f"engine: REPURPOSE_PYTHON_VLLM names {named}, which is not there; give vLLM's interpreter"
            )
        raise SettingsError(
            "engine: vllm needs its own environment, which is not there; build it with `envs/create.sh vllm` (NVIDIA "
            "GPUs) or `envs/create.sh vllm-cpu`, or name an interpreter in REPURPOSE_PYTHON_VLLM"
        )

    def _named(self, name: EnvironmentName) -> str:
        return self.variables.get(f"REPURPOSE_PYTHON_{name.upper()}", "")
