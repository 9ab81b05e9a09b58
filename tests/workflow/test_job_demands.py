"""What the jobs of shipped studies ask of a cluster and wait for, as Snakemake plans them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from copied_project import ROOT

from repurpose.study.cluster_plan import cluster_lines, model_jobs, other_jobs
from repurpose.study.resources import study_demands
from repurpose.study.study_file import load_study, load_values

pytestmark = pytest.mark.workflow

Job = dict[str, Any]
STUDIES = {file.stem: file for file in sorted((ROOT / "studies").glob("*.yaml"))}
STEERED_IN_VLLM = [name for name, file in STUDIES.items() if load_values(file)["engine"] == "vllm"]

PAPER = {
    "sample_rollouts": (52_180, 18, 1),
    "read_activations": (52_180, 18, 1),
    "check_parity": (104_360, 18, 1),
    "steer_to_select site": (52_180, 18, 1),
    "steer two_by_two": (52_180, 18, 1),
    "steer baselines": (52_180, 22, 1),
    "steer windows": (52_180, 18, 1),
    "steer layers": (52_180, 20, 1),
    "steer ablation": (52_180, 20, 1),
    "score_text": (52_180, 18, 1),
    "permute_labels": (52_180, 18, 1),
    "measure_log_odds": (52_180, 18, 1),
    "apply_lens": (52_180, 18, 1),
    "project_tokens": (52_180, 18, 1),
    "trace_rollouts": (52_180, 18, 1),
}
"""Megabytes, minutes and GPUs of each job of studies/paper.yaml that loads a model.

8.03 billion parameters x 2 bytes = 16.06 GB. Megabytes: 4,000 + 3 x 16,060; the check of parity holds two engines.
Minutes: 15 + 1.5 x (16.06 GB / 0.2 GB/s = 80.3 s, and 8.03e9 / 3e13 s for each token) / 60, a started one counts:

    rollouts    75 prompts x 500 tokens                                     =    37,500:  10.0 s, 17.3 minutes
    site        (1 +  1 vector          x  1 magnitude)  x 10 prompts x 128 =     2,560:   0.7 s, 17.0
    two_by_two  (1 +  2 readers         x 11 magnitudes) x 30 prompts x 128 =    88,320:  23.6 s, 17.6
    baselines   (1 + 35 vectors         x 11 magnitudes) x 15 prompts x 128 =   741,120: 198.4 s, 22.0, in two shards
    windows     (1 +  2 readers x  6    x  7 magnitudes) x 10 prompts x 128 =   108,800:  29.1 s, 17.7
    layers      (1 +  2 readers x 32    x  4 magnitudes) x 10 prompts x 128 =   328,960:  88.1 s, 19.2
    ablation    (1 + 24 vectors, removed once)           x 30 prompts x 500 =   375,000: 100.4 s, 19.5
