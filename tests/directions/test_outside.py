"""Vectors from outside as directions of a study, ours as files for others, and the way there and back."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from gguf import GGUFReader
from safetensors import safe_open
from safetensors.numpy import save_file
from tests.tiny import BLANK, GRID, LAYERS, SELECTED, WIDTH, StepMaker, make_tokenizer

from repurpose.data.files import read_provenance, read_table, write_table
from repurpose.data.provenance import provenance
from repurpose.data.schemas import LABELS
from repurpose.data.selected import Selected, write_selected
from repurpose.directions import export, vectors
from repurpose.directions.lens import apply_lens
from repurpose.directions.projections import choose_axes, project_rollouts
from repurpose.directions.store import write_activations
from repurpose.directions.unit_directions import Directions, read_pair_directions
from repurpose.steering.conditions import list_conditions
from repurpose.steering.log_odds import treatments
from repurpose.steering.sweeps import run_sweep
from repurpose.study.conditions import VectorKey
from repurpose.study.settings import SettingsError, canonical_json

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "vectors.md"
STARTS = (-3, 0)
THEIRS = np.random.default_rng(5).standard_normal((4, WIDTH)).astype(np.float32)
REPENG = os.environ.get("REPURPOSE_PYTHON_REPENG", "")
Row = dict[str, Any]


@pytest.fixture
def theirs(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Settings of two vectors from outside, both rows of a decoder."""
    file = tmp_path / "sae.safetensors"
    save_file({"W_dec": THEIRS, "b_dec": THEIRS[0]}, file)
    row = {"file": str(file), "tensor": "W_dec", "layer": 1}
    return {"feature": {**row, "index": 2}, "scaled": {**row, "index": 3, "norm": 2.5}}


def compute(
    make_step: StepMaker,
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    width: int = WIDTH,
    start: int = -3,
    **sections: Any,
) -> list[str]:
    """Run the step on random activations of the small study's pair; the tables of both readers."""
    folder.mkdir()
    layers = sections.get("activations", {}).get("layers", range(LAYERS))
    sentences = [
        {**BLANK, "prompt_id": f"p{prompt}", "sample": 0, "split": "train", "sentence": number, "status": "ok", **label}
        for prompt in range(4)
        for number, label in enumerate([{"label": "backtracking"}, {"label": "deduction"}, {"label": "initializing"}])
    ]
    write_table(folder / "labels.parquet", sentences, LABELS, {})
    names = ("prompt_id", "sample", "sentence")
    keys = [{**{n: row[n] for n in names}, "window_start": first} for first in (start, 0) for row in sentences]
    paths = []
    for seed, reader in enumerate(("base", "reasoning")):
        step = make_step("directions.vectors", sections=sections, reader=reader)
        pair = make_step("directions.activations", sections=sections, reader=reader).values["pair"]
        numbers = np.random.default_rng(seed).standard_normal((len(layers), len(keys), width)).astype(np.float32)
        quantiles = {str(layer): np.linspace(3, 5, 1001).tolist() for layer in layers}
        notes = {"residual_quantiles": quantiles, "generated_tokens": 50, "dropped_windows": {}}
        made = provenance({"pair": pair}, **notes, model_digest={reader: f"of the {reader} model"})
        shard, path = folder / f"activations-{reader}.parquet", folder / f"{reader}.parquet"
        write_activations(shard, keys, layers, numbers, made)
        arguments = ["--settings", canonical_json(step.values), "--labels", str(folder / "labels.parquet")]
        arguments += ["--activations", str(shard), "--output", str(path)]
        monkeypatch.setattr("sys.argv", ["vectors", *arguments])
        vectors.main()
        paths.append(str(path))
    return paths


def export_from(
    monkeypatch: pytest.MonkeyPatch, paths: list[str], output: Path, *options: str, selected: Selected = SELECTED
) -> Path:
    """Call the command; the small study's site is selected."""
    write_selected(output.parent / "selection.json", selected)
    command = ["--vectors", *paths, "--selection", str(output.parent / "selection.json"), "--output", str(output)]
    monkeypatch.setattr("sys.argv", ["export", *command, *options])
    export.main()
    return output


def unit(directions: Directions, name: str, reader: str = "base", layer: int = 1, start: int = -3) -> np.ndarray:
    return directions.unit(VectorKey(name, reader, layer, start))


