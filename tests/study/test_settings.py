"""Settings: every fault gives one line that names the key; a step sees its own sections and no others."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from repurpose.steering.metrics import WORD
from repurpose.study.instructions import read_instructions
from repurpose.study.pair_files import check_models
from repurpose.study.settings import (
    KEYWORD,
    STEP_SECTIONS,
    Endpoint,
    SettingsError,
    StepSettings,
    canonical_json,
    read_study,
    step_settings,
)
from repurpose.study.study_file import load_values

ROOT = Path(__file__).parents[2]
DEFAULT: dict[str, Any] = load_values(ROOT / "studies" / "organism.yaml")
DEFAULT["selection"] |= {"metric": "backtracking_share"}  # which is known of any prompts
"""A whole study of models that are there."""


def changed(path: str, value: Any, study: dict[str, Any] = DEFAULT) -> dict[str, Any]:
    """A study with one key set."""
    values = copy.deepcopy(study)
    *sections, key = path.split(".")
    section = values
    for name in sections:
        section = section[name]
    section[key] = value
    return values


def test_a_key_that_is_left_out_is_that_of_the_default_study() -> None:
    """Sweeps apart: what they leave out has defaults, but a study has its own alone. Layers belong to the pair."""
    default = yaml.safe_load((ROOT / "config.yaml").read_text())
    required = {name: default[name] for name in ("study", "pair", "prompts", "sweeps")}
    layers = {"layers": default["activations"]["layers"]}
    assert read_study({**required, "activations": layers}) == read_study(default)


def lexicons(*names: str) -> dict[str, Any]:
    """Annotators of some names, beside the study's own."""
    return {name: {"kind": "lexicon"} for name in ("lexicon", *names)}


