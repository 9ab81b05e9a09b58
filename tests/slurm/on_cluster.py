"""What a user types to run a study on a cluster."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from cluster import Cluster

ROOT = Path(__file__).parents[2]
QUICK = ("--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "5")
"""A test's jobs are short, and its node is this machine."""


@dataclass
class Folder:
    """A folder from which studies of a repository are run on a cluster."""

    root: Path
    cluster: Cluster
    repository: Path = ROOT
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, command: str, *more: str) -> subprocess.Popen[bytes]:
        """Start a command as the documentation has it: paths count from the repository, programs are of this Python."""
        paths = {word: self.repository / word for word in shlex.split(command)}
        words = [str(path) if path.exists() else word for word, path in paths.items()]
        assert words[0].endswith("/snakemake")
        with self.output.open("w") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "snakemake", "-s", str(self.repository / "Snakefile"), *words[1:], *more],
                cwd=self.root,
                env={**os.environ, **self.cluster.environment, **self.environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> Path:
        """What the last command has printed."""
        return self.root / "said.txt"

    def run(self, command: str, *more: str) -> str:
        """Run a command to its end, which must be a good one; return what it prints."""
        code, said = self.start(command, *more).wait(), self.output.read_text()
        assert code == 0, said
        return said


def documented(file: str, having: str) -> str:
    """The one command of a page that has some words in it."""
    lines = [line.partition("  #")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    [command] = {line for line in lines if line.startswith(".venv/bin/snakemake") and having in line}
    return command