def test_a_vector_from_outside_stands_at_its_layer_under_both_readers(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch, theirs: dict[str, Any]
) -> None:
    paths = compute(make_step, monkeypatch, tmp_path / "v", vectors={"outside": theirs})
    table = read_table(paths).filter(kind="outside")
    assert set(table.select("name", "reader", "layer", "window_start").iter_rows()) == {
        (name, reader, 1, start) for name in theirs for reader in ("base", "reasoning") for start in STARTS
    }
    feature, scaled = (table.filter(name=name).row(0, named=True) for name in ("feature", "scaled"))
    assert feature["vector"] == THEIRS[2].tobytes() and scaled["norm"] == pytest.approx(2.5)
    assert feature["norm"] == pytest.approx(np.linalg.norm(THEIRS[2]))
    assert (feature["positives"], feature["split_half_cosine"]) == (0, None)
    np.testing.assert_allclose(
        unit(read_pair_directions(paths), "scaled"), THEIRS[3] / np.linalg.norm(THEIRS[3]), rtol=1e-6
    )
    assert set(read_provenance(paths[0])["outside"]) == set(theirs)


def test_it_changes_no_other_vector(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch, theirs: dict[str, Any]
) -> None:
    without = read_table(compute(make_step, monkeypatch, tmp_path / "without"))
    beside = read_table(compute(make_step, monkeypatch, tmp_path / "beside", vectors={"outside": theirs}))
    assert beside.filter(pl.col("kind") != "outside").equals(without)


def test_another_width_is_told_in_one_line(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch, theirs: dict[str, Any]
) -> None:
    with pytest.raises(SystemExit, match=r"vectors\.outside\.feature: it has 32 numbers, the residual stream 8$"):
        compute(make_step, monkeypatch, tmp_path / "v", width=8, vectors={"outside": theirs})


def test_sweeps_steer_with_it_once_a_magnitude(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch, theirs: dict[str, Any]
) -> None:
    directions = read_pair_directions(compute(make_step, monkeypatch, tmp_path / "v", vectors={"outside": theirs}))
    sweep = {**GRID, "readers": ["base", "reasoning"], "directions": ["feature", "backtracking"], "layers": [1]}
    magnitudes = {"l2": 3.0, "dose": 0.5 * directions.norms["reasoning", 1], "selected": 0.5 * SELECTED.magnitude}
    for unit_, magnitude in magnitudes.items():
        values = [magnitude if unit_ == "l2" else 0.5]
        sections = {
            "sweeps": {"this": {**sweep, "magnitudes": {"unit": unit_, "values": values}}},
            "vectors": {"outside": theirs},
        }
        step = make_step("steering.sweeps", sections=sections, sweep="this", target="base")
        conditions, missing = list_conditions(step, directions, SELECTED)
        own = [c for c in conditions if c.direction == "feature"]
        assert [(c.kind, c.reader, c.layer, c.window_start) for c in own] == [("outside", "base", 1, -3)]
        assert own[0].magnitude == pytest.approx(magnitude) and not missing
        assert sum(c.direction == "backtracking" for c in conditions) == 4


def test_a_sweep_at_a_selected_layer_that_is_not_its_own_ends_by_name(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch, theirs: dict[str, Any]
) -> None:
    elsewhere = {"feature": {**theirs["feature"], "layer": 2}}
    directions = read_pair_directions(compute(make_step, monkeypatch, tmp_path / "v", vectors={"outside": elsewhere}))
    sweep = {**GRID, "layers": "selected", "directions": ["backtracking", "feature"]}
    sections = {"sweeps": {"this": sweep}, "vectors": {"outside": elsewhere}}
    step = make_step("steering.sweeps", sections=sections, sweep="this", target="base")
    said = "sweeps.this.directions: feature is a vector of layer 2, the sweep steers at 1; leave it out, or give layers"
    with pytest.raises(SettingsError, match=said):
        list_conditions(step, directions, SELECTED)


def test_lens_log_odds_and_projections_take_it(
    tmp_path: Path,
    make_step: StepMaker,
    monkeypatch: pytest.MonkeyPatch,
    theirs: dict[str, Any],
) -> None:
    theirs["deep"] = {**theirs["feature"], "layer": 2}
    directions = read_pair_directions(compute(make_step, monkeypatch, tmp_path / "v", vectors={"outside": theirs}))
    heads = {"base": np.eye(WIDTH, dtype=np.float32), "reasoning": np.eye(WIDTH, dtype=np.float32)}
    rows = apply_lens(directions, -3, heads, make_tokenizer(), {"wait": [6]})
    decoded = {(row["direction"], row["reader"], row["layer"]) for row in rows if row["direction"] in theirs}
    assert decoded == {("feature", "base", 1), ("scaled", "base", 1), ("deep", "base", 2)}

    conditions = treatments(directions, "backtracking", SELECTED, "base")
    assert {c.direction for c in conditions if c.kind == "outside"} == {"feature", "scaled"}

    axes = choose_axes(directions, "backtracking", "reasoning", SELECTED)
    first = [("backtracking", 1), ("deep", 2), ("feature", 1), ("scaled", 1)]
    assert [(a.direction, a.layer) for a in axes[:4]] == first
    assert {a.layer for a in axes[4:]} == {1} and {"mean", "random-00"} < {a.direction for a in axes[4:]}  # controls
    step = make_step("directions.projections", reader="reasoning")
    rollout = {"prompt_id": "p", "sample": 0, "split": "heldout", "prompt_token_ids": [3, 4], "text": "Wait now"}
    rollouts = pl.DataFrame([{**rollout, "token_ids": [6, 7, 8], "token_ends": [4, 6, 8]}])
    none = pl.DataFrame(schema={"prompt_id": pl.String, "sample": pl.Int64, "sentence": pl.Int64})
    found = pl.DataFrame(list(project_rollouts(step, rollouts, none, axes[:4])))
    assert found.select("direction", "layer").unique().height == 4 and found.height == 12
    alone = pl.DataFrame(list(project_rollouts(step, rollouts, none, axes[2:3])))
    assert found.filter(direction="feature").equals(alone)