FAULTS = [
    ("prompts.trian", 3, "prompts.trian: unknown setting; known here are source, train, heldout"),
    ("colour", "red", "colour: unknown setting; known here are study, pair,"),
    (
        "sweeps.baselines.magnitudes.unit",
        "L2",
        "sweeps.baselines.magnitudes.unit: 'L2' is not allowed; choose from l2,",
    ),
    ("prompts.train", "many", "prompts.train: 'many' is not of type int"),
    ("prompts.train", 0.8, "prompts.train: 0.8 is a share, and `organism` is no file; give a number"),
    ("sweeps.baselines.prompts", "most", "sweeps.baselines.prompts: 'most' is not allowed; give a number, or all"),
    ("prompts.train", True, "prompts.train: True is not of type int"),
    ("prompts.train", 1.5, "prompts.train: 1.5 is not of type int"),
    ("seed", None, "seed: None is not of type int"),
    ("keywords", "wait", "keywords: 'wait' is not a list"),
    ("keywords", [], "keywords: give at least one"),
    ("keywords", ["wait", "wait"], "keywords: 'wait' is given twice"),
    ("keywords", [1], "keywords[0]: 1 is not of type str"),
    ("pair", "llama", "pair: 'llama' is not a mapping of settings"),
    ("sweeps", ["a"], "sweeps: ['a'] is not a mapping"),
    ("sweeps", {}, "sweeps: give at least one"),
    ("sweeps", {1: DEFAULT["sweeps"]["selection"]}, "selection.sweep: no such sweep"),
    ("sweeps.a b", DEFAULT["sweeps"]["baselines"], "sweeps.a b: 'a b' may hold only letters"),
    ("sweeps.baselines.directions", ["random", "fate"], "sweeps.baselines.directions[1]: 'fate' is not allowed"),
    ("sweeps.baselines.layers", [1, "two"], "sweeps.baselines.layers[1]: 'two' is not of type int"),
    ("sweeps", {"a b": DEFAULT["sweeps"]["selection"]}, "sweeps.a b: 'a b' may hold only letters"),
    ("prompts", {"source": "organism", "trian": 1, "heldout": 1}, "prompts.trian: unknown setting"),
    ("sweeps.baselines.layers", "some", "sweeps.baselines.layers: 'some' is not a list, or 'some' is not allowed"),
    ("sweeps.baselines.prompts", 61, "sweeps.baselines.prompts: 61 is more than prompts.heldout (60)"),
    ("sweeps.baselines.window_starts", [-7], "sweeps.baselines.window_starts: -7 is not read; choose from -20,"),
    ("sweeps.baselines.magnitudes.values", [], "sweeps.baselines.magnitudes.values: give at least one"),
    ("sweeps.baselines.temperature", -1, "sweeps.baselines.temperature: -1 is not allowed; at least 0"),
    ("sweeps.selection.split", "heldout", "sweeps.selection.split: must be train"),
    ("sweeps.selection.magnitudes.unit", "selected", "sweeps.selection: the selection sweep cannot"),
    ("sweeps.selection.targets", ["base"], "sweeps.selection.targets: must hold reasoning"),
    ("sweeps.selection.readers", ["reasoning"], "sweeps.selection.readers: must hold base"),
    ("sweeps.selection.directions", ["random"], "sweeps.selection.directions: must hold backtracking"),
    ("sweeps.selection.operation", "ablate", "sweeps.selection: the selection sweep must add"),
    ("selection.sweep", "nothing", "selection.sweep: no such sweep; choose from selection, two_by_two"),
    ("selection.latest_end", -16, "selection.latest_end: no window of sweeps.selection ends at -16 or before"),
    ("activations.window_length", 0, "activations.window_length: 0 is not allowed; at least 1"),
    (
        "activations.window_starts",
        [-600],
        "activations.window_starts[0]: -600 is not allowed; at least -512 and at most 512",
    ),
    ("statistics.level", 1, "statistics.level: 1 is not allowed; more than 0 and less than 1"),
    ("statistics.level", float("nan"), "statistics.level: nan is not a finite number"),
    ("rollouts.temperature", -0.1, "rollouts.temperature: -0.1 is not allowed; at least 0"),
    ("rollouts.shards", 0, "rollouts.shards: 0 is not allowed; at least 1"),
    ("rollouts.shards", 301, "rollouts.shards: 301 is more than there are prompts (300)"),
    ("rollouts.engine", "published", "rollouts.file: missing setting; engine published needs it"),
    ("rollouts.engine", "openai", "rollouts.endpoint: missing setting; engine openai needs it"),
    ("rollouts.file", "chains.json", "rollouts.file: only engine published has it"),
    (
        "rollouts",
        {"engine": "published", "file": "chains.json", "endpoint": {"model": "m"}},
        "rollouts.endpoint: only engine openai has it",
    ),
    (
        "rollouts",
        {"engine": "published", "file": "chains.json", "samples": 2},
        "rollouts.samples: engine published takes the chains that the file has; leave it out",
    ),
    (
        "rollouts",
        {"engine": "published", "file": "chains.json"},
        "rollouts.file: must be what prompts.source names, organism: chains answer its prompts",
    ),
    ("labels.unit", "word", "labels.unit: 'word' is not allowed; choose from sentence, span"),
    (
        "labels.unit",
        "span",
        "labels.unit: span is for published annotations, and labels.annotator lexicon is of kind lexicon; take one of",
    ),
    ("rollouts.samples", 0, "rollouts.samples: 0 is not allowed; at least 1"),
    ("rollouts.batch_size", -1, "rollouts.batch_size: -1 is not allowed; at least 1"),
    ("sweeps.baselines.batch_size", 0, "sweeps.baselines.batch_size: 0 is not allowed; at least 1"),
    ("sweeps.baselines.samples", 0, "sweeps.baselines.samples: 0 is not allowed; at least 1"),
    ("seed", -1, "seed: -1 is not allowed; at least 0"),
    ("keywords", ["wait", ""], "keywords[1]: '' is not one word of letters"),
    ("keywords", ["hold on"], "keywords[0]: 'hold on' is not one word of letters"),
    ("keywords", ["wait,"], "keywords[0]: 'wait,' is not one word of letters"),
    ("sweeps.baselines.magnitudes.values", [1e300], "sweeps.baselines.magnitudes.values[0]: 1e+300 is not allowed"),
    ("sweeps.baselines.magnitudes.values", [0], "sweeps.baselines.magnitudes.values: give one other than 0"),
    ("sweeps.ablation.directions", ["noise", "self"], "sweeps.ablation.directions: noise has no direction that could"),
    ("sweeps.ablation.directions", ["backtracking", "self"], "sweeps.ablation.directions: self has no direction"),
    ("selection.min_distinct_2", -0.1, "selection.min_distinct_2: -0.1 is not allowed; at least 0"),
    ("selection.max_longest_run", 0.5, "selection.max_longest_run: 0.5 is not allowed; at least 1"),
    ("study", "../out", "study: '../out' may hold only letters"),
    ("study", "x" * 65, f"study: '{'x' * 65}' may hold only letters, digits, '-' and '_', and at most 64 of them"),
    ("study", "replies", "study: 'replies' is the folder that all studies' paid replies share; give another name"),
    ("study", "Replies", "study: 'Replies' is the folder that all studies' paid replies share"),
    ("labels.annotators", lexicons("a", "a_usage"), "labels.annotators.a_usage: a's costs are filed there; give a na"),
    ("labels.annotators", lexicons("a", "A_usage"), "labels.annotators.a_usage: a's costs are filed there"),
    ("labels.annotators", lexicons("a", "A"), "labels.annotators.a: another name there differs in capital letters"),
    (
        "sweeps.Selection",
        DEFAULT["sweeps"]["selection"],
        "sweeps.selection: another name there differs in capital letters alone",
    ),
    ("prompts.train", 10**12, "prompts.train: 1000000000000 is not allowed; at least 1 and at most 1,000,000"),
    (
        "statistics.bootstrap",
        10**10,
        "statistics.bootstrap: 10000000000 is not allowed; at least 1 and at most 100,000",
    ),
    ("seed", 2**64, "seed: 18446744073709551616 is not allowed; at least 0 and at most 4,294,967,295"),
    ("rollouts.shards", 10**6, "rollouts.shards: 1000000 is not allowed; at least 1 and at most 10,000"),
    (
        "rollouts.max_new_tokens",
        10**9,
        "rollouts.max_new_tokens: 1000000000 is not allowed; at least 1 and at most 1,0",
    ),
    ("rollouts.temperature", 1e300, "rollouts.temperature: 1e+300 is not allowed; at least 0 and at most 1,000,000"),
    ("pair.parameters", 1e308, "pair.parameters: 1e+308 is not allowed; more than 0 and at most 100,000, or null"),
    ("engine", "sglang", "engine: 'sglang' is not allowed; choose from transformers, vllm"),
    ("vllm", {}, "vllm: only engine vllm has it"),
    ("pair.parameters", 0, "pair.parameters: 0 is not allowed; more than 0 and at most 100,000, or null"),
    ("rollouts.engine", "vllm", "rollouts.engine: 'vllm' is not allowed; choose from openai"),
    ("rollouts.top_p", 0, "rollouts.top_p: 0 is not allowed; more than 0 and at most 1"),
    (
        "sweeps.baselines.top_k",
        0,
        "sweeps.baselines.top_k: 0 is not allowed; at least 1 and at most 1,000,000, or null",
    ),
    ("sweeps.baselines.top_p", 1.5, "sweeps.baselines.top_p: 1.5 is not allowed; more than 0 and at most 1"),
]


