"""What replans what: every leaf of the configuration, every module, the interpreter, the weights."""

from __future__ import annotations

import copy
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from copied_project import Project, copy_project, write_model
from safetensors.numpy import save_file

from repurpose.study.pair_files import check_models
from repurpose.study.settings import SettingsError, read_study

pytestmark = pytest.mark.workflow

FOLLOWS = {
    "make_prompts": ("sample_rollouts", "steer_to_select", "steer", "score_text", "score_text selection"),
    "sample_rollouts": ("split_sentences", "write_report", "write_explorer"),
    "split_sentences": ("label_sentences", "read_activations"),
    "label_sentences": ("compute_vectors", "compare_readers", "write_report", "write_explorer", "finish_labels"),
    "finish_labels": (),
    "read_activations": ("compute_vectors", "compare_readers", "permute_labels"),
    "compute_vectors": (
        *("project_out", "steer_to_select", "steer", "permute_labels"),
        *("measure_log_odds", "apply_lens", "project_tokens", "trace_rollouts"),
    ),
    "project_out": ("steer",),
    "steer_to_select": ("score_text selection", "write_explorer"),
    "score_text selection": ("measure_sweep selection",),
    "measure_sweep selection": ("select_site", "make_tables", "write_explorer"),
    "select_site": (
        *("compare_readers", "permute_labels", "steer", "measure_log_odds"),
        *("apply_lens", "project_tokens", "trace_rollouts"),
    ),
    "permute_labels": ("steer", "make_tables"),
    "compare_readers": ("make_tables",),
    "steer": ("score_text", "merge_sweep", "write_explorer"),
    "merge_sweep": ("score_text", "write_explorer"),
    "score_text": ("measure_sweep",),
    "measure_sweep": ("make_tables", "write_explorer"),
    "measure_log_odds": ("make_tables",),
    "apply_lens": ("make_tables",),
    "project_tokens": ("make_tables",),
    "trace_rollouts": ("write_explorer",),
    "make_tables": ("draw_figure", "judge_claims"),
    "draw_figure": ("write_report",),
    "judge_claims": ("write_report",),
    "write_report": (),
    "write_explorer": (),
}
"""The way of the data, written out by hand. Activations wait for `finish_labels` and are not made anew after it."""

FIRST: dict[str, str | tuple[str, ...]] = {
    "study": "make_prompts",
    "seed": "make_prompts",
    "prompts": "make_prompts",
    "pair": "sample_rollouts",
    "pair.parameters": "",
    "pair.gpus": "",
    "engine": "sample_rollouts",
    "rollouts": "sample_rollouts",
    "labels": "label_sentences",
    "labels.steered_sweep": "",
    "labels.steered_prompts": "",
    "activations": "read_activations",
    "vectors": "compute_vectors",
    "keywords": ("measure_sweep selection", "project_out", "permute_labels"),
    "selection": ("score_text selection", "score_text"),
    "permutations": "permute_labels",
    "statistics": "compare_readers",
    "explorer": "trace_rollouts",
    "explorer.steered": "write_explorer",
    "sweeps": "steer",
    "sweeps.selection": "steer_to_select",
}
"""The first rules that each section of the configuration replans; what follows them follows. None where nobody asks."""

ALONE_INVALID = {
    "prompts.source",
    "sweeps.selection.split",
    "sweeps.selection.operation",
    "sweeps.baselines.operation",
    "sweeps.baselines.layers",
    "sweeps.baselines.window_starts",
    "sweeps.selection.beside",
    "sweeps.ablation.beside",
    "sweeps.two_by_two.operation",
    "selection.sweep",
    "vllm",
    "rollouts.engine",
    "rollouts.endpoint",
    "rollouts.file",
    "rollouts.ids",
    "labels.unit",
    "labels.annotator",
    "labels.annotators.lexicon.kind",
    "labels.annotators.lexicon.llm",
    "labels.annotators.lexicon.file",
    "labels.steered_annotator",
    "selection.annotator",
}
"""Leaves that cannot change alone: another value breaks a rule of the study, or there is no other value yet."""

COMPANIONS = {
    "vectors.behaviour": {
        "sweeps.selection.directions": ["{}"],
        "sweeps.baselines.directions": ["{}", "{}-without-keywords", "rival"],
    }
}
"""A leaf that others must follow: the selection sweep steers with the behaviour, the baselines with variants of it."""

