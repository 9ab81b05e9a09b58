"""Published chains with published labels go through every rule, whatever the labelled unit: real steps, real pair."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from copied_project import ROOT, Project, real_project

from repurpose.data.files import read_provenance
from repurpose.labels.lexicon import label_sentence
from repurpose.organism.language import Spoken, join, make_problem, make_trace
from repurpose.study.catalogue import AGREEMENT_FIGURES, FIGURES
from repurpose.study.settings import BEHAVIOURS

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(1400)]  # two whole studies

RESULTS = "results/published"
KEY = ["prompt_id", "sample", "sentence"]
SWEEP = {
    "split": "heldout",
    "prompts": "all",
    "magnitudes": {"unit": "selected", "values": [1.0]},
    "max_new_tokens": 12,
}


def annotate(sentences: list[Spoken], numbered: bool) -> str:
    """A copy with the truth in sections: neighbours of one label are one span, as language models have it."""
    sections: list[tuple[str, list[str]]] = []
    for sentence in sentences:
        if sections and sections[-1][0] == sentence.label:
            sections[-1][1].append(sentence.text)
        else:
            sections.append((str(sentence.label), [sentence.text]))
    return "\n".join(
        f"[{number}. {label}] {' '.join(texts)} [end-section]"
        if numbered
        else f'["{label}"] {" ".join(texts)} ["end-section"]'
        for number, (label, texts) in enumerate(sections, 1)
    )


def make_records(count: int) -> list[dict[str, Any]]:
    rng, records = random.Random("published"), []
    for number in range(count):
        problem = make_problem(rng, heldout=True)
        sentences = make_trace(rng, problem)
        chain = join(sentences)
        records.append(
            {
                "task_id": f"t{number}",
                "problem": problem.text,
                "answer": problem.answer,
                "reasoning_chain": chain,
                "annotated_chain": annotate(sentences, numbered=number % 3 == 0),
            }
        )
    return records


def make_study(unit: str) -> dict[str, Any]:
    published = {"kind": "published", "file": "chains.json"}
    base = yaml.safe_load((ROOT / "studies" / "organism.yaml").read_text())
    return {
        "study": "published",
        "pair": base["pair"],
        "prompts": {"source": "chains.json", "train": 0.7, "heldout": 0.3},
        "rollouts": {"engine": "published", "file": "chains.json", "max_new_tokens": 400, "shards": 2},
        "labels": {
            "unit": unit,
            "annotator": "truth",
            "annotators": {"truth": published, "lexicon": {"kind": "lexicon"}},
        },
        "activations": {"layers": [2, 3], "window_starts": [-9, -6], "window_length": 4},
        "vectors": {"random_directions": 2, "covariance_directions": 2, "shuffles": 1, "split_halves": 2},
        "permutations": {"directions": 4, "passages": 1, "rivals": 2},
        "sweeps": {
            "selection": {
                **SWEEP,
                "split": "train",
                "prompts": 2,
                "layers": "all",
                "window_starts": "all",
                "magnitudes": {"unit": "dose", "values": [0.5]},
            },
            "two_by_two": {**SWEEP, "targets": ["base", "reasoning"], "readers": ["base", "reasoning"]},
        },
        "selection": {
            **{"sweep": "selection", "metric": "keyword_share", "max_nats": 1000.0},
            **{"min_distinct_2": 0.0, "max_longest_run": 100.0},
        },
        "statistics": {"bootstrap": 50},
    }


def table(project: Project, name: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(project.root / RESULTS / name / f"{shard}.parquet") for shard in (0, 1)])


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return make_records(20)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]) -> Project:
    project = real_project(tmp_path_factory.mktemp("published") / "a project")
    unread = {"task_id": "broken", "problem": "?", "reasoning_chain": None}
    (project.root / "chains.json").write_text(json.dumps([*records, unread]))
    return project


def run(project: Project, unit: str) -> str:
    (project.root / "config.yaml").write_text(yaml.safe_dump(make_study(unit)))
    return project.run("--cores", "2")


def check_results(project: Project, unit: str) -> pl.DataFrame:
    """Everything is there, and both annotators speak of the same units; return the study's own labels."""
    results = project.root / RESULTS
    figures = {f"{name}.{kind}" for name in (*FIGURES, *AGREEMENT_FIGURES) for kind in ("svg", "png")}
    assert {file.name for file in (results / "figures").iterdir() if file.is_file()} == figures
    labels, other = (table(project, f"labels/{name}") for name in ("truth", "lexicon"))
    assert labels.select(KEY).equals(other.select(KEY)) and labels.height > 60
    (kappa,) = pl.read_csv(results / "tables" / "agreement.csv").filter(label="all").to_dicts()
    assert kappa["sentences"] == labels.filter(pl.col("status") != "skipped").height
    page = (results / "report.html").read_text()
    behaving = labels.filter(label="backtracking").height
    assert f"backtracking {unit}s" in page and behaving > 5 and (results / "claims.csv").is_file()
    vectors = pl.read_parquet(results / "vectors" / "base.parquet").filter(name="backtracking")
    assert vectors["positives"].max() == labels.filter(split="train", label="backtracking").height
    assert "Nothing to be done" in project.run("-n", "--cores", "1")
    return labels