def file_study(tmp_path: Path, count: int, prompts: dict[str, Any]) -> dict[str, Any]:
    """The default study with prompts of a file, whose sweeps take all of them, but for the ablation."""
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(f'{{"category": "a", "prompt": "{n}?"}}\n\n' for n in range(count)))
    sweeps = {name: {**sweep, "prompts": "all"} for name, sweep in DEFAULT["sweeps"].items()}
    sweeps["ablation"]["prompts"] = 2
    return {**DEFAULT, "sweeps": sweeps, "prompts": {"source": str(file), **prompts}}


@pytest.mark.parametrize(
    ("there", "train", "heldout", "counts"),
    [
        (10, 0.8, 0.2, (8, 2)),
        (12, 0.8, 0.2, (10, 2)),
        (13, 0.5, 0.5, (6, 7)),
        (12, 0.25, 0.5, (3, 6)),
        (12, 0.5, 4, (6, 4)),
        (12, 7, 5, (7, 5)),
    ],
)
def test_shares_of_a_file_and_all_of_a_split_are_numbers(
    tmp_path: Path, there: int, train: float, heldout: float, counts: tuple[int, int]
) -> None:
    study = read_study(file_study(tmp_path, there, {"train": train, "heldout": heldout}))
    assert (study.prompts.train, study.prompts.heldout) == counts
    assert [study.sweeps[name].prompts for name in ("selection", "baselines", "ablation")] == [*counts, 2]
    assert "0." not in canonical_json(step_settings(study, "rollouts.prompts"))


@pytest.mark.parametrize(
    ("train", "heldout", "said"),
    [
        (0.8, 0.3, "prompts: train 0.8 and heldout 0.3 are more than all"),
        (0.8, 0.01, "prompts.heldout: 0.01 of 12 prompts in "),
        (1.5, 2, "prompts.train: 1.5 is not of type int"),
        (0, 2, "prompts.train: 0 is not allowed; at least 1 and at most 1,000,000, or more than 0 and less than 1"),
    ],
)
def test_shares_that_are_none(tmp_path: Path, train: float, heldout: float, said: str) -> None:
    with pytest.raises(SettingsError) as problem:
        read_study(file_study(tmp_path, 12, {"train": train, "heldout": heldout}))
    assert str(problem.value).startswith(said)


def test_sweeps_that_want_too_many_prompts_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as problem:
        read_study(changed("prompts", {"source": "organism", "train": 9, "heldout": 50}))
    assert str(problem.value) == (
        "sweeps.selection.prompts: 20 is more than prompts.train (9); sweeps.two_by_two.prompts: 60 is more than "
        "prompts.heldout (50); sweeps.baselines.prompts: 60 is more than prompts.heldout (50); "
        "sweeps.ablation.prompts: 60 is more than prompts.heldout (50); give at most as many, or all"
    )


