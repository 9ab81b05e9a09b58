"""A whole sweep on the tiny pair: paired rows, proof of steering in every row, a journal that is reused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import GRID, SELECTED, VECTOR_NAMES, StepMaker
from transformers import GenerationConfig

from repurpose.data.files import read_provenance, read_table, write_table
from repurpose.data.journal import journal_path
from repurpose.data.schemas import PROMPTS, SWEEPS
from repurpose.data.selected import write_selected
from repurpose.directions.unit_directions import Directions, read_pair_directions
from repurpose.model.tokens import load_tokenizer, stop_token_ids
from repurpose.rollouts.sampling import sample_rollouts
from repurpose.steering import sweeps
from repurpose.steering.conditions import choose_prompts, list_conditions
from repurpose.steering.sweeps import main, run_sweep
from repurpose.study.settings import Pair, SettingsError, StepSettings, canonical_json

Row = dict[str, Any]
SOURCE = str(Path(sweeps.__file__).parents[2])
BASELINES = {
    **GRID,
    "split": "heldout",
    "prompts": 2,
    "layers": "selected",
    "window_starts": "selected",
    "directions": ["backtracking", "deduction", "mean", "same-offset", "shuffle", "random", "noise", "self"],
    "magnitudes": {"unit": "selected", "values": [1.0, -1.0]},
}


@pytest.fixture
def directions(vector_files: list[str]) -> Directions:
    return read_pair_directions(vector_files)


def sweep_step(make_step: StepMaker, sweep: dict[str, Any], target: str = "reasoning", **extra: Any) -> StepSettings:
    return make_step("steering.sweeps", sections={"sweeps": {"this": sweep}}, sweep="this", target=target, **extra)


def run(step: StepSettings, prompts: list[Row], directions: Directions, output: Path) -> list[Row]:
    conditions, _ = list_conditions(step, directions, SELECTED)
    return run_sweep(step, prompts, directions, conditions, output)


def test_every_column_of_every_row_is_filled(
    tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row], directions: Directions
) -> None:
    rows = run(sweep_step(make_step, BASELINES, "base"), prompt_rows, directions, tmp_path / "s")
    assert len(rows) == 2 * (1 + 2 * (len(VECTOR_NAMES) + 2))
    for row in rows:
        assert set(row) == set(SWEEPS.names)
        fed = len(row["token_ids"]) + (row["finish_reason"] == "stop") - 1
        steered = row["direction"] != "none"
        assert row["steered_positions"] == row["expected_positions"] == steered * (row["prompt_tokens"] + fed)
        assert row["magnitude"] == (row["multiple"] * 4 if steered else 0)
        assert row["dose"] == pytest.approx(row["magnitude"] / 7)  # the target's own norm at layer 1
        assert row["target"] == "base" and row["sweep"] == "this"


def test_conditions_are_paired_by_seed(
    tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row], directions: Directions
) -> None:
    rows = run(sweep_step(make_step, {**GRID, "samples": 2}), prompt_rows, directions, tmp_path / "s")
    seeds = {(row["prompt_id"], row["sample"]): row["seed"] for row in rows}
    assert all(row["seed"] == seeds[row["prompt_id"], row["sample"]] for row in rows)
    assert len(set(seeds.values())) == 6
    assert sum(row["direction"] == "none" for row in rows) == 6


def test_unsteered_rows_are_the_rollouts(
    tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row], directions: Directions
) -> None:
    rollouts = sample_rollouts(make_step("rollouts.sampling", shard=0), prompt_rows, tmp_path / "r")
    texts = {row["prompt_id"]: row["token_ids"] for row in rollouts}
    step = sweep_step(make_step, {**GRID, "max_new_tokens": 12, "layers": [1]})
    unsteered = [r for r in run(step, prompt_rows, directions, tmp_path / "s") if r["direction"] == "none"]
    assert [row["token_ids"] for row in unsteered] == [texts[row["prompt_id"]] for row in unsteered]


def with_another_end(pair_folders: dict[str, str], folder: Path) -> Pair:
    """The pair, but the reasoning model ends its texts with </think>."""
    shutil.copytree(pair_folders["reasoning"], folder)
    pair = Pair(pair_folders["base"], str(folder))
    tokenizer = load_tokenizer(pair, "reasoning")
    tokenizer.eos_token = "</think>"
    tokenizer.save_pretrained(folder)
    GenerationConfig(eos_token_id=tokenizer.eos_token_id).save_pretrained(folder)
    return pair


def test_texts_of_both_targets_end_where_the_chat_format_does(
    tmp_path: Path,
    make_step: StepMaker,
    pair_folders: dict[str, str],
    prompt_rows: list[Row],
    directions: Directions,
) -> None:
    """Base and reasoning model may end texts differently; the base model's own end counts, too."""
    pair = with_another_end(pair_folders, tmp_path / "other")
    own, shared = stop_token_ids(pair, "base"), stop_token_ids(pair, "base", "reasoning")
    assert own == [1] and shared == [1, 5] and stop_token_ids(pair, "reasoning") == [5]
    grid = {**GRID, "layers": [1], "max_new_tokens": 60}
    sections = {"sweeps": {"this": grid}, "pair": vars(pair)}
    step = make_step("steering.sweeps", sections=sections, sweep="this", target="base")
    rows = run(step, prompt_rows, directions, tmp_path / "s")
    assert {row["finish_reason"] for row in rows} >= {"stop"}
    assert not {token for row in rows for token in row["token_ids"]} & set(shared)
    alone = run(sweep_step(make_step, grid, "base"), prompt_rows, directions, tmp_path / "alone")
    assert any(5 in row["token_ids"] for row in alone)
    for row, longer in zip(rows, alone, strict=True):
        assert row["token_ids"] == longer["token_ids"][: len(row["token_ids"])]


