"""A whole small study under fire: killed, stopped, on a full disk, with files put in place; real steps, real pair."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from tests.disks import small_disk
from tests.workflow.copied_project import Project, real_project

from repurpose.data.files import read_table

pytestmark = [pytest.mark.faults, pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(1500)]  # many runs

SWEEP = {"split": "heldout", "prompts": 4, "magnitudes": {"unit": "selected", "values": [1.0]}, "max_new_tokens": 12}
SITES = {"split": "train", "prompts": 2, "layers": "all", "window_starts": "all"}
STUDY = {
    "study": "faults",
    "pair": {"base": "resources/organism/base", "reasoning": "resources/organism/reasoning"},
    "prompts": {"source": "organism", "train": 32, "heldout": 8},
    "rollouts": {"shards": 2, "batch_size": 4},
    "activations": {"layers": [3], "window_starts": [-6], "window_length": 4},
    "vectors": {"random_directions": 2, "covariance_directions": 2, "shuffles": 1, "split_halves": 2},
    "permutations": {"directions": 4, "passages": 1, "rivals": 2},
    "sweeps": {
        "selection": {**SWEEP, **SITES, "magnitudes": {"unit": "dose", "values": [0.5]}},
        "two_by_two": {**SWEEP, "targets": ["base", "reasoning"], "readers": ["base", "reasoning"]},
    },
    "selection": {
        **{"sweep": "selection", "max_nats": 1000.0, "min_grammatical": 0.0},
        **{"min_distinct_2": 0.0, "max_longest_run": 1000.0},
    },
    "statistics": {"bootstrap": 50},
}
RESULTS = Path("results/faults")
ROLLOUTS, SENTENCES = RESULTS / "rollouts/0.parquet", RESULTS / "sentences/0.parquet"
ACTIVATIONS = RESULTS / "activations/base/0.parquet"
KILLS = {"the run": 10, "a step": 10}
STOPS = {"Ctrl-C": 2, "SIGTERM": 2}


def own_project(root: Path) -> Project:
    """Real steps, and the study under fire."""
    project = real_project(root)
    (project.root / "config.yaml").write_text(yaml.safe_dump(STUDY))
    return project


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The study as it is when nothing happens; not to be changed by a test."""
    project = own_project(tmp_path_factory.mktemp("undisturbed") / "a project")
    project.run("--cores", "2")
    return project


@pytest.fixture
def project(undisturbed: Project, tmp_path: Path) -> Project:
    """A copy of the finished study, to be changed at will."""
    shutil.copytree(undisturbed.root, tmp_path / "a project", symlinks=True)
    return Project(tmp_path / "a project", dict(undisturbed.environment))


@pytest.fixture
def rng() -> random.Random:
    """Draws anew in each run of the suite; $REPURPOSE_FAULTS_SEED draws as the run did that printed it."""
    seed = int(os.environ.get("REPURPOSE_FAULTS_SEED") or random.SystemRandom().randrange(1_000_000))
    sys.stdout.write(f"REPURPOSE_FAULTS_SEED={seed}\n")
    return random.Random(seed)


def shown(project: Project) -> dict[str, bytes]:
    """Tables, figures and claims, byte by byte."""
    folder = project.root / RESULTS
    found = [*folder.glob("tables/*.csv"), *folder.glob("figures/[!.]*"), *folder.glob("claims.*")]
    assert len(found) > 30
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}


