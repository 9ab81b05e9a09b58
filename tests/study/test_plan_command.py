"""The plan: what it counts is what Snakemake and the sweeps will do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.tiny import from_source

from repurpose.study.pair_files import check_layers, count_to_make
from repurpose.study.plan import Shape, count_labelled, format_plan, plan_study, read_shape
from repurpose.study.resources import list_conditions
from repurpose.study.settings import SettingsError, read_study
from repurpose.study.study_file import load_study, load_values

ROOT = Path(__file__).parents[2]
ENDPOINT = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "input_price": 2.5, "output_price": 10.0}
MODEL = {"kind": "llm", "llm": {"endpoint": ENDPOINT, "max_cost": 5.0}}
PUBLISHED = {"kind": "published", "file": "tests/labels/published/ward.json"}
SHAPE = Shape(6, 256)


def embedded_study() -> dict[str, Any]:
    return load_values(ROOT / "studies" / "organism.yaml")


def with_models(**annotators: Any) -> dict[str, Any]:
    labels = {"annotator": "lexicon", "annotators": {"lexicon": {"kind": "lexicon"}, **annotators}}
    return {**embedded_study(), "labels": labels}


def value(items: list[Any], name: str) -> int:
    (found,) = [item.value for item in items if item.name.endswith(name)]
    return int(found.removeprefix("about ").replace(",", ""))


@pytest.mark.workflow
@pytest.mark.parametrize("annotators", [{}, {"one": MODEL}, {"one": MODEL, "two": MODEL, "three": PUBLISHED}])
def test_jobs_are_those_that_snakemake_plans(annotators: dict[str, Any], tmp_path: Path) -> None:
    study = with_models(**annotators)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    command = ["-m", "snakemake", "-n", "-s", ROOT / "Snakefile", "--configfile", "study.yaml"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True)
    (total,) = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("total ")}
    assert value(plan_study(read_study(study), SHAPE), "jobs") == int(total)


@pytest.mark.workflow
def test_a_sweep_in_shards_is_as_many_jobs_and_one_that_merges_them(tmp_path: Path) -> None:
    study = embedded_study()
    study["sweeps"]["two_by_two"]["shards"] = 3
    study["sweeps"]["selection"]["shards"] = 2
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    command = ["-m", "snakemake", "-n", "-s", ROOT / "Snakefile", "--configfile", "study.yaml"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True)
    counts = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert (counts["steer_to_select"], counts["merge_sweep"], counts["steer"]) == ("2", "4", "9")
    assert value(plan_study(read_study(study), SHAPE), "jobs") == int(counts["total"])
    study["sweeps"]["two_by_two"]["shards"] = 61
    with pytest.raises(SettingsError, match=r"sweeps.two_by_two.shards: 61 is more than sweeps.two_by_two.prompts"):
        read_study(study)


@pytest.mark.workflow
@pytest.mark.parametrize("unit", ["sentence", "span"])
def test_published_chains_are_counted_as_snakemake_plans_them(unit: str, tmp_path: Path) -> None:
    annotated = '["deduction"]So 7.["end-section"]'
    records = [{"problem": f"{n}?", "reasoning_chain": "So 7.", "annotated_chain": annotated} for n in range(9)]
    file = tmp_path / "chains.json"
    file.write_text(json.dumps([*records, *records[:3], {}]))
    study = embedded_study()
    study["prompts"] = {"source": str(file), "train": 5, "heldout": 4}
    study["rollouts"] = {"engine": "published", "file": str(file), "shards": 3, "max_new_tokens": 50}
    study["labels"] = {"unit": unit, "annotator": "w", "annotators": {"w": {"kind": "published", "file": str(file)}}}
    study["sweeps"] = {name: {**sweep, "prompts": "all"} for name, sweep in study["sweeps"].items()}
    study["selection"]["metric"] = "keyword_share"
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    command = ["-m", "snakemake", "-n", "-s", ROOT / "Snakefile", "--configfile", "study.yaml"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True)
    (total,) = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("total ")}
    items = plan_study(read_study(study), SHAPE)
    assert value(items, "jobs") == int(total)
    (rollouts,), (tokens,) = ([item for item in items if item.name == name] for name in ("rollouts", "tokens, at most"))
    assert rollouts[1:] == ("12", "9 prompts x 1.33 published chains of each")
    assert tokens[1:] == ("600", "12 rollouts x 50 tokens, where a chain is cut; none is generated")


QWEN = dict.fromkeys(("qwen-1.5b", "qwen-7b", "qwen-14b", "qwq-32b"), 79)
SMOLLM2 = dict.fromkeys(
    ("smollm2-full", "smollm2-hub", "smollm2-blind", *(f"smollm2-seed-{seed}" for seed in range(1, 5))), 60
)
SHIPPED = {"organism": 58, "organism-vllm": 60, "paper": 84, "paper-controlled": 84, **SMOLLM2, **QWEN}
"""Jobs of each study in studies/."""
SHAPES = {
    "organism": SHAPE,
    **dict.fromkeys(SMOLLM2, Shape(30, 576)),
    "organism-vllm": SHAPE,
    "paper": Shape(32, 4096),
    "paper-controlled": Shape(32, 4096),
    "qwen-1.5b": Shape(28, 1536),
    "qwen-7b": Shape(28, 3584),
    "qwen-14b": Shape(48, 5120),
    "qwq-32b": Shape(64, 5120),
}
"""Layers and width of their models, which are on a hub."""


@pytest.mark.workflow
@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "studies").glob("*.yaml")))
def test_shipped_studies_plan_as_many_jobs_as_ever(name: str, tmp_path: Path) -> None:
    """Neither a GPU, nor vLLM, nor a model's files are needed to plan."""
    file = ROOT / "studies" / f"{name}.yaml"
    command = ["-m", "snakemake", "-n", "-s", ROOT / "Snakefile", "--configfile", file]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (total,) = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("total ")}
    study = load_study(file)
    assert int(total) == SHIPPED[name] + count_to_make(study) < 200
    assert value(plan_study(study, SHAPES[name]), "jobs") == int(total)
    check_layers(study.activations, study.sweeps, {"reasoning": {"num_hidden_layers": SHAPES[name].layers}})