def test_a_new_magnitude_computes_only_its_own_cells(
    tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row], directions: Directions
) -> None:
    def more(*values: float) -> StepSettings:
        return sweep_step(make_step, {**GRID, "magnitudes": {"unit": "dose", "values": values}, "batch_size": 5})

    output = tmp_path / "s"
    first = run(more(1.0), prompt_rows, directions, output)
    assert len(journal_path(output).read_text().splitlines()) == len(first) == 3 * (1 + 6)
    both = run(more(1.0, 2.0), prompt_rows, directions, output)
    assert len(journal_path(output).read_text().splitlines()) == len(both) == 3 * (1 + 12)
    assert [row for row in both if row["multiple"] != 2.0] == first
    assert both == run(more(1.0, 2.0), prompt_rows, directions, tmp_path / "fresh")


def test_other_vectors_or_other_code_reuse_nothing_but_what_they_do_not_touch(
    tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row], directions: Directions
) -> None:
    output = tmp_path / "s"
    step = sweep_step(make_step, GRID, code="a")
    count = len(run(step, prompt_rows, directions, output))
    site = ("backtracking", "base", 1, -3)
    turned = Directions({**directions.units, site: -directions.units[site]}, directions.norms)
    run(step, prompt_rows, turned, output)
    assert len(journal_path(output).read_text().splitlines()) == count + 3
    run(sweep_step(make_step, GRID, code="b"), prompt_rows, directions, output)
    assert len(journal_path(output).read_text().splitlines()) == 2 * count + 3


def test_prompts_are_dealt_by_category(prompt_rows: list[Row]) -> None:
    assert [row["prompt_id"] for row in choose_prompts(prompt_rows, "train", 3, "its setting")] == [
        "p0",
        "p1",
        "p2",
    ]
    uneven = sorted(prompt_rows, key=lambda row: row["category"])
    chosen = choose_prompts(uneven, "heldout", 2, "its setting")
    assert {row["category"] for row in chosen} == {"sums", "steps"}
    assert {row["split"] for row in chosen} == {"heldout"}
    with pytest.raises(SettingsError, match="its setting: 9 train prompts are asked for, there are 4"):
        choose_prompts(prompt_rows, "train", 9, "its setting")


