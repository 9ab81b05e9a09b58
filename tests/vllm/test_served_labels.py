"""The whole path of labels against a real server: vLLM's own, with guided decoding. The labels are nonsense."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from server import ROOT, serve

from repurpose.data.csv_tables import read_csv
from repurpose.data.files import read_table
from repurpose.study.catalogue import AGREEMENT_FIGURES, AGREEMENT_TABLES, FIGURES, TABLES
from repurpose.study.settings import BEHAVIOURS
from repurpose.study.study_file import load_values

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
    study = load_values(ROOT / "studies" / "organism.yaml")
    endpoint = {"model": "organism", "base_url": url, "key_variable": "CANARY_KEY", "concurrency": 16, "retries": 1}
    # greedily the pair's model calls every sentence `initializing`, and at this temperature most of them
    endpoint |= {"input_price": 2.0, "output_price": 8.0, "temperature": 2.0}
    llm = {"endpoint": endpoint, "prompt": str(folder / "prompt.md"), "chunk_sentences": 4, "overlap_sentences": 1}
    model = {"kind": "llm", "llm": {**llm, "max_invalid_share": 1.0}, "mapping": {"initializing": "backtracking"}}
    annotators = {"lexicon": {"kind": "lexicon"}, "model": model}
    study["labels"] = {"annotator": "lexicon", "annotators": annotators, "steered_prompts": 2}
    study["rollouts"] |= {"max_new_tokens": 160, **rollouts}
    (folder / "prompt.md").write_text(INSTRUCTIONS)
    return {**shrink(study), "study": "served"}


def shrink(study: dict[str, Any]) -> dict[str, Any]:
    """All steps of a study, and as little as can be in each; with fewer prompts all windows may bear one label."""
    study["prompts"] = {"source": "organism", "train": 12, "heldout": 4}
    study["activations"] |= {"layers": [2, 4], "window_starts": [-9, -6]}
    study["vectors"] |= {"random_directions": 2, "covariance_directions": 2, "shuffles": 2, "split_halves": 4}
    study["permutations"] |= {"directions": 4, "passages": 1, "rivals": 2}
    study["selection"] |= {"max_nats": 1000.0, "min_grammatical": 0.0, "min_distinct_2": 0.0, "max_longest_run": 1000.0}
    study["statistics"] |= {"bootstrap": 50}
    for name, sweep in study["sweeps"].items():
        values = [0.8] if name == "selection" else [1.0]
        sweep |= {
            "prompts": 3,
            "samples": 1,
            "max_new_tokens": 24,
            "magnitudes": {**sweep["magnitudes"], "values": values},
        }
    return study


def snakemake(folder: Path, study: dict[str, Any], *targets: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "-s", ROOT / "Snakefile"]
    command += [*targets, "--configfile", "study.yaml"]
    environment = {**os.environ, "CANARY_KEY": key}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


RUN = "results/served/with/model"
"""Everything that stands on the model's labels."""


@pytest.fixture(scope="module")
def labelled(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a study")
    done = snakemake(folder, make_study(url, folder), f"{RUN}/report.html")
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
    assert usage.height == 16 and (usage["prompt_tokens"] > 0).all() and (usage["requests"] > 0).all()
    cost = (usage["prompt_tokens"] * 2.0 + usage["completion_tokens"] * 8.0) / 1e6
    assert (usage["cost"] - cost).abs().max() < 1e-12  # type: ignore[operator]


def test_the_whole_study_stands_on_the_models_labels(labelled: Path) -> None:
    run = labelled / RUN
    assert {path.stem for path in (run / "tables").glob("*.csv")} == {*TABLES, *AGREEMENT_TABLES}
    assert {path.stem for path in (run / "figures").glob("*.svg")} == {*FIGURES, *AGREEMENT_FIGURES}
    assert (run / "claims.md").stat().st_size > 500 and (run / "report.html").stat().st_size > 50_000
    steered = read_table(run / "steered_labels/model/two_by_two/reasoning.parquet")
    assert steered["prompt_id"].n_unique() == 3, "all of the sweep, which the model's own run is measured by"
    measured = read_table(run / "measurements/two_by_two/reasoning.parquet")
    assert set(measured["annotator"]) == {"model"}
    rule = read_csv(run / "tables/keyword_rule.csv")
    assert set(rule["annotator"]) == {"lexicon", "model"}


def test_labelling_again_asks_the_server_nothing(labelled: Path, url: str) -> None:
    study = make_study(url, labelled)
    assert "adding-knowledge" in read_labels(labelled, "model")["label"].to_list()
    study["labels"]["annotators"]["model"]["mapping"] = {"adding-knowledge": "deduction"}
    before = replies(labelled)
    done = snakemake(labelled, study, "results/served/labels/model/0.parquet", key="not-asked-for")
    assert done.returncode == 0, done.stdout + done.stderr
    assert replies(labelled) == before
    assert "adding-knowledge" not in read_labels(labelled, "model")["label"].to_list()
    usage = read_table(labelled / "results/served/labels/model/usage.parquet")
    assert usage["paid_earlier"].to_list() == usage["cost"].to_list()


def replies(folder: Path) -> list[str]:
    (journal,) = (folder / "results/replies").glob("*.jsonl")
    return journal.read_text().splitlines()


def test_the_key_stands_in_no_file(labelled: Path) -> None:
    files = {path.relative_to(labelled): path for path in labelled.rglob("*") if path.is_file()}
    names = [name.as_posix() for name in files]
    for part in (r"\.snakemake/", r"results/.*/logs/", r"results/replies/.*\.jsonl$", rf"{RUN}/report\.html$"):
        assert any(re.search(part, name) for name in names), part
    assert not [name for name, path in files.items() if KEY.encode() in path.read_bytes()]


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
    done = snakemake(tmp_path, study, f"{RUN}/report.html", key=key)
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
        assert rollouts.height == 8 and rollouts["engine"].unique().to_list() == ["openai"]
        assert rollouts["text"].str.contains("start from").all() and (rollouts["token_ids"].list.len() > 20).all()
        assert rollouts.filter(pl.col("finish_reason") == "stop").height > 0
