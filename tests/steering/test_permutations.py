"""The permutation test finds a direction that works, and calls nothing else one; rivals come from training text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.tiny import BLANK, SELECTED, WIDTH, StepMaker, make_model

from repurpose.data.files import read_table, write_table
from repurpose.data.schemas import LABELS, ROLLOUTS
from repurpose.data.selected import write_selected
from repurpose.directions.store import write_activations
from repurpose.directions.unit_directions import read_pair_directions
from repurpose.directions.vectors import Site, compute_vectors
from repurpose.model.teacher_forcing import log_odds
from repurpose.steering.permutations import (
    Bench,
    Drawn,
    choose_passages,
    choose_rivals,
    draw_directions,
    main,
    pooled,
    read_heldout,
    strongest,
)
from repurpose.study.settings import Permutations, Vectors, canonical_json

PROMPTS, SENTENCES, TOKENS = 8, 5, 6
"""The last half of the prompts is held out; each sentence has so many tokens."""


def rollout_rows() -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    shared = {"sample": 0, "answer": "7", "model": "m", "engine": "e", "seed": 0, "text": "", "finish_reason": "stop"}
    return [
        {
            **shared,
            "prompt_id": f"p{number}",
            "category": "c",
            "split": "train" if number < PROMPTS // 2 else "heldout",
            "prompt_token_ids": [0, 2, 3 + number],
            "token_ids": generator.integers(6, 40, SENTENCES * TOKENS).tolist(),
            "token_ends": [0] * SENTENCES * TOKENS,
        }
        for number in range(PROMPTS)
    ]


def sentence_rows() -> list[dict[str, Any]]:
    return [
        {**BLANK, "prompt_id": row["prompt_id"], "sample": 0, "split": row["split"], "sentence": number}
        | {"token_start": number * TOKENS, "label": ("deduction", "backtracking")[number == 3], "status": "ok"}
        for row in rollout_rows()
        for number in range(SENTENCES)
    ]


def make_site(n: int = 60) -> Site:
    generator = np.random.default_rng(1)
    labels = np.where(np.arange(n) % 5 == 3, "backtracking", "deduction")
    return Site(1, -3, generator.standard_normal((n, WIDTH)).astype(np.float32), np.arange(n) // 15, labels)


@pytest.mark.parametrize("estimator", ["minus_all", "minus_rest"])
def test_the_first_directions_are_those_of_the_vector_tables(estimator: Any) -> None:
    site, settings = make_site(), Vectors(estimator=estimator, shuffles=2, covariance_directions=2)
    rows = {row["name"]: np.frombuffer(row["vector"], np.float32) for row in compute_vectors(site, settings, 3, 4)}
    tested = draw_directions(rows["backtracking"].astype(float), site, settings, 4, 3)
    assert tested.names[0] == "backtracking" and len(tested.names) == len(tested.units) == 9
    np.testing.assert_allclose(np.linalg.norm(tested.units[1:], axis=1), 1)
    for name in ("shuffle-00", "shuffle-01", "covariance-random-00", "covariance-random-01"):
        unit = rows[name] / np.linalg.norm(rows[name])
        np.testing.assert_allclose(tested.units[tested.names.index(name)], unit, atol=1e-5)


def test_passages_end_at_their_last_position_and_the_cheapest_come_first() -> None:
    rollouts, sentences = pl.DataFrame(rollout_rows()), pl.DataFrame(sentence_rows())
    late = sentences.filter((pl.col("prompt_id") != "p4") | (pl.col("sentence") > 1))
    passages = choose_passages(rollouts, late, "heldout", tokens=3 * TOKENS)
    assert [(p.prompt_id, p.positions) for p in passages[:2]] == [("p5", [8, 14]), ("p6", [8, 14])]
    assert (passages[-1].prompt_id, passages[-1].positions) == ("p4", [14])
    assert all(len(p.token_ids) == p.positions[-1] + 1 for p in passages)
    assert {p.prompt_id for p in choose_passages(rollouts, late, "train", 30)} == {"p0", "p1", "p2", "p3"}


def test_a_direction_that_works_is_found_and_rivals_are_chosen_on_training_text() -> None:
    """The vector is the gradient of the score itself, so nothing that is drawn comes near it."""
    model = make_model(0, 45).requires_grad_(False)
    rollouts, sentences = pl.DataFrame(rollout_rows()), pl.DataFrame(sentence_rows())
    passages = {split: choose_passages(rollouts, sentences, split, 30) for split in ("train", "heldout")}
    blind = draw_directions(np.eye(WIDTH)[0], make_site(), Vectors(), 12, 0)

    def make_bench(own: np.ndarray) -> Bench:
        blind.units[0] = own
        return Bench(model, blind, SELECTED, lambda logits: log_odds(logits, [7, 9]))

    identity = Bench(model, Drawn(["x"] * WIDTH, np.eye(WIDTH)), SELECTED, make_bench(blind.units[0]).score)
    gradient = pooled(identity.slopes(passages["heldout"]), passages["heldout"])
    bench = make_bench(gradient / np.linalg.norm(gradient))
    rows = pl.DataFrame(read_heldout(bench, passages["heldout"]))
    changes = rows.group_by("name", maintain_order=True).agg(pl.col("change").mean())
    assert changes.sort("change")["name"][-1] == "backtracking"
    assert rows.select(pl.corr("change", "slope")).item() > 0.5
    assert rows["steered_positions"].to_list() == rows["expected_positions"].to_list()

    read, rivals = choose_rivals(bench, passages["train"], Permutations(directions=12, passages=2, rivals=2))
    table = pl.DataFrame(read, infer_schema_length=None).filter(pl.col("change").is_not_null())
    assert table["prompt_id"].n_unique() == 2 and table["name"].n_unique() == 1 + 8
    drawn = table.filter(pl.col("name") != "backtracking")
    best = drawn.group_by("name").agg(pl.col("change").mean()).sort("change", descending=True)["name"][:2].to_list()
    assert [blind.names[index] for index in rivals] == best
    assert choose_rivals(bench, [], Permutations()) == ([], [])


def test_the_strongest_come_first_and_only_among_those_asked() -> None:
    assert strongest(np.array([9.0, 1.0, 3.0, 2.0]), [1, 2, 3], 2) == [2, 3]


def test_the_command_writes_readings_and_rivals(
    tmp_path: Path, make_step: StepMaker, vector_files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {name: tmp_path / f"{name}.parquet" for name in ("rollouts", "labels", "activations", "out", "rivals")}
    write_table(paths["rollouts"], rollout_rows(), ROLLOUTS, {})
    write_table(paths["labels"], sentence_rows(), LABELS, {})
    keys = [
        {**{key: row[key] for key in ("prompt_id", "sample", "sentence")}, "window_start": -3}
        for row in sentence_rows()
    ]
    vectors = np.random.default_rng(2).standard_normal((1, len(keys), WIDTH)).astype(np.float32)
    write_activations(paths["activations"], keys, [1], vectors, {})
    write_selected(tmp_path / "selection.json", SELECTED)
    arguments = ["--settings", canonical_json(make_step("steering.permutations").values)]
    arguments += ["--selection", str(tmp_path / "selection.json"), "--vectors", *vector_files]
    for name in ("rollouts", "labels", "activations"):
        arguments += [f"--{name}", str(paths[name])]
    monkeypatch.setattr("sys.argv", ["permutations", *arguments, "--output", str(paths["out"]), str(paths["rivals"])])
    main()
    table, rivals = read_table(paths["out"]), read_table(paths["rivals"])
    assert table["name"].n_unique() == 1 + 2 * 3
    heldout = table.filter(split="heldout")
    assert heldout["change"].null_count() == 0 and heldout["prompt_id"].n_unique() == 2
    assert table["rival"].drop_nulls().unique().sort().to_list() == ["rival-00", "rival-01"]
    assert rivals.group_by("name", "reader").len().height == len(rivals) == 4
    directions = read_pair_directions([*vector_files, str(paths["rivals"])])
    assert directions.names("rival") == ["rival-00", "rival-01"]
    assert directions.norms["base", 1] == read_pair_directions(vector_files).norms["base", 1]