@pytest.mark.usefixtures("models")
def test_a_file_with_too_few_prompts_is_told_while_planning(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as problem:
        check_models(read_study(file_study(tmp_path, 12, {"train": 240, "heldout": 60})))
    assert str(problem.value) == (
        f"prompts.train and prompts.heldout: 240 and 60 are asked for, {tmp_path}/prompts.jsonl has 12 prompts; give "
        "numbers that add up to at most 12, or shares, such as 0.8 and 0.2"
    )


@pytest.mark.usefixtures("models")
def test_more_prompts_than_a_program_can_write_are_told_while_planning() -> None:
    said = "prompts.train and prompts.heldout: 240 and 4761 are asked for, organism has 5000 prompts; give numbers that"
    assert_models("prompts.heldout", 4761, f"{said} add up to at most 5000")
    check_models(read_study(changed("prompts.heldout", 4760)))


VLLM_FAULTS = [
    ({"tensor_parallel": 0}, "vllm.tensor_parallel: 0 is not allowed; at least 1"),
    ({"parity_prompts": 241}, "vllm.parity_prompts: must be at most prompts.train (240)"),
    ({"memory_share": 1.1}, "vllm.memory_share: 1.1 is not allowed; more than 0 and at most 1"),
    ({"parity_tolerance": 0.0}, "vllm.parity_tolerance: 0.0 is not allowed; more than 0 and at most 1,000, or null"),
    ({"max_length": 320}, "vllm.max_length: must be more than the longest max_new_tokens (320)"),
    ({"gpu": 1}, "vllm.gpu: unknown setting; known here are tensor_parallel,"),
]


@pytest.mark.parametrize(("vllm", "message"), VLLM_FAULTS, ids=[next(iter(vllm)) for vllm, _ in VLLM_FAULTS])
def test_a_fault_of_vllm_s_settings(vllm: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as problem:
        read_study({**DEFAULT, "engine": "vllm", "vllm": vllm})
    assert str(problem.value).startswith(message)


@pytest.mark.parametrize(
    ("path", "value", "message"), FAULTS, ids=[f"{path}={value}"[:50] for path, value, _ in FAULTS]
)
def test_a_fault_is_one_line_that_names_the_key(path: str, value: Any, message: str) -> None:
    with pytest.raises(SettingsError) as problem:
        read_study(changed(path, value))
    assert str(problem.value).startswith(message)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://name:secret@host/v1",
        "http://secret@host/v1",
        "https://host/v1?key=secret",
        "https://host/v1#secret",
        "ftp://secret.host/v1",
        "secret.host/v1",
        "http:///secret",
    ],
)
def test_addresses_that_are_none_or_hold_secrets_are_refused_and_not_repeated(url: str) -> None:
    rollouts = {"engine": "openai", "endpoint": {"model": "m", "base_url": url}}
    with pytest.raises(SettingsError, match=r"^rollouts\.endpoint\.base_url: give http\(s\)://host") as problem:
        read_study(changed("rollouts", rollouts))
    with pytest.raises(ValueError, match="base_url") as direct:
        Endpoint(model="m", base_url=url)
    assert "secret" not in str(problem.value) + str(direct.value)


@pytest.mark.parametrize("path", ["study", "pair", "prompts", "pair.base", "prompts.train", "sweeps.ablation.split"])
def test_a_required_key_left_out_is_named(path: str) -> None:
    values = copy.deepcopy(DEFAULT)
    *sections, key = path.split(".")
    section = values
    for name in sections:
        section = section[name]
    del section[key]
    with pytest.raises(SettingsError, match=f"^{path}: missing setting; it is required$"):
        read_study(values)


PLACES = ["study", "seed", "pair.base", "prompts.source", "engine", "keywords", "selection.sweep"]


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize("sign", ["x", "\n", "\x1b", "\ud800"])
def test_a_vast_value_is_not_printed_whole(path: str, sign: str) -> None:
    with pytest.raises(SettingsError) as problem:
        read_study(changed(path, f"y{sign}" * 300_000))
    assert str(problem.value).startswith(f"{path}: " if sign != "\ud800" else "study file: is not readable (")
    assert len(str(problem.value)) < 1200 and str(problem.value).isprintable()


@pytest.mark.parametrize("path", ["", "x" * 256, "a/" * 600, "a\0b", "~nobody-here/model"])
@pytest.mark.parametrize("key", ["pair.base", "prompts.source"])
def test_what_can_be_no_path_is_refused_before_the_disk_is_asked(key: str, path: str) -> None:
    values = changed("prompts.train", 0.5) if key == "prompts.source" else DEFAULT
    with pytest.raises(SettingsError, match=rf"^{key}: .* is no path; give one whose parts have 1 to 255 bytes"):
        read_study(changed(key, path, values))


