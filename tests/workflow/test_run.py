"""Running: from elsewhere, in odd paths, other studies, failures, kills."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from copied_project import Project, copy_project, write_model

pytestmark = pytest.mark.workflow


def records(folder: Path) -> list[dict[str, object]]:
    """What Snakemake remembers of each output."""
    found = [json.loads(file.read_text()) for file in (folder / ".snakemake" / "metadata").rglob("*") if file.is_file()]
    assert found
    return found


def test_one_command_makes_everything_in_a_path_with_spaces(finished: Project) -> None:
    assert " " in str(finished.root)
    assert (finished.root / "results" / "organism" / "report.html").is_file()
    assert len(finished.calls()) == len(set((finished.root / "calls.txt").read_text().splitlines()))


def test_the_labels_of_a_study_are_held_against_its_behaviour(finished: Project) -> None:
    calls = (finished.root / "calls.txt").read_text().splitlines()
    assert [" --behaviour backtracking " in call for call in calls if "labels.labelling " in call] == [True]


def test_a_second_call_has_nothing_to_do(finished: Project) -> None:
    assert "Nothing to be done" in finished.run("--cores", "2")


def test_memory_of_a_run_holds_no_absolute_path(finished: Project) -> None:
    for record in records(finished.root):
        kept = json.dumps([record["params"], record["input"], record["code"], record["log"]])
        assert str(finished.root) not in kept


def test_the_log_is_written_and_shown(project: Project) -> None:
    stand_in = project.root / "stand-in python"
    stand_in.write_text(stand_in.read_text().replace("set -euo", "echo a bar >&2; set -euo"))
    assert "prompts: a bar\n" in project.run("--cores", "1", "results/organism/prompts.parquet")
    assert (project.root / "results/organism/logs/prompts.log").read_text() == "a bar\n"


DRAWS_BARS = f"""#!/usr/bin/env bash
# Draws progress bars for a quarter of a minute, and says something in between; then does what the stand-in does.
{sys.executable} -c '
import time
from tqdm import tqdm
for number in tqdm(range(60), mininterval=0, desc="reading"):
    if number % 20 == 0:
        tqdm.write(f"line {{number}} of " + 40 * "x")
    time.sleep(0.25)
' >&2
exec "$QUICK" "$@"
"""


@pytest.mark.slow
def test_jobs_side_by_side_mix_no_bars_and_each_says_how_far_it_is(project: Project) -> None:
    project.run("--cores", "2", *[f"results/organism/sentences/{shard}.parquet" for shard in (0, 1)])
    project.environment["QUICK"] = project.environment["REPURPOSE_PYTHON_MAIN"]
    slow = project.root / "slow python"
    slow.write_text(DRAWS_BARS)
    slow.chmod(0o755)
    project.environment["REPURPOSE_PYTHON_MAIN"] = str(slow)
    targets = [f"results/organism/activations/{reader}/0.parquet" for reader in ("base", "reasoning")]
    printed = project.run("--cores", "2", *targets)
    assert "\r" not in printed and "|" not in printed and "it/s" not in printed
    for reader in ("base", "reasoning"):
        name = f"activations/{reader}/0"
        said = [line.removeprefix(f"{name}: ") for line in printed.splitlines() if line.startswith(name)]
        assert [line for line in said if line.startswith("line ")] == [f"line {n} of {40 * 'x'}" for n in (0, 20, 40)]
        progress = [line for line in said if not line.startswith("line ")]
        assert len(progress) == 1 and re.fullmatch(r"reading [6789]\d % done, 00:0\d to go", progress[0])
        log = (project.root / f"results/organism/logs/{name}.log").read_bytes()
        assert log.count(b"\r") > 50
    assert printed.count("activations/base/0: ") == printed.count("activations/reasoning/0: ") == 4


def test_a_failing_step_fails_the_run(project: Project) -> None:
    stand_in = project.root / "stand-in python"
    stand_in.write_text("#!/usr/bin/env bash\necho broken >&2\nexit 3\n")
    project.run("--cores", "1", fails=True)
    assert (project.root / "results/organism/logs/prompts.log").read_text() == "broken\n"


FAILING_STAND_IN = """#!/usr/bin/env bash
# Stands in for steps of which one fails for a reason that it tells, and one is killed.
case "$*" in
    *rollouts.sampling*'"shard":0'*) echo noise; echo "repurpose rollouts.sampling: pair.base: no model"; exit 1 ;;
    *rollouts.sampling*'"shard":1'*) echo noise; echo Killed; exit 137 ;;