def test_a_label_without_a_vector_is_left_out_and_told(make_step: StepMaker, directions: Directions) -> None:
    step = sweep_step(make_step, {**BASELINES, "directions": ["backtracking", "initializing"]})
    conditions, missing = list_conditions(step, directions, SELECTED)
    assert {c.direction for c in conditions} == {"none", "backtracking"}
    assert missing == [("initializing", "base", 1, -3)]
    alone = sweep_step(make_step, {**BASELINES, "directions": ["initializing"]})
    with pytest.raises(SettingsError, match=r"sweeps.this: no condition"):
        list_conditions(alone, directions, SELECTED)


def test_both_readers_are_needed(vector_files: list[str]) -> None:
    with pytest.raises(SettingsError, match="no table of reader reasoning"):
        read_pair_directions(vector_files[:1])


def test_the_command_writes_the_table_and_keeps_its_journal(
    tmp_path: Path,
    make_step: StepMaker,
    prompt_rows: list[Row],
    vector_files: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_table(tmp_path / "prompts.parquet", prompt_rows, PROMPTS, {})
    write_selected(tmp_path / "selection.json", SELECTED)
    output = tmp_path / "sweeps" / "base.parquet"
    ablation = {**BASELINES, "operation": "ablate", "directions": ["backtracking", "random"], "samples": 2}
    settings = canonical_json(sweep_step(make_step, ablation, "base").values)
    arguments = ["--settings", settings, "--prompts", str(tmp_path / "prompts.parquet"), "--vectors", *vector_files]
    arguments += ["--selection", str(tmp_path / "selection.json"), "--output", str(output)]
    monkeypatch.setattr("sys.argv", ["sweeps", *arguments])
    main()
    table = read_table(output)
    assert len(table) == 2 * 2 * (1 + 3)
    ablated = table.filter(operation="ablate")
    assert ablated["magnitude"].is_null().all() and (ablated["steered_positions"] > 0).all()
    assert journal_path(output).exists()
    notes = read_provenance(output)
    assert notes["left_out_sites"] == [] and set(notes["model_digest"]) == {"base"} and notes["device"]
    before = journal_path(output).read_bytes()
    main()
    assert journal_path(output).read_bytes() == before


@pytest.mark.slow
def test_a_killed_process_leaves_no_table_and_the_next_one_goes_on(
    tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row], vector_files: list[str], directions: Directions
) -> None:
    write_table(tmp_path / "prompts.parquet", prompt_rows, PROMPTS, {})
    step = sweep_step(make_step, {**GRID, "samples": 2, "batch_size": 1, "max_new_tokens": 20})
    output, journal = tmp_path / "killed.parquet", journal_path(tmp_path / "killed.parquet")
    arguments, environment = command(step.values, tmp_path, vector_files, output), {**os.environ, "PYTHONPATH": SOURCE}
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL)
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = journal.read_bytes().count(b"\n")
    assert not output.exists() and 3 <= done < 42
    subprocess.run(arguments, env=environment, check=True, stderr=subprocess.DEVNULL)
    assert journal.read_bytes().count(b"\n") == 42
    assert read_table(output).to_dicts() == run(step, prompt_rows, directions, tmp_path / "undisturbed")
    assert {path.suffix for path in tmp_path.iterdir() if path.is_file()} == {".parquet", ".journal"}


def command(values: dict[str, Any], folder: Path, vectors: list[str], output: Path) -> list[str]:
    """Command line of a sweep job."""
    inputs = ["--prompts", str(folder / "prompts.parquet"), "--vectors", *vectors]
    return [
        sys.executable,
        "-m",
        "repurpose.steering.sweeps",
        "--settings",
        canonical_json(values),
        *inputs,
        "--output",
        str(output),
    ]