def every_number(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from every_number(value, f"{path}{key}.")
        elif type(value) in (int, float):
            yield f"{path}{key}", value


WHOLE: dict[str, Any] = asdict(read_study(DEFAULT))


@pytest.mark.parametrize("path", [path for path, _ in every_number(WHOLE)])
def test_every_number_has_a_bound(path: str) -> None:
    whole = isinstance(dict(every_number(WHOLE))[path], int)
    with pytest.raises(SettingsError, match=f"^{path}: .*(at most|less than)"):
        read_study(changed(path, 10**13 if whole else 1e13, WHOLE))


def test_an_empty_file_is_a_fault() -> None:
    with pytest.raises(SettingsError, match="study: missing setting"):
        read_study({})


def mappings(values: dict[str, Any], path: str = "") -> Iterator[str]:
    yield path
    for key, value in values.items():
        if isinstance(value, dict):
            yield from mappings(value, f"{path}{key}.")


@pytest.mark.parametrize(
    "section",
    [path for path in mappings(DEFAULT) if path not in ("sweeps.", "labels.annotators.", "vectors.outside.")],
)
def test_an_unknown_key_is_found_in_every_section(section: str) -> None:
    with pytest.raises(SettingsError, match=f"^{section}zzz: unknown setting"):
        read_study(changed(f"{section}zzz", 1))


def outside_study(sweep: dict[str, Any], selection: dict[str, Any] | None = None, layer: int = 2) -> dict[str, Any]:
    """The default study with a vector from outside, which a sweep names."""
    values = changed("vectors.outside", {"theirs": {"file": "theirs.npy", "layer": layer}})
    values["sweeps"]["baselines"] |= {"directions": ["backtracking", "theirs"], **sweep}
    values["sweeps"]["selection"] |= selection or {}
    return values


@pytest.mark.parametrize("name", ["deduction", "random", "noise", "none", "random-00", "shuffle-x", "unsteered"])
def test_a_vector_from_outside_takes_no_name_that_is_taken(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^vectors.outside.{name}: the name is taken; give one that no label or"):
        read_study(changed("vectors.outside", {name: {"file": "x.npy", "layer": 1}}))


@pytest.mark.parametrize(
    ("sweep", "selection", "said"),
    [
        ({"layers": [2]}, {}, ""),
        ({"layers": "selected"}, {}, ""),
        ({"layers": "selected"}, {"layers": [1, 2]}, ""),
        (
            {"layers": [1]},
            {},
            "sweeps.baselines.layers: theirs is a vector of layer 2, the sweep steers at 1; give [2]",
        ),
        (
            {"layers": [2, 3]},
            {},
            "sweeps.baselines.layers: theirs is a vector of layer 2, the sweep steers at 2, 3; give",
        ),
        (
            {"layers": "all"},
            {},
            "sweeps.baselines.layers: theirs is a vector of layer 2, the sweep steers at every layer",
        ),
        (
            {"layers": "selected"},
            {"layers": [1, 3]},
            "sweeps.baselines.layers: theirs is a vector of layer 2, the sweep",
        ),
        ({}, {"directions": ["backtracking", "theirs"]}, "sweeps.selection.layers: theirs is a vector of layer 2, the"),
    ],
)
def test_a_vector_from_outside_is_steered_at_its_layer_alone(
    sweep: dict[str, Any], selection: dict[str, Any], said: str
) -> None:
    values = outside_study(sweep, selection)
    if said:
        with pytest.raises(SettingsError) as problem:
            read_study(values)
        assert str(problem.value).startswith(said)
    else:
        assert read_study(values).sweeps["baselines"].directions == ("backtracking", "theirs")


def test_a_vector_from_outside_is_of_a_layer_that_is_read() -> None:
    values = outside_study({}, {"layers": [1, 2]}, layer=3)
    values["activations"]["layers"] = [1, 2]
    with pytest.raises(SettingsError, match=r"^vectors\.outside\.theirs\.layer: 3 is not read; choose from 1, 2$"):
        read_study(values)


def test_an_unknown_direction_is_told_with_those_from_outside() -> None:
    values = outside_study({"directions": ["backtracking", "thiers"]})
    with pytest.raises(SettingsError, match=r"baselines\.directions\[1\]: 'thiers' is not allowed; .*, self, theirs$"):
        read_study(values)


def test_a_keyword_is_what_the_metric_counts_as_a_word() -> None:
    assert KEYWORD.pattern == WORD.pattern
    read_study(changed("keywords", ["Wait", "don't"]))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPURPOSE_ROOT", raising=False)
    for role in ("base", "reasoning"):
        write_model(tmp_path / "resources" / "organism" / role, {"a": 0})
    return tmp_path / "resources" / "organism"


def write_model(folder: Path, vocabulary: dict[str, int], **steps: Any) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"num_hidden_layers": 4, "hidden_size": 8, "vocab_size": 2}')
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary, "merges": []}, **steps}))
    (folder / "model.safetensors").write_text("weights")


def assert_models(path: str, value: Any, message: str) -> None:
    with pytest.raises(SettingsError) as problem:
        check_models(read_study(changed(path, value)))
    assert str(problem.value).startswith(message)
    assert "\n" not in str(problem.value)


@pytest.mark.usefixtures("models")
def test_good_models_pass() -> None:
    check_models(read_study(DEFAULT))


@pytest.mark.usefixtures("models")
def test_a_missing_model() -> None:
    assert_models("pair.base", "resources/organism/none", "pair.base: no model at resources/organism/none; give a")
    assert_models("pair.base", "resources/none", "pair.base: no model at resources/none; give a")
    assert_models("pair.reasoning", "/none", "pair.reasoning: no model at /none; give a directory")


def test_a_folder_without_a_model(models: Path) -> None:
    (models / "base" / "config.json").unlink()
    assert_models("seed", 0, "pair.base: resources/organism/base has no config.json")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", '"x"'], ids=["cut", "deep", "list", "text"])