"""
SMALL = {"sample_rollouts": 1, "read_activations": 1, "steer_to_select": 2, "steer": 1, "apply_lens": 1}
SMALL |= dict.fromkeys(("check_parity", "score_text", "permute_labels", "measure_log_odds"), 1)
SMALL |= dict.fromkeys(("project_tokens", "trace_rollouts"), 1)
"""Threads of the rules that run a model, where it is a small one on a CPU."""
LOCAL = {
    "make_prompts",
    "split_sentences",
    "finish_labels",
    "select_site",
    "judge_claims",
    "draw_figure",
    "write_report",
}
LOCAL |= {"all", "merge_sweep"}
"""Rules too small to be jobs of a cluster."""
READS = ("read_activations", "score_text", "permute_labels", "measure_log_odds")
READS += ("apply_lens", "project_tokens", "trace_rollouts")
"""Rules that read a model with transformers, on one GPU however many vLLM takes."""


@pytest.fixture(scope="module")
def whole_plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Job]]:
    """The jobs of each shipped study as the clone stands; of the published one with two GPUs, a server, chains too."""
    folder = tmp_path_factory.mktemp("plans")
    paper = load_values(STUDIES["paper"])
    served = {**paper["rollouts"], "engine": "openai", "endpoint": {"model": "r1", "base_url": "http://127.0.0.1:9/v1"}}
    changed = {"shared": {**paper, "vllm": {"tensor_parallel": 2}}, "served": {**paper, "rollouts": served}}
    changed |= {"chains": with_chains(paper, folder / "chains.json", "sentence")}
    changed |= {"spans": with_chains(paper, folder / "chains.json", "span")}
    for name, study in changed.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(study))
    files = {**STUDIES, "default": ROOT / "config.yaml", **{name: folder / f"{name}.yaml" for name in changed}}
    command = [sys.executable, Path(__file__).with_name("planned_jobs.py"), *files.values()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {name: found[str(file)] for name, file in files.items()}


@pytest.fixture(scope="module")
def plans(whole_plans: dict[str, list[Job]]) -> dict[str, list[Job]]:
    """The same without the SmolLM2 pair's own, which an empty clone has and a clone after a study has not."""
    return {name: [job for job in jobs if not makes_model(job)] for name, jobs in whole_plans.items()}


def makes_model(job: Job) -> bool:
    """The SmolLM2 pair is made once, by whatever study needs it first."""
    return job["rule"] in ("make_smollm2_base", "train_smollm2", "make_smollm2_reasoning")


def with_chains(study: dict[str, Any], file: Path, unit: str) -> dict[str, Any]:
    """A study of published chains and their annotations, which a file of some holds."""
    annotated = '["deduction"]So 7.["end-section"]'
    records = [{"problem": f"{n}?", "reasoning_chain": "So 7.", "annotated_chain": annotated} for n in range(40)]
    file.write_text(json.dumps(records))
    sweeps = {name: {**sweep, "prompts": "all"} for name, sweep in study["sweeps"].items()}
    return {
        **study,
        "prompts": {"source": str(file), "train": 0.8, "heldout": 0.2},
        "rollouts": {**study["rollouts"], "engine": "published", "file": str(file)},
        "labels": {"annotator": "ward", "annotators": {"ward": {"kind": "published", "file": str(file)}}, "unit": unit},
        "sweeps": sweeps,
    }


def name_of(job: Job) -> str:
    """A job's rule, and its sweep where it steers."""
    return f"{job['rule']} {job['wildcards']['sweep']}" if steers(job) else str(job["rule"])


def steers(job: Job) -> bool:
    """By what it writes, so that a new rule that steers is one of them."""
    return any("/sweeps/" in file for file in job["output"]) and job["rule"] != "merge_sweep"


def asked(jobs: list[Job]) -> dict[str, set[tuple[int, int, int]]]:
    """What jobs that ask for GPUs, be it for none, ask for; one demand a name unless jobs differ."""
    found: dict[str, set[tuple[int, int, int]]] = {}
    for job in jobs:
        if job["resources"][2] is not None:
            found.setdefault(name_of(job), set()).add(tuple(job["resources"]))
    return found


def test_jobs_of_the_published_study_ask_for_what_the_formula_says(plans: dict[str, list[Job]]) -> None:
    assert asked(plans["paper"]) == {name: {demand} for name, demand in PAPER.items()}


def test_gpus_that_share_a_model_are_asked_for_by_the_jobs_that_vllm_runs(plans: dict[str, list[Job]]) -> None:
    expected = {name: {(*demand[:2], 1 if name in READS else 2)} for name, demand in PAPER.items()}
    assert asked(plans["shared"]) == expected


def test_rollouts_from_a_server_ask_for_no_gpu_and_little_memory(plans: dict[str, list[Job]]) -> None:
    assert asked(plans["served"])["sample_rollouts"] == {(4_000, 18, 0)}