esac
exec "$QUICK" "$@"
"""


def test_why_jobs_failed_is_said_last_and_once_for_each(project: Project) -> None:
    project.environment["QUICK"] = project.environment["REPURPOSE_PYTHON_MAIN"]
    failing = project.root / "failing python"
    failing.write_text(FAILING_STAND_IN)
    failing.chmod(0o755)
    project.environment["REPURPOSE_PYTHON_MAIN"] = str(failing)
    printed = project.run("--cores", "1", fails=True)
    *_, said = printed.partition("At least one job did not complete successfully.\n")
    first, second = sorted(said.strip().split("\n\n"))
    assert first.splitlines() == [
        "sample_rollouts failed; results/organism/logs/rollouts/0.log ends with:",
        "repurpose rollouts.sampling: pair.base: no model",
    ]
    assert second.splitlines() == [
        "sample_rollouts failed; results/organism/logs/rollouts/1.log ends with:",
        *("noise", "Killed"),
    ]


NO_LABELS = """#!/usr/bin/env bash
# Stands in for steps of which one finds no label of the study's behaviour.
case "$*" in *labels.labelling*) echo "None of 7 labelled sentences is backtracking"; exit 1 ;; esac
exec "$QUICK" "$@"
"""


def test_no_activation_is_read_before_there_are_labels(project: Project) -> None:
    """Whatever cores there are; with rollouts of one shard done before those of another."""
    project.environment["QUICK"] = project.environment["REPURPOSE_PYTHON_MAIN"]
    project.environment["REPURPOSE_PYTHON_MAIN"] = str(stand_in := project.root / "no labels")
    stand_in.write_text(NO_LABELS)
    stand_in.chmod(0o755)
    assert "is backtracking" in project.run("--cores", "4", "--keep-going", fails=True)
    made = ["rollouts.prompts", *2 * ["rollouts.sampling"], *2 * ["rollouts.sentences"]]
    assert sorted(project.calls()) == sorted(made)


def test_labels_that_fail_later_make_no_activation_again(edited: Callable[[], Project]) -> None:
    project = edited()
    text = (project.root / "config.yaml").read_text()
    (project.root / "config.yaml").write_text(with_annotators(project, ANNOTATORS).replace("lexicon\n", "ward\n", 1))
    (project.root / "published.json").write_text(json.dumps([CHAIN]))
    good = project.environment["REPURPOSE_PYTHON_MAIN"]
    project.environment |= {"QUICK": good, "REPURPOSE_PYTHON_MAIN": str(project.root / "no labels")}
    (project.root / "no labels").write_text(NO_LABELS)
    (project.root / "no labels").chmod(0o755)
    project.run("--cores", "2", "--keep-going", fails=True)
    project.environment["REPURPOSE_PYTHON_MAIN"] = good
    assert "read_activations" not in rules_of(project.plans({"as it is": {}})["as it is"])
    (project.root / "config.yaml").write_text(text)
    assert not rules_of(project.plans({"as it was": {}})["as it was"]) & {"read_activations", "sample_rollouts"}


def test_a_run_that_succeeds_says_nothing_of_failures(project: Project) -> None:
    assert "failed" not in project.run("--cores", "1", "results/organism/prompts.parquet")


def test_a_missing_engine_is_one_line_before_any_job_and_locks_nothing(project: Project) -> None:
    """A plan needs no environment of the engine, a run does; the next run starts."""
    text = (project.root / "config.yaml").read_text()
    (project.root / "config.yaml").write_text(text.replace("engine: transformers\n", "engine: vllm\n"))
    project.run("-n", "--cores", "1")
    for _ in range(2):
        said = project.run("--cores", "1", fails=True)
        assert "engine: vllm needs its own environment, which is not there; build it with `envs/create.sh" in said
    assert not (project.root / "calls.txt").exists()
    (project.root / "config.yaml").write_text(text)
    project.run("--cores", "1", "results/organism/prompts.parquet")


def test_from_another_directory(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    target = "results/organism/activations/base/0.parquet"
    project.run("-s", str(project.root / "Snakefile"), "--cores", "1", target, folder=elsewhere)
    assert (elsewhere / target).is_file()
    assert not (project.root / "results").exists()
    for record in records(elsewhere):
        assert str(tmp_path) not in json.dumps([record["params"], record["input"], record["code"]])
    models = [text for record in records(elsewhere) if "reasoning_revision" in (text := json.dumps(record["params"]))]
    assert models and all("resources/organism/base" in text for text in models)


def test_a_colon_in_the_path_stops_in_one_line_before_any_job(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "a:b")
    said = project.run("-n", "--cores", "1", fails=True).splitlines()
    assert said[-1] == f"{project.root}: no ':' may be in this path, it ends a path in PYTHONPATH; rename it"
    assert len([line for line in said if not line.startswith("Using workflow specific profile")]) == 1


def test_directory_option(project: Project) -> None:
    target = "results/organism/prompts.parquet"
    project.run("--directory", "work", "--cores", "1", target)
    assert (project.root / "work" / target).is_file()


def test_a_moved_project_has_nothing_to_do(edited: Callable[[], Project]) -> None:
    assert "Nothing to be done" in edited().run("-n", "--cores", "1")


def test_another_study_stands_alone(project: Project) -> None:
    values = project.study()
    sweeps = values["sweeps"]
    assert isinstance(sweeps, dict)
    other = {"study": "other", "pair": values["pair"], "prompts": values["prompts"]}
    other["sweeps"] = {"selection": sweeps["selection"]}
    (project.root / "other.yaml").write_text(yaml.safe_dump(other))
    plan = project.run("-n", "--cores", "1", "--configfile", "other.yaml")
    assert "results/other/report.html" in plan
    assert "results/organism/" not in plan
    assert "two_by_two" not in plan


def test_one_setting_on_the_command_line(project: Project) -> None:
    plan = project.run("-n", "--cores", "1", "--config", "study=changed")
    assert "results/changed/report.html" in plan


def test_parsing_imports_nothing_heavy(project: Project, tmp_path: Path) -> None:
    own = [] if find_spec("pandas") else ["pyarrow"]  # Snakemake imports pandas where an executor has brought it
    for name in ("torch", "transformers", "polars", "scipy", "matplotlib", *own):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    project.environment["PYTHONPATH"] = str(tmp_path)
    assert "make_prompts" in project.run("-n", "--cores", "1")


def test_what_each_model_took_is_kept(finished: Project) -> None:
    """Beside the results and no part of them: a column each for seconds and for megabytes of memory."""
    found = sorted((finished.root / "results" / "organism" / "benchmarks").rglob("*.tsv"))
    # rollouts, activations, selection, sweeps, likelihoods, permutations, log-odds, lens, tokens, traces
    assert len(found) == 2 + 4 + 1 + 5 + 5 + 1 + 2 + 1 + 2 + 2
    for file in found:
        header, row = (line.split("\t") for line in file.read_text().splitlines())
        assert header[:3] == ["s", "h:m:s", "max_rss"] and float(row[0]) > 0


def test_snakemakes_own_report_is_written(finished: Project, tmp_path: Path) -> None:
    finished.run("--report", str(tmp_path / "report.zip"))
    assert (tmp_path / "report.zip").stat().st_size > 100_000


def test_training_is_never_part_of_a_study(finished: Project) -> None:
    plan = finished.run("-n", "--cores", "1", "train_organism")
    assert "Training the embedded pair" in plan
    assert "train_organism" not in finished.run("-n", "--cores", "1", "--forceall")


SLOW_STAND_IN = """#!/usr/bin/env bash
# Writes half of an output and then takes its time, as long as the file `slow` is there.
if [[ -e slow && "$*" == *repurpose.{step}* ]]; then
    for last; do :; done
    printf half > "$last"
    touch begun
    sleep 60