def test_conditions_are_those_of_the_sweep() -> None:
    study = read_study(embedded_study())
    assert len(list_conditions(study, study.sweeps["two_by_two"], "base", SHAPE.layers)) == 2 * 4
    baselines = study.sweeps["baselines"]
    drawn = study.vectors.shuffles + study.vectors.random_directions + study.vectors.covariance_directions
    directions = 6 + 2 + 1 + 1 + drawn + study.permutations.rivals + 2
    assert len(list_conditions(study, baselines, "reasoning", SHAPE.layers)) == directions * len(
        baselines.magnitudes.values
    )
    selection = study.sweeps["selection"]
    grid = SHAPE.layers * len(study.activations.window_starts) * len(selection.magnitudes.values)
    assert len(list_conditions(study, selection, "reasoning", SHAPE.layers)) == grid


def test_steered_rollouts_that_are_labelled_are_those_of_the_base_derived_vector() -> None:
    study = read_study(with_models(one=MODEL))
    sweep = study.sweeps["two_by_two"]
    cells = 1 + len(sweep.magnitudes.values) + sweep.beside
    labelled = cells * study.labels.steered_prompts * sweep.samples
    assert count_labelled(study, SHAPE) == labelled
    (requests,) = [item for item in plan_study(study, SHAPE) if item.name.endswith("requests")]
    assert f"300 rollouts x 1 + {labelled} steered rollouts x 1 chunks" in requests.formula


def test_annotation_costs_what_its_formula_says() -> None:
    items = plan_study(read_study(with_models(one=MODEL)), SHAPE)
    prompt, reply = value(items, "prompt tokens"), value(items, "reply tokens")
    (cost,) = [item for item in items if item.name.endswith("cost")]
    assert float(cost.value.removeprefix("about ")) == pytest.approx((prompt * 2.5 + reply * 10) / 1e6, abs=0.005)
    assert "max_cost 5" in cost.formula
    batch = {**MODEL, "llm": {**MODEL["llm"], "batch": True}}  # type: ignore[dict-item]
    (half,) = [item for item in plan_study(read_study(with_models(one=batch)), SHAPE) if item.name.endswith("cost")]
    assert float(half.value.removeprefix("about ")) == pytest.approx(
        float(cost.value.removeprefix("about ")) / 2, abs=0.01
    )


def test_the_shape_is_the_shipped_pairs() -> None:
    assert read_shape(read_study(embedded_study())) == SHAPE


def test_every_line_has_a_formula() -> None:
    items = plan_study(read_study(with_models(one=MODEL)), SHAPE)
    assert all(item.formula for item in items)
    assert len(format_plan(items).splitlines()) == len(items)


def test_the_command_prints_the_plan_and_names_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "repurpose.study.plan"]
    done = subprocess.run(command, cwd=ROOT, env=from_source(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("jobs") and "steered rollouts" in done.stdout
    elsewhere = [*command, ROOT / "config.yaml"]
    found = subprocess.run(elsewhere, cwd=tmp_path, env=from_source(), capture_output=True, text=True)
    assert found.stdout == done.stdout, found.stderr
    (tmp_path / "bad.yaml").write_text("study: x\n")
    done = subprocess.run([*command, tmp_path / "bad.yaml"], env=from_source(), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"repurpose plan: {tmp_path / 'bad.yaml'}: pair: missing setting; it is required\n"