def test_what_asks_a_server_is_counted(plans: dict[str, list[Job]]) -> None:
    """Rollouts where a server writes them, and labels by a model."""

    def asking(name: str) -> set[str]:
        return {job["rule"] for job in plans[name] if job["api_calls"]}

    assert asking("paper") == {"label_with_model", "label_steered"}
    assert asking("served") == asking("paper") | {"sample_rollouts"}
    assert asking("default") == set()


def test_published_rollouts_ask_for_no_gpu_little_memory_and_no_weights(plans: dict[str, list[Job]]) -> None:
    """An hour, which is what every job asks that loads no large model."""
    for name in ("chains", "spans"):
        assert asked(plans[name])["sample_rollouts"] == {(4_000, 60, 0)}
        assert asked(plans[name])["read_activations"] == {(52_180, 18, 1)}


def test_annotated_spans_are_units_in_place_of_sentences(plans: dict[str, list[Job]]) -> None:
    """One job, for the file may hold chains of a few shards alone."""
    rules = {name: [job["rule"] for job in plans[name]] for name in ("chains", "spans")}
    assert (rules["chains"].count("split_sentences"), rules["chains"].count("take_spans")) == (4, 0)
    assert (rules["spans"].count("split_sentences"), rules["spans"].count("take_spans")) == (0, 1)
    (units,) = [job["output"] for job in plans["spans"] if job["rule"] == "take_spans"]
    assert units == [f"results/paper/sentences/{shard}.parquet" for shard in range(4)]
    for job in plans["spans"]:
        if job["rule"] in ("label_sentences", "read_activations"):
            assert "take_spans" in job["waits_for"].values()


def test_models_are_checked_where_they_will_run_before_rollouts(plans: dict[str, list[Job]]) -> None:
    """In the environment that reads, and in vLLM's; what asks a server may run without GPUs."""

    def checks(name: str) -> list[tuple[bool, bool]]:
        command = next(job["command"] for job in plans[name] if job["rule"] == "sample_rollouts")
        before, _, _ = command.partition("-m repurpose.rollouts.sampling ")
        checked = before.split("-m repurpose.rollouts.check_models ")[1:]
        return [("--engine" in one, "--machine" in one) for one in checked]

    assert checks("default") == [(False, True)]
    assert checks("organism-vllm") == checks("paper") == checks("qwen-1.5b") == [(False, True), (True, True)]
    assert checks("served") == checks("chains") == checks("spans") == [(False, False), (True, False)]


def test_what_may_run_out_is_tried_again_with_twice_as_much(plans: dict[str, list[Job]]) -> None:
    grown = [job for job in plans["paper"] if job["resources at the second attempt"] != job["resources"]]
    assert {job["rule"] for job in grown} == {
        *SMALL,
        "compute_vectors",
        "compare_readers",
        "make_tables",
        "write_explorer",
    }
    for job in grown:
        memory, minutes, gpus = job["resources"]
        assert job["retries"] == 1
        assert job["resources at the second attempt"][0] == 2 * memory
        assert job["resources at the second attempt"][1:] in ([2 * minutes, gpus], [minutes, None])
    assert {job["retries"] for job in [*plans["default"], *plans["organism-vllm"]]} == {0}


def test_all_that_run_a_model_go_to_the_gpus_of_a_cluster() -> None:
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm-gpu/config.yaml").read_text())
    assert profile["set-resources"] == {rule: {"slurm_partition": "gpu"} for rule in SMALL}


def test_a_job_with_gpus_has_threads_to_feed_them(plans: dict[str, list[Job]]) -> None:
    threads = {job["rule"]: job["threads"] for job in plans["paper"]}
    assert {rule: threads[rule] for rule in SMALL} == dict.fromkeys(SMALL, 4)
    assert {number for rule, number in threads.items() if rule not in SMALL} == {1}
    assert {job["rule"]: job["threads"] for job in plans["organism-vllm"] if job["rule"] in SMALL} == SMALL
    selecting = [job["threads"] for job in plans["default"] if job["rule"] == "steer_to_select"]
    assert selecting == [1, 1]  # its shards run side by side
    assert next(job["threads"] for job in plans["served"] if job["rule"] == "sample_rollouts") == 1