@contextlib.contextmanager
def runs(project: Project) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Give a function that starts a run in a process group of its own; nothing that they started lives on."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with (project.root / "printed.txt").open("ab") as printed:
            run = subprocess.Popen(
                [sys.executable, "-m", "snakemake", "--cores", "2"],
                cwd=project.root,
                env={**os.environ, **project.environment},
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(run)
        return run

    try:
        yield start
    finally:
        for run in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def steps_of(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The steps that a run has under way."""
    found = []
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(run.pid).children(recursive=True):
            told = process.cmdline()[1:]
            if told[:1] == ["-m"] and told[1].startswith("repurpose.") and "job_log" not in told[1]:
                found.append(process)
    return found


def strike(run: subprocess.Popen[bytes], blow: str, rng: random.Random) -> bool:
    """Whether there was what the blow is for."""
    if run.poll() is not None:
        return False
    if blow == "a step":
        steps = steps_of(run)
        with contextlib.suppress(psutil.Error):
            if steps:
                rng.choice(steps).kill()
        return bool(steps)
    if blow == "SIGTERM":
        run.terminate()
    else:
        os.killpg(run.pid, signal.SIGINT if blow == "Ctrl-C" else signal.SIGKILL)
    run.wait(timeout=120)
    return True


def test_whatever_ends_runs_and_steps_the_study_is_the_same(
    undisturbed: Project, tmp_path: Path, rng: random.Random
) -> None:
    """After each blow the same command; a study that ends before the last one begins anew."""
    project = own_project(tmp_path / "a project")
    blows = [name for name, count in (KILLS | STOPS).items() for _ in range(count)]
    rng.shuffle(blows)
    with runs(project) as start:
        run = start()
        while blows:
            time.sleep(rng.uniform(0.5, 4.0))
            if run.poll() == 0:
                assert shown(project) == shown(undisturbed)
                shutil.rmtree(project.root / RESULTS)
            if strike(run, blows[-1], rng):
                blows.pop()
            if run.poll() is not None:
                run = start()
        run.wait()
        project.run("--cores", "2")
    assert shown(project) == shown(undisturbed)
    assert "Nothing to be done" in project.run("--cores", "2")
    assert {path.suffix for path in (project.root / ACTIVATIONS).parent.iterdir()} <= {"", ".parquet", ".part"}
    assert "files are as they were made" in verify(project)


def verify(project: Project, bad: bool = False) -> str:
    """What `repurpose verify` says of the study."""
    command = [sys.executable, "-m", "repurpose.data.verify", str(RESULTS)]
    environment = {**os.environ, "PYTHONPATH": str(project.root / "src")}
    done = subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True)
    assert (done.returncode != 0) == bad, done.stdout + done.stderr
    return done.stdout


def same_table(project: Project, other: Project, path: Path) -> bool:
    return read_table(project.root / path).equals(read_table(other.root / path))


@pytest.mark.parametrize("older", [False, True], ids=["new", "with the time stamp that it had"])
def test_a_truncated_shard_stops_what_reads_it(undisturbed: Project, project: Project, older: bool) -> None:
    shard = project.root / ROLLOUTS
    content, before = shard.read_bytes(), shard.stat()
    shard.write_bytes(content[: len(content) // 2])
    if older:
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert f"{ROLLOUTS}: it is not what rollouts.sampling wrote there" in verify(project, bad=True)
    (project.root / SENTENCES).unlink()
    said = project.run("--cores", "1", str(SENTENCES), fails=True)
    told = f"repurpose rollouts.sentences: {ROLLOUTS}: it is not what rollouts.sampling wrote there; remove it, and run"
    assert told in said and "Traceback" not in said and not (project.root / SENTENCES).exists()
    shard.unlink()
    project.run("--cores", "2", str(SENTENCES))
    assert same_table(project, undisturbed, ROLLOUTS) and same_table(project, undisturbed, SENTENCES)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 7}, "it was made with another seed than the study has"),
        (
            {"rollouts": {"shards": 2, "max_new_tokens": 40}},
            "it was made with other settings (rollouts) than the study has",
        ),
    ],
    ids=["seed", "length"],
)
def test_shards_of_other_settings_stop_what_reads_them(
    undisturbed: Project, project: Project, changes: dict[str, object], said: str
) -> None:
    """All of them put in place, with the notes of their making."""
    (project.root / "other.yaml").write_text(yaml.safe_dump({**STUDY, "study": "other", **changes}))
    shards = ["0.parquet", "1.parquet"]
    asked = [f"results/other/rollouts/{shard}" for shard in shards]
    project.run("--cores", "2", "--configfile", "other.yaml", "--", *asked)
    for name in (*shards, *(f".made/{shard}.json" for shard in shards)):
        shutil.copy(project.root / "results/other/rollouts" / name, project.root / ROLLOUTS.parent / name)
    (project.root / SENTENCES).unlink()
    printed = project.run("--cores", "1", str(SENTENCES), fails=True)
    told = f"repurpose rollouts.sentences: {ROLLOUTS}: {said}; remove it, and run again"
    assert told in printed and "Traceback" not in printed
    assert f"{SENTENCES.parent}/1.parquet: it was made from another" in verify(project, bad=True)
    for shard in shards:
        (project.root / ROLLOUTS.parent / shard).unlink()
    project.run("--cores", "2", str(SENTENCES))
    assert same_table(project, undisturbed, ROLLOUTS) and same_table(project, undisturbed, SENTENCES)


def test_a_disk_that_fills_is_one_line_and_with_room_the_run_goes_on(undisturbed: Project, tmp_path: Path) -> None:
    project = Project(tmp_path / "a project", dict(undisturbed.environment))
    kept = shutil.ignore_patterns("results")
    shutil.copytree(undisturbed.root, project.root, symlinks=True, ignore=kept)
    with small_disk(project.root / "results", 64 << 20) as disk:
        shutil.copytree(undisturbed.root / "results", disk, dirs_exist_ok=True)
        (project.root / ACTIVATIONS).unlink()
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - (64 << 10)))
        said = project.run("--cores", "1", str(ACTIVATIONS), fails=True)
        told = f"repurpose directions.activations: {ACTIVATIONS.parent}: No space left on device: activations need "
        assert told in said and "make room, and run again" in said and "Traceback" not in said
        assert [file for file in (project.root / ACTIVATIONS.parent).iterdir() if "0.parquet" in file.name] == []
        (disk / "filler").unlink()
        project.run("--cores", "1", str(ACTIVATIONS))
        assert same_table(project, undisturbed, ACTIVATIONS)


FULL_GPU = f"""#!{sys.executable}
# Stands in for the interpreter on a machine whose GPU is full, once a model computes.
import runpy, sys
import torch
def full(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\\nSee the documentation.")
if sys.argv[2] == "repurpose.directions.activations":
    torch.nn.Embedding.forward = full
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def test_a_full_gpu_is_one_line(undisturbed: Project, project: Project) -> None:
    stand_in = project.root / "full gpu"
    stand_in.write_text(FULL_GPU)
    stand_in.chmod(0o755)
    (project.root / ACTIVATIONS).unlink()
    full = Project(project.root, {**project.environment, "REPURPOSE_PYTHON_MAIN": str(stand_in)})
    said = full.run("--cores", "1", str(ACTIVATIONS), fails=True)
    told = (
        "repurpose directions.activations: CUDA out of memory. Tried to allocate 2.00 GiB. Lower the step's batch_size"
    )
    assert told in said and "Traceback" not in said and not (project.root / ACTIVATIONS).exists()
    project.run("--cores", "1", str(ACTIVATIONS))
    assert same_table(project, undisturbed, ACTIVATIONS)