def test_a_broken_model(models: Path, text: str) -> None:
    (models / "base" / "config.json").write_text(text)
    assert_models("seed", 0, "pair.base: resources/organism/base/config.json is no model's configuration")


def test_a_model_whose_layers_have_another_name(models: Path) -> None:
    (models / "base" / "config.json").write_text('{"model_type": "t5", "num_layers": 4}')
    said = "pair.base: resources/organism/base is a t5 model, whose layers are not known (no num_hidden_layers); give"
    assert_models("seed", 0, said)


@pytest.mark.usefixtures("models")
def test_a_layer_that_the_model_lacks() -> None:
    assert_models("activations.layers", [4], "activations.layers: layer 4 is not in the base model; 0 to 3 are")
    assert_models("sweeps.selection.layers", [-1], "sweeps.selection.layers: layer -1 is not in the base model")


def test_tokenizers_that_disagree(models: Path) -> None:
    write_model(models / "alien", {"b": 0})
    assert_models(
        "pair.base", "resources/organism/alien", "pair.base: its tokenizer disagrees with that of pair.reason"
    )


NFC, BYTES = {"type": "NFC"}, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


@pytest.mark.parametrize(("part", "step"), [("normalizer", NFC), ("pre_tokenizer", BYTES)])
def test_tokenizers_of_one_vocabulary_that_cut_text_differently(models: Path, part: str, step: dict[str, Any]) -> None:
    write_model(models / "other", {"a": 0}, **{part: step})
    message = f"pair.base: its tokenizer disagrees with that of pair.reasoning in its {part}; both must"
    assert_models("pair.base", "resources/organism/other", message)


@pytest.mark.parametrize(
    "steps",
    [
        {"normalizer": {"type": "Sequence", "normalizers": []}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": []}, "decoder": BYTES},
        {"model": {"vocab": {"a": 0}}},
    ],
)
def test_tokenizers_that_are_written_differently_agree(models: Path, steps: dict[str, Any]) -> None:
    write_model(models / "other", {"a": 0}, **steps)
    check_models(read_study(changed("pair.base", "resources/organism/other")))


def added(token: str, number: int) -> list[dict[str, Any]]:
    return [{"id": number, "content": token, "special": True}]


def test_special_tokens_may_bear_other_names(models: Path) -> None:
    """A finetuned model's tokenizer may write its chat format into tokens that the base model's keeps in reserve."""
    write_model(models / "one", {"a": 0, "<reserved>": 1}, added_tokens=added("<reserved>", 1))
    write_model(models / "two", {"a": 0, "<think>": 1}, added_tokens=added("<think>", 1))
    pair = {"base": "resources/organism/one", "reasoning": "resources/organism/two"}
    check_models(read_study(changed("pair", pair)))
    write_model(models / "three", {"b": 0, "<think>": 1}, added_tokens=added("<think>", 1))
    said = "pair.base: its tokenizer disagrees with that of pair.reasoning in its vocabulary; both must"
    assert_models("pair", {**pair, "reasoning": "resources/organism/three"}, said)


def test_merges_of_both_versions_agree(models: Path) -> None:
    for name, merges in (("one", ["a b"]), ("two", [["a", "b"]])):
        write_model(models / name, {}, model={"vocab": {"a": 0}, "merges": merges})
    pair = {"base": "resources/organism/one", "reasoning": "resources/organism/two"}
    check_models(read_study(changed("pair", pair)))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("model.safetensors", "pair.base: resources/organism/base has no model.safetensors; its weights must be"),
        ("tokenizer.json", "pair.base: resources/organism/base has no tokenizer; give one of tokenizer.json, "),
    ],
)
def test_a_model_without_weights_or_tokenizer(models: Path, file: str, message: str) -> None:
    (models / "base" / file).unlink()
    (models / "base" / "weights.safetensors").write_text("under a name that is not loaded")
    assert_models("seed", 0, message)


def test_weights_in_several_files(models: Path) -> None:
    base = models / "base"
    (base / "model.safetensors").rename(base / "model-1.safetensors")
    index = base / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors"}}))
    check_models(read_study(DEFAULT))
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    assert_models("seed", 0, "pair.base: resources/organism/base has no model-2.safetensors; its weights must be")
    index.write_text("{}")
    assert_models("seed", 0, "pair.base: resources/organism/base/model.safetensors.index.json is no index")
    (base / "pytorch_model.bin").write_text("pickled")
    for name in ("pytorch_model.bin", "../reasoning/model.safetensors"):
        index.write_text(json.dumps({"weight_map": {"a": name}}))
        said = f"pair.base: resources/organism/base/{index.name} names {name}; give safetensors files of the same"
        assert_models("seed", 0, said)


def test_a_model_with_an_adapter_beside_it(models: Path) -> None:
    (models / "base" / "adapter_config.json").write_text("{}")
    assert_models("seed", 0, "pair.base: resources/organism/base has an adapter_config.json; merge the adapter")


