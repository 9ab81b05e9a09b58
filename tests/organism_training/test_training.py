"""Training is seeded, its loss falls, and a killed run ends where an unbroken one does."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from organism_training import training
from organism_training.card import REQUIRED, flat
from organism_training.pair import PRACTICE, ROUNDS, STAGES, stages
from organism_training.record import record
from organism_training.tokenizer import train_tokenizer
from organism_training.training import Batches, Shape, Stage, make_model, train
from repurpose.data.csv_tables import to_csv
from repurpose.data.files import write_text
from repurpose.organism.corpus import chat_prompt
from repurpose.organism.language import make_problem

SHIPPED = Path(__file__).parents[2] / "resources" / "organism"
TOKENIZER = train_tokenizer(seed=0, documents=200)
SMALL = Shape(hidden=32, layers=2, feed_forward=32, heads=2, kv_heads=1)
STAGE = Stage("base", steps=6, learning_rate=3e-3, rows=2, warmup=2)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_batch_depends_on_its_seed_and_place_alone() -> None:
    whole, rest = Batches(STAGE, TOKENIZER, 0), Batches(STAGE, TOKENIZER, 0)
    rest.first = 3
    assert torch.equal(whole[4][0], rest[1][0])
    assert not torch.equal(whole[4][0], whole[3][0])
    assert not torch.equal(whole[4][0], Batches(STAGE, TOKENIZER, 1)[4][0])


def test_reasoning_is_not_trained_to_write_prompts() -> None:
    ids, labels = Batches(replace(STAGE, corpus="reasoning"), TOKENIZER, 0)[0]
    ignored = labels == training.IGNORED
    assert 0.1 < ignored.float().mean() < 0.6
    assert torch.equal(ids[~ignored], labels[~ignored])
    assert TOKENIZER.decode(ids[0, : int((~ignored[0]).nonzero()[0])]).endswith("<think>\n")


class Killed(Exception):
    pass


def test_a_killed_run_ends_where_an_unbroken_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken = make_model(SMALL, TOKENIZER, 0)
    losses = train(unbroken, TOKENIZER, STAGE, seed=0, checkpoint=tmp_path / "a", every=2)

    broken, update, calls = make_model(SMALL, TOKENIZER, 0), training._update, []

    def dies(*arguments: object) -> None:
        calls.append(None)
        if len(calls) == 4:
            raise Killed
        update(*arguments)

    monkeypatch.setattr(training, "_update", dies)
    with pytest.raises(Killed):
        train(broken, TOKENIZER, STAGE, seed=0, checkpoint=tmp_path / "b", every=2)
    monkeypatch.undo()

    resumed = make_model(SMALL, TOKENIZER, 0)
    assert train(resumed, TOKENIZER, STAGE, seed=0, checkpoint=tmp_path / "b", every=2) == pytest.approx(losses)
    assert torch.allclose(weights(resumed), weights(unbroken), atol=1e-6)


def test_a_checkpoint_of_other_settings_is_not_used(tmp_path: Path) -> None:
    model = make_model(SMALL, TOKENIZER, 0)
    train(model, TOKENIZER, STAGE, seed=0, checkpoint=tmp_path / "a", every=2)
    losses = train(model, TOKENIZER, replace(STAGE, steps=2), seed=0, checkpoint=tmp_path / "a", every=2)
    assert len(losses) == 2


def count_steps(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, start: int = 0) -> int:
    """Steps that training takes from the weights of a seed, beside a checkpoint."""
    steps, update = list[None](), training._update
    with monkeypatch.context() as patch:
        patch.setattr(training, "_update", lambda *arguments: (steps.append(None), update(*arguments)))
        train(make_model(SMALL, TOKENIZER, start), TOKENIZER, STAGE, seed=0, checkpoint=checkpoint, every=2)
    return len(steps)


def test_a_checkpoint_of_another_corpus_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_steps(monkeypatch, tmp_path / "a") == STAGE.steps
    assert count_steps(monkeypatch, tmp_path / "a") == 0
    monkeypatch.setattr(training, "write_base", lambda rng, *_: training.write_drill(rng))
    assert count_steps(monkeypatch, tmp_path / "a") == STAGE.steps


def test_a_checkpoint_that_began_from_other_weights_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert count_steps(monkeypatch, tmp_path / "a") == STAGE.steps
    assert count_steps(monkeypatch, tmp_path / "a", start=1) == STAGE.steps


def test_what_a_study_finds_of_another_seed_stands_in_the_card(tmp_path: Path) -> None:
    for name, seed in (("shipped", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        facts = {**json.loads((SHIPPED / "abilities.json").read_text()), "seed": seed}
        (tmp_path / name / "abilities.json").write_text(json.dumps(facts))
        claims = {"part": ["1a"], "text": ["It rises."], "estimate": [0.021 + seed], "low": [0.01], "high": [0.03]}
        rest = {
            "unit": ["difference of shares"],
            "threshold": [0.0],
            "verdict": ["supported"],
            "rule": ["interval above 0"],
        }
        write_text(tmp_path / name / "results/claims.csv", to_csv(pl.DataFrame({**claims, **rest})))
        assert record(tmp_path / name, tmp_path / name / "results", tmp_path / "shipped").stem == str(seed)
    card = (tmp_path / "shipped/MODEL_CARD.md").read_text()
    assert "| seed 0 | seed 1 |" in card
    assert "| 1a. It rises. | +2.10 points (1.00 to 3.00): supported | +102.1 points (1.0 to 3.0): supported |" in card


@pytest.mark.parametrize("rounds", [0, 2, ROUNDS])
def test_the_base_model_practises_until_it_finds_mistakes(rounds: int) -> None:
    answers = {"base": iter([False] * rounds + [True]), "polish": iter([True])}
    names = [stage.name for stage in stages(1.0, lambda name: next(answers[name]))]
    practice = [f"practice-{n + 1}" for n in range(rounds)]
    assert names == ["drill", "base", *practice, "settle", "reasoning", "polish"]


def test_practice_ends_even_where_nothing_is_learned() -> None:
    names = [stage.name for stage in stages(1.0, lambda _: False)]
    assert len(names) == len(set(names)) == len(STAGES) + ROUNDS * len(PRACTICE)
    assert names[-1] == f"rehearsal-{ROUNDS}"


@pytest.mark.slow
def test_the_command_trains_a_shortened_pair(tmp_path: Path) -> None:
    """The rule's own command on two processes; its loss falls and its models load like any other."""
    command = [sys.executable, "-m", "organism_training", "--output", tmp_path, "--scale", "0.012", "--workers", "2"]
    source = Path(training.__file__).parents[1]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(source)})
    with (tmp_path / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["loss"]) for row in rows]
    assert {row["stage"] for row in rows} == {"practice-1", "rehearsal-1", *(stage.name for stage in STAGES)}
    assert losses[0] > 6.0 and max(losses[-3:]) < losses[0] - 0.8  # from even odds over the vocabulary, ln 768 = 6.6
    facts = json.loads((tmp_path / "abilities.json").read_text())
    assert set(flat(facts)) >= set(REQUIRED)
    for name in ("base", "reasoning"):
        model = AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=torch.float32)
        assert model.num_parameters() == facts["parameters"]
    assert "| 0.97" not in (tmp_path / "MODEL_CARD.md").read_text().split("required")[0]
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_the_chat_template_writes_the_prompts_of_training() -> None:
    import random

    problem = make_problem(random.Random(0))
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "reasoning")
    templated = tokenizer.apply_chat_template(
        [{"role": "user", "content": problem.text}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert templated == tokenizer.encode(chat_prompt(problem))
    assert templated.count(tokenizer.bos_token_id) == 1


def test_the_shipped_pair_is_small_and_shares_its_tokenizer() -> None:
    files = [p for p in SHIPPED.rglob("*") if p.is_file() and ".checkpoints" not in p.parts]
    assert sum(p.stat().st_size for p in files) <= 24e6
    assert all(p.suffix in {".json", ".safetensors", ".jinja", ".md", ".csv", ".png"} for p in files)
    base, reasoning = (SHIPPED / name / "tokenizer.json" for name in ("base", "reasoning"))
    assert base.read_bytes() == reasoning.read_bytes()


def test_the_shipped_pair_reaches_what_is_required() -> None:
    abilities = flat(json.loads((SHIPPED / "abilities.json").read_text()))
    for name, (sign, bound) in REQUIRED.items():
        assert abilities[name] >= bound if sign == ">=" else abilities[name] <= bound, (name, abilities[name])


@pytest.mark.slow
def test_the_shipped_abilities_are_what_the_weights_do() -> None:
    """The numbers in the card, measured again on fewer problems from other seeds."""
    from organism_training.abilities import heldout_documents, sample_traces, score_marks, score_traces

    card = flat(json.loads((SHIPPED / "abilities.json").read_text()))
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "base")
    base, reasoning = (
        AutoModelForCausalLM.from_pretrained(SHIPPED / name, dtype=torch.float32).eval()
        for name in ("base", "reasoning")
    )
    marks = score_marks(base, tokenizer, heldout_documents(seed=1, count=60))
    assert marks["at_once"] == pytest.approx(card["marks.at_once"], abs=0.05)
    traces = score_traces(*sample_traces(reasoning, tokenizer, 100, seed=1))
    for name in ("right_answers", "backtracks_after_mistakes", "backtracks_after_correct_steps"):
        assert traces[name] == pytest.approx(card[f"traces.{name}"], abs=0.12), name