@pytest.mark.parametrize("suffix", ["safetensors", "gguf"])
def test_what_is_exported_comes_back_as_the_same_direction(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    paths = compute(make_step, monkeypatch, tmp_path / "ours")
    folder = export_from(monkeypatch, paths, tmp_path / "exported", "--names", "backtracking", "mean")
    outside = {
        "safetensors": {"file": str(folder / "vectors.safetensors"), "tensor": "backtracking.reasoning.1.-3"},
        "gguf": {"file": str(folder / "backtracking.reasoning.gguf")},
    }[suffix]
    again = compute(make_step, monkeypatch, tmp_path / "again", vectors={"outside": {"ours": {**outside, "layer": 1}}})
    ours, theirs = read_pair_directions(paths), read_pair_directions(again)
    assert np.array_equal(unit(theirs, "ours"), unit(ours, "backtracking", "reasoning"))
    assert not np.array_equal(unit(theirs, "ours"), unit(ours, "backtracking", "base"))


def test_the_passport_says_where_a_vector_is_from(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch, pair_folders: dict[str, str]
) -> None:
    revisions = {"pair": {"base_revision": "abc"}}
    paths = compute(make_step, monkeypatch, tmp_path / "ours", **revisions)
    folder = export_from(monkeypatch, paths, tmp_path / "exported")
    with safe_open(folder / "vectors.safetensors", "np") as file:
        names, passport = set(file.keys()), json.loads(file.metadata()["repurpose"])
        stored = file.get_tensor("backtracking.base.1.-3")
    assert names == {"backtracking.base.1.-3", "backtracking.reasoning.1.-3"} == set(passport["vectors"])
    assert passport["pair"]["base"] == pair_folders["base"] and passport["pair"]["base_revision"] == "abc"
    assert passport["model_digest"] == {role: f"of the {role} model" for role in ("base", "reasoning")}
    assert passport["selected"]["magnitude"] == SELECTED.magnitude
    assert passport["source"] == {f"vectors/{Path(path).name}": export.file_digest(path) for path in paths}
    row = read_table(paths).filter(name="backtracking", reader="base", layer=1, window_start=-3).row(0, named=True)
    about = passport["vectors"]["backtracking.base.1.-3"]
    assert stored.tobytes() == row["vector"]
    assert (about["layer"], about["window"]) == (1, [-3, -2])
    assert all(about[key] == row[key] for key in ("norm", "residual_norm", "positives", "total", "split_half_cosine"))


def test_a_gguf_file_is_a_control_vector_to_the_gguf_package(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = compute(make_step, monkeypatch, tmp_path / "ours")
    folder = export_from(monkeypatch, paths, tmp_path / "exported", "--layer", "2", "--norm", "4.0")
    reader = GGUFReader(folder / "backtracking.base.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "controlvector" and fields["controlvector.model_hint"] == "llama"
    assert fields["controlvector.layer_count"] == 1
    assert [(tensor.name, tensor.tensor_type.name) for tensor in reader.tensors] == [("direction.2", "F32")]
    own = unit(read_pair_directions(paths), "backtracking", layer=2)
    np.testing.assert_allclose(reader.tensors[0].data, 4 * own, rtol=1e-6)
    assert json.loads(fields["repurpose"])["vectors"]["direction.2"]["exported_norm"] == pytest.approx(4.0)


def test_layer_0_has_no_control_vector(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = compute(make_step, monkeypatch, tmp_path / "ours")
    folder = export_from(monkeypatch, paths, tmp_path / "exported", "--layer", "0")
    assert [file.name for file in folder.iterdir()] == ["vectors.safetensors"]
    assert "backtracking.base.0.-3 is of layer 0, which llama.cpp cannot steer: no GGUF" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--names", "fate"], "--names: no fate at layer 1, window start -3; there are initializing, "),
        (["--layer", "7"], "--names: no backtracking at layer 7, window start -3; there are none"),
        (["--norm", "-1"], "--norm: -1 is not allowed; more than 0"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    paths = compute(make_step, monkeypatch, tmp_path / "ours")
    with pytest.raises(SystemExit, match=f"^repurpose export: {said}"):
        export_from(monkeypatch, paths, tmp_path / "exported", *options)
    assert not (tmp_path / "exported").exists()


READ_BY_REPENG = """
import json, sys
import numpy as np, torch
from repeng import ControlModel, ControlVector
from transformers import LlamaConfig, LlamaForCausalLM

path, layer, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
vector = ControlVector.import_gguf(path)
assert vector.model_type == "llama", vector.model_type
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=width, intermediate_size=8, num_hidden_layers=3))
ids = torch.tensor([[1, 2, 3]])
steered, found = ControlModel(model, [layer]), []
for number in (layer - 1, layer):
    model.model.layers[number].register_forward_hook(lambda module, inputs, output: found.append(output.clone()))
with torch.no_grad():
    model(input_ids=ids)
    steered.set_control(vector, 2.0)
    steered(input_ids=ids)
before, at = (found[number + 2] - found[number] for number in (0, 1))
assert not before.any(), "moved before its layer"
assert np.allclose(at, 2 * vector.directions[layer], atol=1e-4), "added elsewhere, or something else"
vector.export_gguf(sys.argv[4])
json.dump({layer: direction.tolist() for layer, direction in vector.directions.items()}, sys.stdout)
"""


@pytest.mark.slow  # starting it, not what it does
@pytest.mark.skipif(not REPENG, reason="REPURPOSE_PYTHON_REPENG names no interpreter with repeng (docs/vectors.md)")
def test_repeng_reads_and_steers_as_we_do_and_we_read_what_it_writes(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = compute(make_step, monkeypatch, tmp_path / "ours")
    folder = export_from(monkeypatch, paths, tmp_path / "exported")
    arguments = [str(folder / "backtracking.base.gguf"), "1", str(WIDTH), str(tmp_path / "theirs.gguf")]
    done = subprocess.run([REPENG, "-c", READ_BY_REPENG, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    row = read_table(paths).filter(name="backtracking", reader="base", layer=1, window_start=-3).row(0, named=True)
    assert json.loads(done.stdout) == {"1": np.frombuffer(row["vector"], np.float32).tolist()}
    theirs = {"doubt": {"file": str(tmp_path / "theirs.gguf"), "layer": 1}}
    again = read_pair_directions(compute(make_step, monkeypatch, tmp_path / "again", vectors={"outside": theirs}))
    assert np.array_equal(unit(again, "doubt"), unit(read_pair_directions(paths), "backtracking"))


NORMS = (320.0, 400.0)
"""Where a step too long or too short by a tenth gives other tokens."""


def test_the_script_of_the_docs_gives_the_tokens_of_our_sweep(
    tmp_path: Path, make_step: StepMaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the embedded pair: what the page shows is run as it stands."""
    (script,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "hook" in block]
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    monkeypatch.chdir(tmp_path)
    pair = {role: f"resources/organism/{role}" for role in ("base", "reasoning")}
    sections = {"pair": pair, "activations": {"window_starts": [-6, 0], "layers": [3, 4]}}
    paths = compute(make_step, monkeypatch, tmp_path / "ours", width=256, start=-6, **sections)
    alone: dict[float, list[int]] = {}
    for norm in NORMS:
        selected = replace(SELECTED, layer=4, window_start=-6, magnitude=norm)
        export_from(monkeypatch, paths, tmp_path / "exported", selected=selected)
        found: dict[str, Any] = {}
        exec(script, found)
        alone[norm] = found["ids"].tolist()
        assert capsys.readouterr().out == found["tokenizer"].decode(found["ids"]) + "\n"

    sweep = {**GRID, "prompts": 1, "layers": [4], "window_starts": [-6], "temperature": 0.0, "max_new_tokens": 48}
    sections["sweeps"] = {"this": {**sweep, "magnitudes": {"unit": "l2", "values": list(NORMS)}}}
    step = make_step("steering.sweeps", sections=sections, sweep="this", target="reasoning")
    prompt = {"prompt_id": "p", "category": "bus", "split": "train", "answer": ""}
    directions = read_pair_directions(paths)
    conditions, _ = list_conditions(step, directions, None)
    prompts = [{**prompt, "messages": json.dumps(found["chat"])}]
    rows = run_sweep(step, prompts, directions, conditions, tmp_path / "sweep")
    ours = {row["magnitude"]: row["token_ids"] for row in rows}
    ends = {row["magnitude"]: int(row["finish_reason"] == "stop") for row in rows}
    for norm in NORMS:  # transformers hands on the token that ends a text, too
        assert alone[norm][: len(ours[norm])] == ours[norm] and len(alone[norm]) == len(ours[norm]) + ends[norm]
    assert len({tuple(ids) for ids in ours.values()}) == len(NORMS) + 1
