"""Where files lie, against paths written out by hand."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from repurpose.study.jobs.layout import Layout, of_both, one_of
from repurpose.study.settings import read_study

ROOT = Path(__file__).parents[3]
ENDPOINT = {"model": "m", "base_url": "http://127.0.0.1:9/v1"}
ANNOTATORS = {
    "lexicon": {"kind": "lexicon"},
    "gpt": {"kind": "llm", "llm": {"endpoint": ENDPOINT}},
    "ward": {"kind": "published", "file": "published.json"},
}


def layout(**changes: Any) -> Layout:
    """The files of a study with two shards."""
    grid = {
        "split": "train",
        "prompts": 2,
        "layers": "all",
        "window_starts": "all",
        "magnitudes": {"unit": "l2", "values": [1.0]},
    }
    values = {
        "study": "mine",
        "pair": {"base": "owner/base", "reasoning": "owner/reasoning"},
        "prompts": {"source": "organism", "train": 4, "heldout": 4},
        "rollouts": {"shards": 2},
        "sweeps": {"grid": grid, "two_by_two": {**grid, "targets": ["base", "reasoning"]}},
        "selection": {"sweep": "grid"},
    }
    return Layout(read_study({**values, **changes}))


SEVERAL = layout(labels={"annotator": "lexicon", "annotators": ANNOTATORS, "steered_prompts": 2})
ALONE = layout()


def test_each_shard_has_its_files() -> None:
    assert ALONE.parts("rollouts") == ["results/mine/rollouts/0.parquet", "results/mine/rollouts/1.parquet"]
    assert ALONE.parts("activations/base")[1] == "results/mine/activations/base/1.parquet"


def test_a_run_stands_on_the_labels_of_its_annotator() -> None:
    def labels(run: str) -> tuple[set[str], set[str]]:
        wildcards: Any = SimpleNamespace(run=run)
        files = SEVERAL.run_labels(wildcards), SEVERAL.other_labels(wildcards)
        own, others = ({file.split("/")[3] for file in part} for part in files)
        return own, others

    assert labels("mine") == ({"lexicon"}, {"gpt", "ward"})
    assert labels("mine/with/ward") == ({"ward"}, {"lexicon", "gpt"})
    assert SEVERAL.models_that_label == ["gpt"] and SEVERAL.rules_that_label == ["lexicon", "ward"]


def test_steered_text_is_labelled_by_the_run_s_annotator_or_one_that_can() -> None:
    def files(study: Layout, run: str, sweep: str) -> tuple[str, list[str], list[str]]:
        wildcards: Any = SimpleNamespace(run=run, sweep=sweep)
        return study.labeller(wildcards), study.sweep_labels(wildcards), study.steered_labels(wildcards)

    table = "results/{}/steered_labels/{}/two_by_two/{}.parquet"
    other = [table.format("mine", "gpt", "reasoning")]
    assert files(SEVERAL, "mine", "two_by_two") == ("lexicon", [], other)
    by_gpt = table.format("mine/with/gpt", "gpt", "{target}")
    others = [table.format("mine/with/gpt", "lexicon", "reasoning")]
    assert files(SEVERAL, "mine/with/gpt", "two_by_two") == ("gpt", [by_gpt], others)
    assert files(SEVERAL, "mine/with/ward", "two_by_two")[:2] == ("ward", []), (
        "a published annotator cannot, nobody does"
    )
    names = {"annotator": "ward", "annotators": ANNOTATORS, "steered_prompts": 2, "steered_annotator": "gpt"}
    cheap = layout(labels=names, selection={"sweep": "grid", "annotator": "lexicon"})
    assert files(cheap, "mine", "two_by_two")[0] == "gpt"
    assert files(cheap, "mine", "grid")[:2] == ("lexicon", []), "the selection alone is by a cheaper one"
    assert ALONE.steered_labels(SimpleNamespace(run="mine")) == [], "no language model, no Table C.1 of another"


@pytest.mark.parametrize(
    ("files", "name", "text", "meets"),
    [
        (ALONE, "run", "mine", True),
        (ALONE, "run", "mine/with/lexicon", False),
        (ALONE, "run", "mine/with/", False),
        (SEVERAL, "run", "mine/with/ward", True),
        (SEVERAL, "run", "mine/with/lexicon", False),
        (SEVERAL, "run", "other", False),
        (ALONE, "sweep", "two_by_two", True),
        (ALONE, "sweep", "two", False),
        (ALONE, "shard", "12", True),
        (ALONE, "reader", "baseline", False),
    ],
)
def test_wildcards_meet_what_there_is(files: Layout, name: str, text: str, meets: bool) -> None:
    assert bool(re.fullmatch(files.constraints[name], text)) == meets


def test_of_no_names_nothing_is_one() -> None:
    assert not re.fullmatch(one_of([]), "")


def test_measurements_are_of_each_target_of_each_sweep() -> None:
    found = [path.removeprefix("results/{run}/measurements/") for path in ALONE.measurements]
    assert found == ["grid/reasoning.parquet", "two_by_two/base.parquet", "two_by_two/reasoning.parquet"]


def test_what_a_study_shows_lies_under_its_name() -> None:
    assert {path.split("/")[1] for path in [*ALONE.final, *SEVERAL.final]} == {"mine"}
    assert set(SEVERAL.final) - set(ALONE.final) == {
        *(f"results/mine/tables/{name}.csv" for name in ("agreement", "confusion")),
        *(f"results/mine/figures/confusion.{kind}" for kind in ("svg", "png")),
    }


def test_parity_is_wanted_of_vllm_alone() -> None:
    assert ALONE.parity == []
    assert layout(engine="vllm").parity == ["results/{run}/parity/{target}.json"]


def test_files_of_a_local_model_are_named_and_none_of_a_hub_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    pair = {role: f"resources/organism/{role}" for role in ("base", "reasoning")}
    found = layout(pair=pair).model("base")
    assert found == [f"{pair['base']}/{name}" for name in ("config.json", "tokenizer.json", "model.safetensors")]
    assert ALONE.model("base") == []


def test_both_readers_in_their_order() -> None:
    assert of_both("results/{run}/{reader}") == ["results/{run}/base", "results/{run}/reasoning"]
