"""A small study through a real Slurm, whole: its tables are a local run's, and no two jobs hold one GPU."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from cluster import Cluster
from on_cluster import QUICK, ROOT, Folder, documented
from tests.endpoint import KEY, KEY_VARIABLE, MODEL, serve

from repurpose.study.catalogue import AGREEMENT_TABLES, TABLES

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.workflow, pytest.mark.timeout(2400)]

STUDY = ROOT / "tests" / "studies" / "small.yaml"
NAME = "labelled"
MODEL_RULES = {"sample_rollouts", "read_activations", "steer_to_select", "steer", "measure_log_odds", "apply_lens"}
MODEL_RULES |= {"score_text", "permute_labels", "project_tokens", "trace_rollouts"}
LOCAL = {"make_prompts", "split_sentences", "finish_labels", "merge_sweep", "select_site"}
LOCAL |= {"judge_claims", "draw_figure", "write_report"}

TELLING = """#!/bin/sh
# The interpreter of every step, which says before and after a step which GPUs it may use.
echo "$(date +%s.%N) begin $$ ${{SLURM_JOB_ID:-none}} ${{CUDA_VISIBLE_DEVICES:-none}} $2" >> "{log}"
"{python}" "$@"
end=$?
echo "$(date +%s.%N) end $$" >> "{log}"
exit $end
"""


@dataclass(frozen=True)
class Held:
    """One step, the GPUs that it could see, and from when to when, in seconds."""

    step: str
    job: str
    gpus: frozenset[str]
    begin: float
    end: float

    def overlaps(self, other: Held) -> bool:
        return self.begin < other.end and other.begin < self.end


def read_held(log: Path) -> list[Held]:
    """The steps of a run in the order in which they began."""
    begun: dict[str, tuple[float, str, str, str]] = {}
    found = []
    for line in log.read_text().splitlines():
        time, what, process, *rest = line.split()
        if what == "begin":
            job, gpus, step = rest
            begun[process] = float(time), job, gpus, step.removeprefix("repurpose.")
        else:
            start, job, gpus, step = begun.pop(process)
            names = frozenset(gpus.split(",")) - {"none"}
            found.append(Held(step, job, names, start, float(time)))
    assert not begun
    return found


def shared(steps: list[Held]) -> list[tuple[Held, Held]]:
    """Pairs of steps that held one GPU at the same time."""
    return [(one, other) for one, other in combinations(steps, 2) if one.gpus & other.gpus and one.overlaps(other)]


def rule_of(job: dict[str, str]) -> str:
    """A job's rule, which its comment names."""
    return job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]


@dataclass(frozen=True)
class Ran:
    """What a run left."""

    folder: Folder
    said: str
    steps: list[Held]

    def tables(self) -> dict[str, bytes]:
        return {file.stem: file.read_bytes() for file in (self.folder.root / f"results/{NAME}/tables").glob("*.csv")}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The small study, with a model on a server that labels too."""
    file = tmp_path_factory.mktemp("study") / "small.yaml"
    with serve() as server:
        endpoint = {"model": MODEL, "base_url": server.url, "key_variable": KEY_VARIABLE}
        annotators = {"other": None, "model": {"kind": "llm", "llm": {"endpoint": endpoint, "max_invalid_share": 1.0}}}
        file.write_text(yaml.safe_dump({"extends": str(STUDY), "study": NAME, "labels": {"annotators": annotators}}))
        yield file


def prepare(root: Path, cluster: Cluster) -> Folder:
    telling = root / "telling python"
    telling.write_text(TELLING.format(log=root / "steps.log", python=sys.executable))
    telling.chmod(0o755)
    return Folder(root, cluster, environment={"REPURPOSE_PYTHON_MAIN": str(telling), KEY_VARIABLE: KEY})


@pytest.fixture(scope="module")
def on_slurm(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, study: Path) -> Ran:
    folder = prepare(tmp_path_factory.mktemp("on-slurm"), cluster)
    command = documented("docs/clusters.md", "profiles/slurm-gpu").replace("studies/mine.yaml", str(study))
    said = folder.run(command, *QUICK)
    return Ran(folder, said, read_held(folder.root / "steps.log"))


@pytest.fixture(scope="module")
def locally(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, study: Path) -> Ran:
    """The same study's tables on this machine; the figures would take as long again."""
    folder = prepare(tmp_path_factory.mktemp("locally"), cluster)
    command = documented("docs/clusters.md", "profiles/local-gpu").replace("studies/mine.yaml", str(study))
    tables = [f"results/{NAME}/tables/{name}.csv" for name in (TABLES[0], AGREEMENT_TABLES[0])]
    said = folder.run(command, "--latency-wait", "1", *tables)
    return Ran(folder, said, read_held(folder.root / "steps.log"))