fi
exec "{quick}" "$@"
"""


def start_and_wait(project: Project, step: str, until_slow: bool = True) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own and wait until the step is half done, or who else touches `begun`."""
    quick = project.environment["REPURPOSE_PYTHON_MAIN"]
    slow = project.root / "slow python"
    slow.write_text(SLOW_STAND_IN.format(step=step, quick=quick))
    slow.chmod(0o755)
    project.environment["REPURPOSE_PYTHON_MAIN"] = str(slow)
    (project.root / "slow").touch()
    run = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1"],
        cwd=project.root,
        env={**os.environ, **project.environment},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not (project.root / "begun").exists():
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.05)
    if until_slow:
        (project.root / "slow").unlink()
    return run


@pytest.mark.faults
@pytest.mark.parametrize("step", ["rollouts.prompts", "results.figures"])
def test_a_killed_run_continues_with_the_same_command(project: Project, step: str) -> None:
    run = start_and_wait(project, step)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    done_before = project.calls()
    project.run("--cores", "1")
    for file in (project.root / "results").rglob("*"):
        assert not file.is_file() or file.read_text() != "half"
    repeated = [name for name in project.calls()[len(done_before) :] if name in done_before]
    assert set(repeated) <= {step}


@pytest.mark.faults
def test_a_living_run_keeps_others_out(project: Project) -> None:
    run = start_and_wait(project, "rollouts.prompts")
    try:
        assert "cannot be locked" in project.run("--cores", "2", fails=True)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()