@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size"])
def test_models_of_different_shapes(models: Path, key: str) -> None:
    config = models / "reasoning" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), key: 16}))
    with pytest.raises(
        SettingsError, match=rf"^pair\.base: \d .*\({key}\), pair\.reasoning has 16; both must be equal$"
    ):
        check_models(read_study(DEFAULT))


def test_more_rows_of_the_embedding_are_no_other_shape(models: Path) -> None:
    config = models / "reasoning" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "vocab_size": 16}))
    check_models(read_study(DEFAULT))


def test_a_tokenizer_that_is_none(models: Path) -> None:
    (models / "base" / "tokenizer.json").write_text("[]")
    assert_models("seed", 0, "pair.base: resources/organism/base/tokenizer.json is no tokenizer")


@pytest.mark.usefixtures("models")
def test_a_missing_prompt_file() -> None:
    assert_models(
        "prompts.source", "none.jsonl", "prompts.source: no file at none.jsonl; give 'organism', 'word-problems', a"
    )


GOOD = '{"category": "a", "prompt": "x", "answer": 3}\n'


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"category": "a", "prompt": " "}', "prompt is empty; each line is a JSON object with the texts category"),
        ('{"category": "", "prompt": "x"}', "category is empty"),
        ('{"category": "a", "prompt": "x", "anwser": 3}', "'anwser' is an unknown key; each line is a JSON object"),
        ('{"category": "a", "prompt": "x", "prompt": "y"}', "'prompt' is given twice"),
        ('{"category": "a", "prompt": "x", "answer": [3]}', "answer is a JSON list, not a text or a number"),
        ('{"category": "a", "prompt": "\\ud800"}', "prompt holds half of a surrogate pair"),
        ('{"category": "a", "prompt": "x"', "it is no JSON (Expecting ',' delimiter, column 32)"),
        ("[" * 100_000, "its lists and objects lie too deep"),
        ('{"category": "a", "prompt": 3}', "prompt is a JSON number, not a text"),
        ('{"category": "a"}', "prompt is missing"),
    ],
)
def test_a_bad_line_of_prompts_is_told_while_planning(tmp_path: Path, line: str, said: str, shares: bool) -> None:
    (tmp_path / "prompts.jsonl").write_text(3 * GOOD + f"\n{line}\n" + 400 * GOOD)
    counts: dict[str, Any] = {"train": 0.8, "heldout": 0.2} if shares else {"train": 240, "heldout": 60}
    prompts = {"source": "prompts.jsonl", **counts}
    assert_models("prompts", prompts, f"prompts.source: prompts.jsonl line 5: {said}")


INSTRUCTIONS: dict[str, tuple[bytes, str]] = {
    "no text": (b"Label.\xff", "is no text in UTF-8 (byte 7 is none); save it as UTF-8"),
    "UTF-16": ("Label.".encode("utf-16"), "is no text in UTF-8 (byte 1 is none)"),
    "empty": (b" \n", "is empty; give a text of instructions"),
    "vast": (b"x" * 100_001, "is larger than 100,000 bytes, which every request would send"),
}


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("kind", INSTRUCTIONS)
def test_instructions_that_cannot_be_sent_are_told_while_planning(tmp_path: Path, kind: str) -> None:
    content, said = INSTRUCTIONS[kind]
    (tmp_path / "mine.md").write_bytes(content)
    llm = {"endpoint": {"model": "m"}, "prompt": "mine.md"}
    annotators = {"lexicon": {"kind": "lexicon"}, "model": {"kind": "llm", "llm": llm}}
    assert_models("labels.annotators", annotators, f"labels.annotators.model.llm.prompt: mine.md {said}")
    with pytest.raises(SettingsError, match=r"^prompt: mine\.md is "):
        read_instructions("mine.md")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_instructions_are_the_same_however_their_lines_end(tmp_path: Path, end: str) -> None:
    """The key of a paid reply holds them."""
    (tmp_path / "mine.md").write_bytes(f"Label. é{end}So.{end}".encode())
    assert read_instructions(str(tmp_path / "mine.md")) == "Label. é\nSo.\n"