CANDIDATES: tuple[Any, ...] = (
    "vllm",
    5,
    2.5,
    "main",
    "resources/organism/other",
    "prompts.jsonl",
    "base",
    "reasoning",
    "float16",
    "minus_rest",
    "keyword_share",
    "deduction",
    "train",
    "l2",
    "ablate",
    "add",
    "generated",
    [0],
    [-13],
    ["base"],
    ["base", "reasoning"],
    ["backtracking", "deduction"],
    ["other"],
    [0.125],
    True,
    False,
)


BATCHES = ("batch_size", "batch_tokens")
"""Leaves of any section that replan nothing."""


def follow(*rules: str) -> set[str]:
    """The rules and everything after them on the way of the data."""
    found, waiting = set(), list(rules)
    while waiting:
        rule = waiting.pop()
        if rule and rule not in found:
            found.add(rule)
            waiting += FOLLOWS[rule]
    return found


def rules_of(jobs: list[str]) -> set[str]:
    """The rules of planned jobs, measurements of the selection sweep apart from the others."""
    names = set()
    for job in jobs:
        rule, wildcards = job.removesuffix("]").split("[")
        is_selection = rule in ("score_text", "measure_sweep") and "selection" in wildcards.split(",")
        names.add(f"{rule} selection" if is_selection else rule)
    return names - {"all"}


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def with_leaf(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(values)
    *sections, key = path.split(".")
    section = changed
    for name in sections:
        section = section[name]
    section[key] = value
    return changed


def get_leaf(values: dict[str, Any], path: str) -> Any:
    for key in path.split("."):
        values = values[key]
    return values


def other_values(values: dict[str, Any], path: str) -> Iterator[dict[str, Any]]:
    """Yield valid studies that differ in one leaf alone."""
    now = get_leaf(values, path)
    numbers = (now + 1, now - 1, now / 2) if isinstance(now, int | float) else ()
    for value in (*numbers, *CANDIDATES):
        changed = with_leaf(values, path, value)
        for companion, names in COMPANIONS.get(path, {}).items():
            changed = with_leaf(changed, companion, [name.format(value) for name in names])
        try:
            study = read_study(changed)
            check_models(study)
        except SettingsError:
            continue
        if asdict(study) != asdict(read_study(values)):
            yield changed


def write_study(values: dict[str, Any]) -> str:
    return yaml.safe_dump(json.loads(json.dumps(values)))


def whole_study(project: Project) -> dict[str, Any]:
    """The default study with every key written out."""
    return dict(json.loads(json.dumps(asdict(read_study(project.study())))))


@pytest.fixture(scope="module")
def leaf_plans(finished: Project) -> dict[str, list[str]]:
    """The plan after each leaf of the configuration has changed alone."""
    values, changes = whole_study(finished), {"as it is": {}, "defaults written out": {}}
    changes["defaults written out"] = {"config.yaml": write_study(values)}
    write_model(finished.root / "resources" / "organism" / "other")
    (finished.root / "prompts.jsonl").write_text('{"category": "a", "prompt": "b"}\n' * 1000)
    before, root = Path.cwd(), os.environ.get("REPURPOSE_ROOT")
    os.chdir(finished.root)
    try:
        for leaf in leaves(values):
            for changed in other_values(values, leaf):
                changes[leaf] = {"config.yaml": write_study(changed)}
                break
    finally:
        os.chdir(before)
        assert os.environ.get("REPURPOSE_ROOT") == root
    return finished.plans(changes)


@pytest.mark.slow
def test_a_finished_study_plans_nothing(leaf_plans: dict[str, list[str]]) -> None:
    assert leaf_plans["as it is"] == []


@pytest.mark.slow
def test_a_key_left_out_is_its_default(leaf_plans: dict[str, list[str]]) -> None:
    assert leaf_plans["defaults written out"] == []


@pytest.mark.slow
def test_every_leaf_was_changed(finished: Project, leaf_plans: dict[str, list[str]]) -> None:
    assert set(leaves(whole_study(finished))) - set(leaf_plans) == ALONE_INVALID


@pytest.mark.slow
def test_each_leaf_replans_exactly_what_follows_from_it(leaf_plans: dict[str, list[str]]) -> None:
    wrong = {}
    for leaf, jobs in leaf_plans.items():
        sections = [name for name in FIRST if leaf == name or leaf.startswith(f"{name}.")]
        gate = {"check_parity"} if leaf == "engine" else set()
        gate |= {"merge_sweep"} if leaf.startswith("sweeps.") else set()  # where the sweep that changed has shards
        first = "" if leaf.endswith(BATCHES) else FIRST[max(sections, key=len)] if sections else None
        first = (first,) if isinstance(first, str) else first
        if first is not None and rules_of(jobs) - gate != (expected := follow(*first) - gate):
            wrong[leaf] = rules_of(jobs) ^ expected
    assert not wrong


@pytest.mark.slow
def test_a_sweep_of_its_own_replans_no_other_sweep(leaf_plans: dict[str, list[str]]) -> None:
    for leaf, jobs in leaf_plans.items():
        if leaf.startswith("sweeps.") and not leaf.startswith("sweeps.selection.") and not leaf.endswith(BATCHES):
            name = leaf.split(".")[1]
            steered = [job for job in jobs if job.startswith(("steer[", "measure_sweep["))]
            assert steered and all(name in job for job in steered), leaf


def test_the_sizes_of_batches_are_passed_beside_the_settings(finished: Project) -> None:
    calls = (finished.root / "calls.txt").read_text().splitlines()
    sizes = {"rollouts.sampling": "64", "directions.activations": "16384", "steering.sweeps": "192"}
    for step, size in sizes.items():
        own = [line for line in calls if f"repurpose.{step} " in line]
        assert own and all(f"--batch {size} " in line for line in own), step
    assert not [line for line in calls if '"batch_' in line]


CODE = {
    "__init__.py": (),
    "study/settings.py": (),
    "study/resources.py": (),
    "study/errors.py": (),
    "study/catalogue.py": (),
    "study/conditions.py": (),
    "study/conditions.py:expand": ("steer_to_select", "steer"),
    "study/conditions.py:kind_of": ("compute_vectors",),
    "study/chunks.py:cut": (),
    "study/vector_files.py": (),
    "study/vector_files.py:read_vector": ("compute_vectors",),
    "data/command.py": (),
    "data/journal.py": (),
    "data/files.py": (),
    "data/provenance.py": (),
    "data/schemas.py": (),
    "data/selected.py:write_selected": ("select_site", "make_tables"),
    "data/categories.py:deal": ("make_prompts",),
    "data/statistics.py": (),
    "data/statistics.py:estimate_auroc": ("make_tables",),
    "data/statistics.py:interval": ("compare_readers", "make_tables", "draw_figure"),
    "data/csv_tables.py:to_csv": ("make_tables", "judge_claims"),
    "model/gpus.py": (),
    "model/endpoint.py": (),
    "model/hooks.py": ("sample_rollouts", "read_activations", "steer_to_select"),
    "model/engines/transformers.py": ("sample_rollouts", "steer_to_select", "steer"),
    "model/engines/vllm.py": (),
    "model/engines/vllm_steering.py": (),
    "model/engines/vllm_requirements.py": (),
    "model/engines/api.py": (),
    "rollouts/published.py": (),
    "study/published.py:read_task": ("make_prompts",),
    "organism/corpus.py": ("measure_log_odds",),
    "organism/grammar.py": ("measure_sweep selection", "measure_sweep"),
    "model/continuations.py": ("score_text selection", "score_text"),
    "rollouts/prompts.py": ("make_prompts",),
    "labels/lexicon.py": ("label_sentences", "measure_sweep selection"),
    "study/labellers.py": (),
    "labels/llm/batch.py": (),
    "labels/llm/annotator.py": (),
    "labels/published/alignment.py": (),
    "labels/spans.py": (),
    "directions/export.py": (),
    "directions/controls.py": ("compute_vectors", "compare_readers"),
    "directions/lens.py": ("apply_lens",),
    "directions/variants.py": ("project_out",),
    "model/slopes.py": ("permute_labels",),
    "model/unembedding.py": ("project_out",),
    "steering/permutations.py": ("permute_labels",),
    "directions/traces.py": ("trace_rollouts",),
    "directions/unit_directions.py": (
        *("steer_to_select", "steer", "measure_log_odds", "apply_lens", "project_tokens", "trace_rollouts"),
    ),
    "steering/selection.py": ("select_site", "make_tables"),
    "steering/merge_sweep.py": ("merge_sweep",),
    "steering/likelihood.py": ("score_text selection", "score_text"),
    "steering/stability.py": ("make_tables",),
    "steering/check_parity.py": (),
    "steering/marks.py": ("write_explorer",),
    "steering/opened.py": (),
    "results/explorer/look.py": (),
    "results/explorer/text.js": ("write_explorer",),
    "results/names.py": ("make_tables", "judge_claims", "write_report"),
    "results/claims/rules.py": ("judge_claims", "write_report"),
    "results/claims/claims.yaml": ("judge_claims", "write_report"),
    "results/figures/directions.py": ("draw_figure",),
    "results/report/report.html.jinja": ("write_report",),
    "results/report/style.css": ("write_report",),
}
"""Which rules a change in a file, or in one function of it, replans first in the default study, which labels with the
lexicon and runs in transformers; what follows them follows. Written out by hand."""

SCHEMAS = {
    "PROMPTS": ("make_prompts",),
    "SENTENCES": ("split_sentences", "measure_sweep selection"),
    "LABELS": ("label_sentences",),
    "STEERED_LABELS": ("make_tables",),
    "ACTIVATIONS": ("read_activations",),
    "PERMUTATIONS": ("permute_labels",),
    "SWEEPS": ("steer_to_select", "steer"),
    "LIKELIHOODS": ("score_text selection", "score_text"),
    "LENS": ("apply_lens",),
    "TRACES": ("trace_rollouts",),
}
"""Which rules another column in a schema replans first: those that write such a table, and those whose code builds on
the code that does."""


def with_edit(package: Path, name: str) -> tuple[Path, str]:
    """A file, and its text with a line more: another function of a name after the colon, or what is but code."""
    path, _, function = name.partition(":")
    data = {".css": "/* edited */", ".js": "// edited", ".yaml": "edited: true", ".jinja": "edited"}
    line = f"def {function}(): pass" if function else data.get(Path(path).suffix, "EDITED = 1")
    return package / path, f"{(package / path).read_text()}\n\n{line}\n"


def with_column(package: Path, table: str) -> tuple[Path, str]:
    """The module that holds a table's schema, and its text with one column more."""
    modules = (package / "data").glob("*.py")
    [file] = [file for file in modules if re.search(rf"^{table} = ", file.read_text(), re.MULTILINE)]
    return file, f"{file.read_text()}\n{table} = pa.schema([*{table}, pa.field('added', pa.string())])\n"


@pytest.fixture(scope="module")
def code_plans(finished: Project) -> dict[str, list[str]]:
    """The plan after code in each file of the table, another column in each schema, comments in all modules at once."""
    package = finished.root / "src" / "repurpose"
    edits = {name: with_edit(package, name) for name in CODE}
    edits |= {table: with_column(package, table) for table in SCHEMAS}
    changes = {name: {str(file.relative_to(finished.root)): text} for name, (file, text) in edits.items()}
    texts = {str(file.relative_to(finished.root)): file.read_text() for file in package.rglob("*.py")}
    comments = {name: f"# A comment.\n\n\n{text}\n\n# Another.\n" for name, text in texts.items()}
    return finished.plans({**changes, "comments": comments})


def test_a_comment_replans_nothing(code_plans: dict[str, list[str]]) -> None:
    assert code_plans["comments"] == []


@pytest.mark.parametrize("changed", [*CODE, *SCHEMAS])
def test_code_replans_what_it_computes_and_what_follows(code_plans: dict[str, list[str]], changed: str) -> None:
    assert rules_of(code_plans[changed]) == follow(*{**CODE, **SCHEMAS}[changed])


@pytest.fixture(scope="module")
def outside_plans(finished: Project) -> dict[str, list[str]]:
    """The plan of the finished study with a vector from outside, and with each leaf of that changed alone."""
    files = {name: np.random.default_rng(0).standard_normal((3, 4)) for name in ("theirs", "others")}
    for name, rows in files.items():
        np.save(finished.root / f"{name}.npy", rows)
        save_file({"a": rows, "b": rows}, finished.root / f"{name}.safetensors")
    vector = {"file": "theirs.safetensors", "tensor": "a", "index": 1, "layer": 2, "norm": 1.0}
    leaves = {"file": "others.safetensors", "tensor": "b", "index": 2, "layer": 3, "norm": None}
    studies = {"whole": vector, **{key: {**vector, key: value} for key, value in leaves.items()}}
    changes: dict[str, dict[str, str]] = {}
    for name, one in studies.items():
        values = whole_study(finished)
        values["vectors"]["outside"] = {"theirs": one}
        changes[name] = {"config.yaml": write_study(values)}
    return finished.plans(changes)


@pytest.mark.parametrize("leaf", ["whole", "file", "tensor", "index", "layer", "norm"])
def test_a_vector_from_outside_replans_the_vectors_and_what_follows(
    outside_plans: dict[str, list[str]], leaf: str
) -> None:
    assert rules_of(outside_plans[leaf]) == follow("compute_vectors")


def test_another_file_under_the_name_of_a_vector_from_outside_replans_them(edited: Callable[[], Project]) -> None:
    project = edited()
    file = project.root / "theirs.npy"
    np.save(file, np.ones(4))
    values = whole_study(project)
    values["vectors"]["outside"] = {"theirs": {"file": "theirs.npy", "layer": 2}}
    (project.root / "config.yaml").write_text(write_study(values))
    project.run("--cores", "2")
    assert project.plans({"finished": {}})["finished"] == []
    np.save(file, np.arange(1.0, 5.0))
    os.utime(file, (time.time() + 5, time.time() + 5))
    assert rules_of(project.plans({"file": {}})["file"]) == follow("compute_vectors")
    file.unlink()
    said = project.run("-n", fails=True)
    assert "vectors.outside.theirs.file: no file at theirs.npy; give a .safetensors" in said


def test_vectors_are_exported_where_they_are_asked_for(finished: Project) -> None:
    assert "Nothing to be done" in finished.run("-n", "--cores", "1")
    said = finished.run("-n", "--cores", "1", "--printshellcmds", "export_vectors")
    assert "-m repurpose.directions.export --vectors results/organism/vectors/base.parquet" in said
    assert "--output results/organism/exported" in said and "Reading activations" not in said


def test_the_interpreter_replans_nothing(finished: Project) -> None:
    other = Project(finished.root, {"REPURPOSE_PYTHON_MAIN": "/another/python"})
    assert "Nothing to be done" in other.run("-n", "--cores", "1")


@pytest.mark.parametrize(("role", "generates"), [("base", False), ("reasoning", True)])
def test_other_weights_replan_what_was_made_with_them(
    edited: Callable[[], Project], role: str, generates: bool
) -> None:
    project = edited()
    weights = project.root / "resources" / "organism" / role / "model.safetensors"
    weights.write_text("other weights")
    jobs = project.plans({"weights": {}})["weights"]
    assert ("sample_rollouts" in rules_of(jobs)) == generates
    reading = [job for job in jobs if job.startswith("read_activations")]
    assert reading and (generates or all("base" in job for job in reading))


@pytest.mark.parametrize("size", [7, 2_000_000], ids=["small", "large"])
def test_weights_that_were_touched_replan_nothing(tmp_path: Path, size: int) -> None:
    project = copy_project(tmp_path / "project")
    weights = project.root / "resources" / "organism" / "base" / "model.safetensors"
    weights.write_text("w" * size)
    project.run("--cores", "2")
    os.utime(weights, (time.time() + 60, time.time() + 60))
    assert project.plans({"touched": {}})["touched"] == []
    weights.write_text("v" * size)
    assert "read_activations" in rules_of(project.plans({"other": {}})["other"])


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json", "generation_config.json"])
def test_what_makes_ids_of_texts_and_ends_them_replans(edited: Callable[[], Project], name: str) -> None:
    """In the reasoning model, which writes the rollouts; in the base model what is steered in it, or with a
    direction from which its keywords are projected out."""
    project = edited()
    for role in ("base", "reasoning"):
        (project.root / "resources" / "organism" / role / name).write_text("{}")
        jobs = project.plans({"words": {}})["words"]
        if role == "base":
            assert not {"sample_rollouts", "read_activations", "steer_to_select"} & rules_of(jobs)
            steered = {job.rsplit(",", 1)[0] for job in jobs if job.startswith("steer[")}
            assert steered == {"steer[organism,two_by_two,base", "steer[organism,baselines,reasoning"}
        else:
            assert rules_of(jobs) >= follow("sample_rollouts")