@pytest.mark.usefixtures("on_slurm")
def test_every_rule_went_through_slurm_but_the_small_ones(cluster: Cluster) -> None:
    """No rule is left out but those for which a study must be another one."""
    text = "".join(file.read_text() for file in (ROOT / "workflow" / "rules").glob("*.smk"))
    rules = set(re.findall(r"^rule (\w+):", text, re.MULTILINE))
    own = {rule for rule in rules if rule.endswith(("smollm2", "smollm2_base", "smollm2_reasoning", "smollm2_variant"))}
    own |= {"train_organism"}
    elsewhere = {"check_parity", "take_spans", "export_vectors"}  # vLLM, published annotations, on demand alone
    assert {rule_of(job) for job in cluster.jobs()} == rules - own - elsewhere - LOCAL
    assert {job["JobState"] for job in cluster.jobs()} == {"COMPLETED"}


def test_tables_are_those_of_a_local_run(on_slurm: Ran, locally: Ran) -> None:
    assert set(on_slurm.tables()) == {*TABLES, *AGREEMENT_TABLES}
    assert on_slurm.tables() == locally.tables()


def test_partition_gpus_memory_and_time_reach_slurm(on_slurm: Ran, cluster: Cluster) -> None:
    assert "steps (100%) done" in on_slurm.said
    for job in cluster.jobs():
        rule = rule_of(job)
        asked = job.get("TresPerJob"), job["Partition"], job["MinMemoryNode"], job["TimeLimit"]
        if rule in MODEL_RULES:
            assert asked == ("gres:gpu:1", "gpu", "7600M", "00:16:00"), rule
        else:
            assert asked[:2] == (None, "cpu"), rule


def test_two_jobs_never_hold_one_gpu(on_slurm: Ran) -> None:
    holding = [step for step in on_slurm.steps if step.gpus]
    assert {step.gpus for step in holding} == {frozenset("0"), frozenset("1")}
    assert not shared(holding)


def test_jobs_on_different_gpus_do_overlap(on_slurm: Ran) -> None:
    """The control: that none shares a GPU is not for want of jobs at the same time."""
    holding = [step for step in on_slurm.steps if step.gpus]
    together = [(one, other) for one, other in combinations(holding, 2) if one.overlaps(other)]
    assert len(together) >= 3
    same = [Held(step.step, step.job, frozenset("0"), step.begin, step.end) for step in holding]
    assert shared(same), "the same times on one GPU would have been seen"


def test_logs_lie_where_the_profile_says_and_those_of_what_succeeded_go(on_slurm: Ran) -> None:
    logs = on_slurm.folder.root / "logs" / "slurm"
    assert not [file for file in logs.rglob("*.log")]
    assert f"(log: {logs}/rule_sample_rollouts/{NAME}_0/" in on_slurm.said
    for name in ("rollouts/0", "activations/base/1", "sweeps/two_by_two/base", "tables"):
        assert (on_slurm.folder.root / f"results/{NAME}/logs/{name}.log").is_file()
