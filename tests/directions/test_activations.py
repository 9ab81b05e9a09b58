"""The step as a command, on the tiny pair, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny import StepMaker, make_tokenizer
from transformers import LlamaForCausalLM

from repurpose.data.files import read_provenance, write_table
from repurpose.data.schemas import ROLLOUTS, SENTENCES
from repurpose.directions.activations import asked_layers, main
from repurpose.directions.store import read_layer
from repurpose.model.loading import ModelError
from repurpose.model.tokens import check_same_ids
from repurpose.rollouts.sampling import sample_rollouts
from repurpose.study.settings import canonical_json

Row = dict[str, Any]


def label_everything(rollouts: list[Row]) -> list[Row]:
    """Sentences of four tokens; every second one without a label."""
    return [
        {
            "prompt_id": rollout["prompt_id"],
            "sample": 0,
            "split": rollout["split"],
            "sentence": number,
            "token_start": start,
            "token_end": start + 4,
            "labelled": bool(number % 2),
        }
        for rollout in rollouts
        for number, start in enumerate(range(0, len(rollout["token_ids"]), 4))
    ]


@pytest.fixture
def shard(tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row]) -> tuple[list[Row], list[Row], list[str]]:
    rollouts = sample_rollouts(make_step("rollouts.sampling", shard=0), prompt_rows, tmp_path / "r")
    sentences = label_everything(rollouts)
    write_table(tmp_path / "r.parquet", rollouts, ROLLOUTS, {})
    write_table(tmp_path / "s.parquet", sentences, SENTENCES, {})
    paths = ["--rollouts", str(tmp_path / "r.parquet"), "--sentences", str(tmp_path / "s.parquet")]
    return rollouts, sentences, [*paths, "--output", str(tmp_path / "a.parquet")]


def run_main(monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], paths: list[str]) -> None:
    monkeypatch.setattr("sys.argv", ["activations", "--settings", canonical_json(values), *paths])
    main()


def test_all_sentences_are_read_from_the_stored_ids(
    tmp_path: Path,
    make_step: StepMaker,
    shard: tuple[list[Row], list[Row], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    pair_folders: dict[str, str],
) -> None:
    rollouts, sentences, paths = shard
    run_main(monkeypatch, make_step("directions.activations", reader="base").values, paths)
    keys, vectors = read_layer(tmp_path / "a.parquet", 1)
    here = (keys["window_start"] == -3).to_numpy()
    keys, vectors = keys.filter(window_start=-3), vectors[here]
    wanted = {(s["prompt_id"], s["sentence"]) for s in sentences if s["token_start"] >= 3}
    assert {(k["prompt_id"], k["sentence"]) for k in keys.to_dicts()} == wanted
    model = LlamaForCausalLM.from_pretrained(pair_folders["base"])
    by_id = {r["prompt_id"]: r for r in rollouts}
    for key, found in zip(keys.to_dicts(), vectors, strict=True):
        prompt = by_id[key["prompt_id"]]["prompt_token_ids"]
        first = len(prompt) + 4 * key["sentence"] - 3
        with torch.no_grad():
            ids = torch.tensor([prompt + by_id[key["prompt_id"]]["token_ids"]])
            hidden = model(ids, output_hidden_states=True).hidden_states[2]
        np.testing.assert_allclose(found, hidden[0, first : first + 2].mean(0), atol=2e-5)
    notes = read_provenance(tmp_path / "a.parquet")
    assert notes["layers"] == [0, 1, 2] and notes["dropped_windows"]["-3"]["before_generated"] == len(rollouts)
    assert set(notes["model_digest"]) == {"base"} and notes["device"]
    assert notes["generated_tokens"] == sum(len(r["token_ids"]) for r in rollouts)


def test_ids_beyond_the_vocabulary_are_refused_in_one_line(
    tmp_path: Path,
    make_step: StepMaker,
    shard: tuple[list[Row], list[Row], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rollouts, _, paths = shard
    rollouts[0]["token_ids"] = [4000]
    write_table(tmp_path / "r.parquet", rollouts, ROLLOUTS, {})
    with pytest.raises(SystemExit, match=r"pair\.reasoning: token id 4000 is outside the model's"):
        run_main(monkeypatch, make_step("directions.activations", reader="reasoning").values, paths)
    assert not (tmp_path / "a.parquet").exists()


def test_only_tokens_of_text_must_agree() -> None:
    """Qwen's and SmolLM2's base and chat models end their texts with different tokens."""
    one, other = make_tokenizer(), make_tokenizer()
    check_same_ids(one, other)
    other.eos_token, other.bos_token = "<think>", "<|user|>"
    other.add_tokens(["<|more|>"], special_tokens=True)
    check_same_ids(one, other)


def test_layers_are_checked() -> None:
    assert asked_layers("all", 3) == [0, 1, 2] and asked_layers((2, 0), 3) == [0, 2]
    with pytest.raises(ModelError, match="has layers 0 to 2"):
        asked_layers((3,), 3)