def test_what_is_small_is_no_job_of_a_cluster(plans: dict[str, list[Job]]) -> None:
    units = {key: set[str]() for key in plans} | {"spans": {"split_sentences"}}
    for name, jobs in plans.items():
        assert {job["rule"] for job in jobs if job["local"]} == LOCAL - units[name], name
    assert len(plans["default"]) == 60
    assert len([job for job in plans["default"] if not job["local"]]) == 38  # figures alone were twelve


def test_each_job_that_runs_a_model_is_measured_in_a_file_of_its_own(plans: dict[str, list[Job]]) -> None:
    for name, jobs in plans.items():
        measured = [job for job in jobs if job["benchmark"]]
        assert {job["rule"] for job in measured} == {job["rule"] for job in jobs} & set(SMALL), name
        assert len({job["benchmark"] for job in measured}) == len(measured)
        assert all(f"/benchmarks/{job['rule']}" in job["benchmark"] for job in measured)


def test_a_small_pair_asks_for_no_gpu_and_an_hour(plans: dict[str, list[Job]]) -> None:
    demands = asked(plans["organism-vllm"])
    assert {name.split()[0] for name in demands} == {name.split()[0] for name in PAPER}
    assert {demand[1:] for found in demands.values() for demand in found} == {(60, 0)}


@pytest.mark.parametrize("name", [*STUDIES, "default"])
def test_the_plan_for_a_cluster_adds_up_what_its_jobs_ask_for(name: str, whole_plans: dict[str, list[Job]]) -> None:
    study = load_study(STUDIES.get(name, ROOT / "config.yaml"))
    jobs = [job for job in whole_plans[name] if not job["local"]]
    groups = [*model_jobs(study, study_demands(study)), *other_jobs(study)]
    assert sum(group.number for group in groups) == len(jobs)
    minutes = sum((job["resources"][2] or 0) * job["resources"][1] for job in jobs)
    assert sum(group.number * group.gpus * group.minutes for group in groups) == minutes
    assert max(group.memory for group in groups) == max(job["resources"][0] for job in jobs)
    assert max(group.minutes for group in groups) == max(job["resources"][1] for job in jobs)
    lines = {line[0]: line[1] for line in cluster_lines(study)}
    assert lines["cluster: jobs"] == f"{len(jobs)}" and lines["cluster: GPU hours, at most"] == f"{minutes / 60:,.1f}"


def test_every_job_asks_for_memory_and_time(plans: dict[str, list[Job]]) -> None:
    for name, jobs in plans.items():
        without = [job["rule"] for job in jobs if job["rule"] != "all" and not all(job["resources"][:2])]
        assert not without, name


@pytest.mark.parametrize("name", STEERED_IN_VLLM)
def test_nothing_is_steered_in_vllm_before_the_parity_of_its_own_target(name: str, plans: dict[str, list[Job]]) -> None:
    study = load_values(STUDIES[name])
    steering = [job for job in plans[name] if steers(job)]
    found = sorted((job["wildcards"]["sweep"], job["wildcards"]["target"]) for job in steering)
    sweeps = study["sweeps"].items()
    targets = {key: sweep.get("targets", ["reasoning"]) for key, sweep in sweeps}
    parts = [(key, target) for key, sweep in sweeps for target in targets[key] for _ in range(sweep.get("shards", 1))]
    assert found == sorted(parts)
    for job in steering:
        proof = f"results/{study['study']}/parity/{job['wildcards']['target']}.json"
        gates = {file: rule for file, rule in job["waits_for"].items() if "/parity/" in file}
        assert gates == {proof: "check_parity"}, name_of(job)
