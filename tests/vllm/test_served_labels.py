"""The whole path of labels against a real server: vLLM's own, with guided decoding. The labels are nonsense."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from server import ROOT, serve

from repurpose.settings import BEHAVIOURS
from repurpose.tables import read_table

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
KEY = "canary-0f3c9a7b51d24e"
INSTRUCTIONS = "Label each sentence by what it does. The sentences are data."
"""Short: the embedded pair has 1,024 positions, and its vocabulary is small."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("server"), KEY) as found:
        yield found


def make_study(url: str, folder: Path, **rollouts: Any) -> dict[str, Any]:
    """A small study whose labels come from the server."""
    study = yaml.safe_load((ROOT / "config.yaml").read_text())
    endpoint = {"model": "organism", "base_url": url, "key_variable": "CANARY_KEY", "concurrency": 16, "retries": 1}
    prices = {"input_price": 2.0, "output_price": 8.0}
    llm = {"endpoint": {**endpoint, **prices}, "prompt": str(folder / "prompt.md"), "chunk_sentences": 4}
    llm |= {"overlap_sentences": 1, "max_invalid_share": 1.0}
    annotators = {"lexicon": {"kind": "lexicon"}, "model": {"kind": "llm", "llm": llm}}
    study |= {"study": "served", "prompts": {"source": "organism", "train": 6, "heldout": 4}}
    study["labels"] = {"annotator": "lexicon", "annotators": annotators, "steered_prompts": 2}
    study["rollouts"] |= {"max_new_tokens": 160, **rollouts}
    for sweep in study["sweeps"].values():
        sweep["prompts"] = min(sweep["prompts"], 4)
    (folder / "prompt.md").write_text(INSTRUCTIONS)
    return dict(study)


def snakemake(folder: Path, study: dict[str, Any], *targets: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "-s", ROOT / "Snakefile"]
    command += [*targets, "--configfile", "study.yaml"]
    environment = {**os.environ, "CANARY_KEY": key}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


TARGETS = tuple(f"results/served/{name}" for name in ("tables/agreement.csv", "figures/confusion.svg"))


@pytest.fixture(scope="module")
def labelled(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a study")
    done = snakemake(folder, make_study(url, folder), *TARGETS)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_each_sentence_has_a_label_or_the_fault_of_its_reply(labelled: Path) -> None:
    tables = {name: read_labels(labelled, name) for name in ("lexicon", "model")}
    model, lexicon = tables["model"], tables["lexicon"]
    same = ["prompt_id", "sample", "sentence", "text"]
    assert model.select(same).equals(lexicon.select(same)) and model.height > 50
    ok = model.filter(pl.col("status") == "ok")
    assert ok.height > model.height / 8, model["status"].value_counts()  # a number is often given twice
    assert set(ok["label"]) <= set(BEHAVIOURS) and ok["label"].null_count() == 0
    rest = model.filter(pl.col("status") != "ok")
    assert rest["label"].null_count() == rest.height
    assert rest.filter(pl.col("status") != "skipped")["reply"].null_count() == 0


def read_labels(folder: Path, annotator: str) -> pl.DataFrame:
    return read_table([str(folder / f"results/served/labels/{annotator}/{shard}.parquet") for shard in range(2)])


def test_the_bill_is_what_the_server_counted(labelled: Path) -> None:
    usage = read_table(labelled / "results/served/labels/model/usage.parquet")
    assert usage.height == 10 and (usage["prompt_tokens"] > 0).all() and (usage["requests"] > 0).all()
    cost = (usage["prompt_tokens"] * 2.0 + usage["completion_tokens"] * 8.0) / 1e6
    assert (usage["cost"] - cost).abs().max() < 1e-12  # type: ignore[operator]


def test_labelling_again_asks_the_server_nothing(labelled: Path, url: str) -> None:
    study = make_study(url, labelled)
    study["labels"]["annotators"]["model"]["mapping"] = {"example-testing": "deduction"}
    study["labels"]["annotators"]["model"]["llm"]["endpoint"]["base_url"] = url
    before = replies(labelled)
    done = snakemake(labelled, study, "results/served/labels/model/0.parquet", key="not-asked-for")
    assert done.returncode == 0, done.stdout + done.stderr
    assert replies(labelled) == before
    assert "example-testing" not in read_labels(labelled, "model")["label"].to_list()
    usage = read_table(labelled / "results/served/labels/model/usage.parquet")
    assert usage["paid_earlier"].to_list() == usage["cost"].to_list()


def replies(folder: Path) -> list[str]:
    (journal,) = (folder / "results/replies").glob("*.jsonl")
    return journal.read_text().splitlines()


def test_the_key_stands_in_no_file(labelled: Path) -> None:
    files = [path for path in labelled.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        ({}, "wrong-key", "refuses the key in the environment variable CANARY_KEY"),
        ({}, "", "CANARY_KEY"),
        ({"model": "another"}, KEY, "endpoint.model: 'another' is not served at"),
        ({"base_url": "http://127.0.0.1:9/v1"}, KEY, "endpoint.base_url: http://127.0.0.1:9/v1 cannot be reached"),
    ],
)
def test_what_is_wrong_is_said_before_rollouts_are_spent(
    url: str, tmp_path: Path, change: dict[str, str], key: str, said: str
) -> None:
    study = make_study(url, tmp_path)
    study["labels"]["annotators"]["model"]["llm"]["endpoint"] |= change
    done = snakemake(tmp_path, study, *TARGETS, key=key)
    assert done.returncode != 0 and said in done.stderr + done.stdout, done.stdout + done.stderr
    assert not list((tmp_path / "results").rglob("rollouts/*.parquet"))


def test_rollouts_from_the_server_are_those_of_its_ids(url: str, tmp_path: Path) -> None:
    """Exact ids from the server, or ids of its text: rollouts in the pair's language, alike but for their draws."""
    endpoint = {"model": "organism", "base_url": url, "key_variable": "CANARY_KEY", "concurrency": 4, "retries": 1}
    for ids in ("server", "tokenizer"):
        folder = tmp_path / ids
        folder.mkdir()
        study = make_study(url, folder, engine="openai", endpoint=endpoint, ids=ids)
        done = snakemake(folder, study, "results/served/sentences/0.parquet")
        assert done.returncode == 0, done.stdout + done.stderr
        rollouts = read_table(folder / "results/served/rollouts/0.parquet")
        assert rollouts.height == 5 and rollouts["engine"].unique().to_list() == ["openai"]
        assert rollouts["text"].str.contains("start from").all() and (rollouts["token_ids"].list.len() > 20).all()
        assert rollouts.filter(pl.col("finish_reason") == "stop").height > 0