@pytest.mark.usefixtures("models")
def test_a_large_file_of_prompts_is_read_at_once(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text(100_000 * GOOD)
    study = read_study(changed("prompts", {"source": "prompts.jsonl", "train": 240, "heldout": 60}))
    started = time.process_time()
    check_models(study)
    assert time.process_time() - started < 5


@pytest.mark.usefixtures("models")
def test_a_file_of_published_chains(tmp_path: Path) -> None:
    """Its problems are counted when the study is read; without a problem that can be read there is none."""
    records = [{"problem": f"{n}?", "reasoning_chain": "So.", "annotated_chain": None} for n in range(10)]
    (tmp_path / "chains.json").write_text(json.dumps([*records, *records, {"problem": "11?"}]))
    (tmp_path / "lines.jsonl").write_text('{"category": "a", "prompt": "x"}\n' * 10)
    study = changed("rollouts", {"engine": "published", "file": "chains.json"})
    study["sweeps"] = {"selection": {**DEFAULT["sweeps"]["selection"], "prompts": "all"}}
    study["prompts"] = {"source": "chains.json", "train": 0.8, "heldout": 0.2}
    read = read_study(study)
    check_models(read)
    assert (read.prompts.train, read.prompts.heldout, read.sweeps["selection"].prompts) == (8, 2, 8)

    def refused(source: str, train: int) -> str:
        prompts = {"source": source, "train": train, "heldout": 1}
        values = {**study, "prompts": prompts, "rollouts": {"engine": "published", "file": source}}
        with pytest.raises(SettingsError) as problem:
            check_models(read_study(values))
        return str(problem.value)

    assert refused("chains.json", 10).startswith(
        "prompts.train and prompts.heldout: 10 and 1 are asked for, chains.json"
    )
    assert refused("lines.jsonl", 2) == "rollouts.file: lines.jsonl is no JSON list; give a file of published chains"
    (tmp_path / "chains.json").write_text('[{"problem": "?"}]')
    assert refused("chains.json", 2).startswith(
        "prompts.source: chains.json: none of 1 records can be read; record 1: "
    )
    (tmp_path / "chains.json").write_text('[{"problem": "?"}')
    assert refused("chains.json", 2).startswith("prompts.source: chains.json: is not JSON in UTF-8: ")


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("vector", "said"),
    [
        ({}, ""),
        ({"layer": 4}, "vectors.outside.theirs.layer: layer 4 is not in the base model; 0 to 3 are"),
        (
            {"file": "none.npy"},
            "vectors.outside.theirs.file: no file at none.npy; give a .safetensors, .gguf, .npy file",
        ),
        (
            {"file": "wide.npy"},
            "vectors.outside.theirs.file: wide.npy has 9 numbers there, the base model's residual str",
        ),
        ({"index": 1}, "vectors.outside.theirs.index: 1 is out of range; the shape is [8], give a row from 0 to 0"),
        ({"tensor": "a"}, "vectors.outside.theirs.tensor: a .npy file holds one array; leave it out"),
        (
            {"file": "zeros.npy"},
            "vectors.outside.theirs.file: zeros.npy holds zeros alone there, which have no direction",
        ),
    ],
)
def test_vectors_from_outside_are_read_before_any_job(tmp_path: Path, vector: dict[str, Any], said: str) -> None:
    for name, array in {"theirs": np.ones(8), "wide": np.ones(9), "zeros": np.zeros(8)}.items():
        np.save(tmp_path / f"{name}.npy", array)
    values = {"theirs": {"file": "theirs.npy", "layer": 2, **vector}}
    if said:
        assert_models("vectors.outside", values, said)
    else:
        check_models(read_study(changed("vectors.outside", values)))


@pytest.mark.usefixtures("models")
def test_hub_names_are_left_to_the_step() -> None:
    check_models(read_study(changed("pair", {"base": "some/base", "reasoning": "some/reasoning"})))


def test_paths_count_from_the_repository(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("REPURPOSE_ROOT", "..")
    study = read_study(DEFAULT)
    check_models(study)
    settings = StepSettings("rollouts.sampling", canonical_json(step_settings(study, "rollouts.sampling", shard=0)))
    assert settings.pair.base == "../resources/organism/base"
    assert settings.values["pair"]["base"] == "resources/organism/base"
    assert (work / settings.pair.base).resolve() == models / "base"


def test_a_step_sees_its_sections_and_no_others() -> None:
    study = read_study(DEFAULT)
    for step, sections in STEP_SECTIONS.items():
        extra = {"sweep": "baselines", "target": "base"} if step == "steering.sweeps" else {"shard": 1}
        settings = StepSettings(step, canonical_json(step_settings(study, step, **extra)))
        for section in sections:
            assert section == "vllm" or getattr(settings, section) is not None
        for section in {"rollouts", "labels", "statistics"} - set(sections):
            with pytest.raises(AttributeError, match=f"step {step} is not granted the settings {section}"):
                getattr(settings, section)
        assert extra.items() <= settings.values.items()
        assert extra == {name: getattr(settings, name) for name in extra}


def test_what_a_rule_adds_is_typed_and_read_like_a_setting() -> None:
    values = step_settings(read_study(DEFAULT), "steering.sweeps", sweep="baselines", target="neither")
    with pytest.raises(SettingsError, match=r"^target: 'neither' is not allowed; choose from base, reasoning$"):
        StepSettings("steering.sweeps", canonical_json(values))


def test_a_sweep_job_sees_its_own_sweep_alone() -> None:
    values = step_settings(read_study(DEFAULT), "steering.sweeps", sweep="baselines", target="base")
    assert set(values["sweeps"]) == {"baselines"}


def test_canonical_json_is_one_text_for_equal_settings() -> None:
    study = read_study(DEFAULT)
    again = read_study(json.loads(json.dumps(asdict(study))))
    assert study == again
    assert canonical_json(asdict(study)) == canonical_json(asdict(again))
    assert canonical_json({"b": 1, "a": [1.0, "é"]}) == '{"a":[1.0,"\\u00e9"],"b":1}'