@pytest.fixture(scope="module")
def sentences(project: Project) -> tuple[pl.DataFrame, str]:
    """The labels where sentences are the units, and what the run printed."""
    printed = run(project, "sentence")
    return check_results(project, "sentence"), printed


@pytest.fixture(scope="module")
def spans(project: Project, sentences: tuple[pl.DataFrame, str]) -> tuple[pl.DataFrame, str]:
    """The same where the study went on with spans, which needs no new rollout."""
    assert sentences
    printed = run(project, "span")
    return check_results(project, "span"), printed


def test_published_chains_with_their_labels_go_through_every_rule(
    project: Project, records: list[dict[str, Any]], sentences: tuple[pl.DataFrame, str]
) -> None:
    labels, printed = sentences
    rollouts = table(project, "rollouts")
    assert {row["prompt_id"]: row["text"] for row in rollouts.to_dicts()} == {
        record["task_id"]: record["reasoning_chain"] for record in records
    }
    assert rollouts["engine"].unique().to_list() == ["published"] and rollouts["answer"].null_count() == 0
    left_out = ["record 21 (task_id 'broken'): field reasoning_chain is a JSON null, not a text"]
    shard = read_provenance(project.root / RESULTS / "rollouts" / "0.parquet")
    assert read_provenance(project.root / RESULTS / "prompts.parquet")["left_out"] == left_out
    assert shard["published"]["left_out"] == left_out and "model_digest" not in shard
    assert f"prompts: {left_out[0]}\n" in printed and f"rollouts/0: {left_out[0]}\n" in printed
    assert labels["status"].unique().to_list() == ["ok"]
    rules = labels["text"].map_elements(label_sentence, return_dtype=pl.String)
    assert (rules != labels["label"]).mean() < 0.05  # the lexicon knows this language, and the labels are the truth


def test_annotated_spans_go_through_every_rule(
    records: list[dict[str, Any]], sentences: tuple[pl.DataFrame, str], spans: tuple[pl.DataFrame, str]
) -> None:
    labels, printed = spans
    assert "take_spans" in printed and "sample_rollouts" not in printed
    assert labels["status"].unique().to_list() == ["ok"] and labels.height < sentences[0].height
    for record in records:
        own, copy = labels.filter(prompt_id=record["task_id"]), record["annotated_chain"]
        assert own.height == copy.count("end-section")  # one row is one annotated span
        assert all(row["text"] in copy and row["label"] in BEHAVIOURS for row in own.to_dicts())
    starts = sentences[0].select("prompt_id", "token_start", first="label")
    joined = labels.join(starts, on=["prompt_id", "token_start"], how="left")
    assert joined["label"].equals(joined["first"].alias("label"))  # a span begins with a sentence of its label


def test_another_file_of_chains_replans_the_rollouts(project: Project, spans: tuple[pl.DataFrame, str]) -> None:
    assert spans
    source = project.root / "chains.json"
    text, times = source.read_text(), source.stat()
    source.write_text(f"{text}\n")
    os.utime(source, (time.time() + 5, time.time() + 5))
    assert "sample_rollouts" in project.run("-n", "--cores", "1")
    source.write_text(text)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_file_of_no_use_stops_before_any_job(project: Project, tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text('[{"problem": "?"}]')
    study = make_study("span")
    study["prompts"]["source"] = study["rollouts"]["file"] = str(tmp_path / "none.json")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    printed = project.run("-n", "--cores", "1", "--configfile", str(tmp_path / "study.yaml"), fails=True)
    assert "prompts.source: none.json: none of 1 records can be read; record 1: has neither" in printed