@pytest.mark.faults
def test_a_second_call_leaves_the_locks_of_a_run_that_is_only_starting(project: Project) -> None:
    """Two processes: one has locked its files and not started any job; the other plans, and then wants to run, too."""
    snakefile = project.root / "Snakefile"
    text = snakefile.read_text()
    waits = "    import time\n    Path('begun').touch()\n    while Path('slow').exists():\n        time.sleep(0.1)\n"
    assert text.count("onstart:\n") == 1
    snakefile.write_text(text.replace("onstart:\n", f"onstart:\n{waits}"))
    run = start_and_wait(project, "rollouts.prompts", until_slow=False)
    locks = project.root / ".snakemake" / "locks"
    try:
        held = sorted(locks.iterdir())
        assert held
        project.run("-n", "--cores", "1")
        assert sorted(locks.iterdir()) == held
        assert "cannot be locked" in project.run("--cores", "1", fails=True)
        assert sorted(locks.iterdir()) == held
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    (project.root / "slow").unlink()
    project.run("--cores", "1", "results/organism/prompts.parquet")


@pytest.mark.faults
def test_of_two_calls_after_a_killed_run_no_two_do_the_same_work(project: Project) -> None:
    run = start_and_wait(project, "rollouts.prompts")
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "results/organism/rollouts/0.parquet"]
    outside = {**os.environ, **project.environment}
    both = [
        subprocess.Popen(command, cwd=project.root, env=outside, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [process.communicate()[1] for process in both]
    succeeded = [process.returncode == 0 for process in both]
    assert any(succeeded), said
    # The other one is refused before any job: by the lock, or while it plans, as the first one's files change then.
    assert all(good or "Select jobs to execute" not in text for good, text in zip(succeeded, said, strict=True)), said
    assert project.calls() == ["rollouts.prompts", "rollouts.sampling"]


ANNOTATORS: dict[str, dict[str, object]] = {
    "lexicon": {"kind": "lexicon"},
    "ward": {"kind": "published", "file": "published.json"},
}
COPY = '["deduction"]So 7.["end-section"]'
CHAIN = {"task_id": "17", "problem": "?", "reasoning_chain": "So 7.", "annotated_chain": COPY}


def with_annotators(project: Project, annotators: dict[str, dict[str, object]]) -> str:
    """The project's study with other annotators, as text."""
    return yaml.safe_dump({**project.study(), "labels": {"annotator": "lexicon", "annotators": annotators}})


def check_in_earnest(project: Project) -> None:
    """Let the check of annotators be the real step; all others stay stand-ins."""
    stand_in = project.root / "stand-in python"
    real = f'if [[ "$2" == repurpose.labels.check_annotators ]]; then exec "{sys.executable}" "$@"; fi\n'
    stand_in.write_text(stand_in.read_text().replace("set -euo pipefail\n", f"set -euo pipefail\n{real}"))


def test_a_published_file_that_is_not_in_the_format_is_named_before_any_rollout(project: Project) -> None:
    check_in_earnest(project)
    (project.root / "config.yaml").write_text(with_annotators(project, ANNOTATORS))
    (project.root / "published.json").write_text(json.dumps([{**CHAIN, "annotated_chain": "So 7."}]))
    said = (
        "labels.annotators.ward: published.json: none of 1 records can be read; record 1 (task_id '17'): the annotated"
    )
    printed = project.run("--cores", "1", "--keep-going", fails=True)
    told = [line for line in printed.splitlines() if line.startswith(f"repurpose labels.check_annotators: {said}")]
    assert len(set(told)) == 1
    assert project.calls() == ["rollouts.prompts"]
    assert said in (project.root / "results/organism/logs/rollouts/0.log").read_text()
    (project.root / "published.json").write_text(json.dumps([CHAIN, {**CHAIN, "annotated_chain": "So 7."}]))
    project.run("--cores", "1", "results/organism/rollouts/0.parquet")
    assert project.calls() == ["rollouts.prompts", "rollouts.sampling"]


def test_another_annotator_replans_what_it_labels_and_no_rollout(edited: Callable[[], Project]) -> None:
    project = edited()
    endpoint = {"model": "m", "base_url": "http://127.0.0.1:9/v1"}
    annotators = {**ANNOTATORS, "one": {"kind": "llm", "llm": {"endpoint": endpoint}}}
    (project.root / "published.json").write_text(json.dumps([CHAIN]))
    (project.root / "config.yaml").write_text(with_annotators(project, annotators))
    jobs = project.plans({"added": {}})["added"]
    compared = {
        "compare_annotators",
        "make_tables",
        "judge_claims",
        "draw_figure",
        "write_report",
        "write_explorer",
        "all",
    }
    assert rules_of(jobs) == {*compared, "label_sentences", "label_with_model", "label_steered"}
    assert all("ward" in job for job in jobs if job.startswith("label_sentences"))
    project.run("--cores", "2")
    annotators["one"]["llm"] = {"endpoint": {**endpoint, "model": "another"}}
    (project.root / "config.yaml").write_text(with_annotators(project, annotators))
    assert rules_of(project.plans({"other": {}})["other"]) == {*compared, "label_with_model", "label_steered"}
    project.run("--cores", "2")
    assert "Nothing to be done" in project.run("-n", "--cores", "1")


def rules_of(jobs: list[str]) -> set[str]:
    return {job.split("[")[0] for job in jobs}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return copy_project(tmp_path_factory.mktemp("plain") / "project")


BAD = {
    "unknown key": ("prompts", "trian", 3, "config.yaml: prompts.trian: unknown setting"),
    "wrong type": ("prompts", "train", "many", "config.yaml: prompts.train: 'many' is not of type int"),
    "missing model": ("pair", "base", "resources/nothing", "config.yaml: pair.base: no model at resources/nothing"),
    "missing layer": ("activations", "layers", [99], "config.yaml: activations.layers: layer 99 is not in the base"),
    "empty window": ("activations", "window_length", 0, "config.yaml: activations.window_length: 0 is not allowed"),
    "no weights": (
        "pair",
        "base",
        "resources/organism/bare",
        "config.yaml: pair.base: resources/organism/bare has no ",
    ),
    "other shape": ("pair", "base", "resources/organism/deep", "config.yaml: pair.base: 9 layers (num_hidden_layers)"),
    "tokenizers": ("pair", "base", "resources/organism/alien", "config.yaml: pair.base: its tokenizer disagrees"),
}


@pytest.mark.parametrize("text", ["", "- a", "study: [", "seed: 1\nseed: 2", "[" * 3000, "study: \ud800"])
def test_a_study_that_cannot_be_read_is_one_line(plain: Project, text: str) -> None:
    file = plain.root / "config.yaml"
    good = file.read_bytes()
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        printed = plain.run("-n", "--cores", "1", fails=True)
    finally:
        file.write_bytes(good)
    lines = [line for line in printed.splitlines() if not line.startswith("Using workflow specific profile")]
    assert len(lines) == 1
    assert lines[0].startswith("config.yaml: ")


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_stop_in_one_line_before_any_job(plain: Project, name: str) -> None:
    section, key, value, message = BAD[name]
    write_model(plain.root / "resources" / "organism" / "alien", vocabulary=("x", "y"))
    write_model(plain.root / "resources" / "organism" / "deep", layers=9)
    write_model(plain.root / "resources" / "organism" / "bare")
    (plain.root / "resources" / "organism" / "bare" / "model.safetensors").unlink()
    values = plain.study()
    good = yaml.safe_dump(values)
    part = values[section]
    assert isinstance(part, dict)
    part[key] = value
    (plain.root / "config.yaml").write_text(yaml.safe_dump(values))
    try:
        printed = plain.run("-n", "--cores", "1", fails=True)
    finally:
        (plain.root / "config.yaml").write_text(good)
    lines = [line for line in printed.splitlines() if not line.startswith("Using workflow specific profile")]
    assert len(lines) == 1
    assert lines[0].startswith(message)
