"""What backtracks by its label is what the study's own annotator says of steered text, or nobody."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.endpoint import KEY, KEY_VARIABLE, MODEL, serve, truth

from repurpose.data.files import read_table, write_table
from repurpose.data.provenance import provenance
from repurpose.data.schemas import LIKELIHOODS, SWEEPS
from repurpose.labels import steered_labels
from repurpose.results.claims.claim import Cells, Finding, judge
from repurpose.results.claims.weighing import CLAIMS
from repurpose.steering import measurements
from repurpose.steering.sentences import cut_thinking
from repurpose.study.labellers import list_steered_labels
from repurpose.study.plan import Shape, count, count_labelled, plan_annotation
from repurpose.study.settings import Endpoint, Llm, SettingsError, Study, read_study
from synthetic import PRESENT, make_study, prompt_names, run_step, settings_text, sweep_rows


def study_of(annotator: str, url: str = "http://127.0.0.1:9/v1", **changes: Any) -> Study:
    """The made-up study with three annotators, and the one that it stands on."""
    endpoint = Endpoint(model=MODEL, base_url=url, key_variable=KEY_VARIABLE, timeout=20.0)
    values = json.loads(json.dumps(asdict(make_study(2))))
    llm = {"kind": "llm", "llm": json.loads(json.dumps(asdict(Llm(endpoint=endpoint))))}
    annotators = {"lexicon": {"kind": "lexicon"}, "model": llm, "file": {"kind": "published", "file": "chains.json"}}
    values["labels"] = {"annotator": annotator, "annotators": annotators, "steered_prompts": 1}
    for name, section in changes.items():
        values[name] |= section
    return read_study(values)


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A sweep on the disk, in a folder where replies are kept."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv("REPURPOSE_ROOT", str(Path(__file__).parents[2]))
    rows = sweep_rows(PRESENT, "two_by_two", "reasoning", prompt_names("heldout", 2))
    write_table("sweep.parquet", rows, SWEEPS, provenance({}))
    likely = [{"prompt_id": row["prompt_id"], "nll": 0.5} for row in rows]
    write_table("likelihoods.parquet", likely, LIKELIHOODS, provenance({}))
    pl.DataFrame({"text": ["</think>"]}).write_parquet("rollouts.parquet")
    return rows


def label(study: Study, *options: str) -> pl.DataFrame:
    text = settings_text(study, "labels.steered_labels", annotator="model")
    files = ["--sweep", "sweep.parquet", "--usage", "usage.parquet", "--output", "labels.parquet"]
    run_step(steered_labels, ["--settings", text, *options, *files])
    return read_table("labels.parquet")


def measure(study: Study, annotator: str, *labels: str) -> pl.DataFrame:
    text = settings_text(study, "steering.measurements", annotator=annotator)
    files = ["--sweep", "sweep.parquet", "--likelihoods", "likelihoods.parquet", "--rollouts", "rollouts.parquet"]
    run_step(measurements, ["--settings", text, *files, "--labels", *labels, "--output", "measured.parquet"])
    return read_table("measured.parquet")


def test_an_annotator_that_disagrees_with_the_lexicon_gives_other_numbers(sweep: list[dict[str, Any]]) -> None:
    with serve() as fake:
        study = study_of("model", fake.url)
        labels = label(study)
        assert labels["cell"].n_unique() == len(sweep)
        some = label(study, "--some")
        assert set(some["direction"]) == {"none", "backtracking"} and some["prompt_id"].n_unique() == 1
        labels = label(study)
        by_model = measure(study, "model", "labels.parquet")
    by_lexicon = measure(study, "lexicon")
    expected = [
        sum(truth(one.text.strip()) == "backtracking" for one in cut_thinking(row["text"]) if one.is_prose)
        for row in sweep
    ]
    assert by_model["backtracking_sentences"].to_list() == expected
    assert by_lexicon["backtracking_sentences"].to_list() != expected
    assert by_model["sentences"].to_list() == by_lexicon["sentences"].to_list()
    assert (by_model["annotator"][0], by_lexicon["annotator"][0]) == ("model", "lexicon")
    same = "keyword_share", "wrong_calculations_backtracked", "valid_backtracking_sentences"
    assert by_model.select(same).equals(by_lexicon.select(same)), "these are known without an annotator"


@pytest.mark.usefixtures("sweep")
def test_labels_of_other_text_are_refused() -> None:
    with serve() as fake:
        label(study_of("model", fake.url), "--some")
    with pytest.raises(SystemExit, match="label them again"):
        measure(study_of("model"), "model", "labels.parquet")


@pytest.mark.usefixtures("sweep")
def test_nobody_s_labels_are_not_zero() -> None:
    """A published annotator knows its own chains alone."""
    measured = measure(study_of("file", selection={"metric": "keyword_share"}), "file")
    assert measured["annotator"].null_count() == measured.height
    for name in ("backtracking_sentences", "backtracking_share", "sentences", "keyword_backtracking_sentences"):
        assert measured[name].null_count() == measured.height, name
    assert measured["keyword_share"].null_count() < measured.height


def test_what_a_published_annotator_cannot_label_chooses_no_site() -> None:
    with pytest.raises(
        SettingsError, match=r"selection\.metric: backtracking_share needs labels of steered text, which"
    ):
        study_of("file", selection={"metric": "backtracking_share"})
    study = study_of("file", selection={"metric": "backtracking_share", "annotator": "lexicon"})
    assert list(list_steered_labels(study)) == [
        ("lexicon", "two_by_two", "reasoning"),
        ("model", "two_by_two", "reasoning"),
    ]
    with pytest.raises(SettingsError, match=r"selection\.annotator: 'file' is not allowed; .* are: lexicon, model"):
        study_of("model", selection={"annotator": "file"})


def test_the_plan_counts_all_steered_text_of_the_study_s_annotator() -> None:
    study, cheap = study_of("model"), study_of("model", selection={"annotator": "lexicon"})
    shape = Shape(4, 64)

    def formula(one: Study) -> str:
        counts = count(one, shape)
        lines = plan_annotation(one, counts, count_labelled(one, shape))
        return next(line.formula for line in lines if line.name == "labels.annotators.model: requests")

    rows = count(study, shape).steered
    assert all(f"{number} {sweep}/{target} x" in formula(study) for (sweep, target), number in rows.items())
    assert "selection/reasoning" not in formula(cheap) and "baselines/reasoning" in formula(cheap)


@pytest.mark.parametrize(("kappa", "verdict"), [(None, "supported"), (0.61, "supported"), (0.59, "cannot tell")])
def test_labels_of_an_annotator_that_does_not_agree_carry_no_verdict(kappa: float | None, verdict: str) -> None:
    [claim] = [claim for claim in CLAIMS if claim.part == "1c"]
    row = {"target": "reasoning", "direction": "backtracking", "reader": "base", "selected": True, "coherent": True}
    row |= dict.fromkeys(claim.least, 99)
    row |= dict(zip(claim.measure, (0.2, 0.1, 0.3), strict=True)) | {"annotator": "cheap", "kappa": kappa}
    found: Finding = claim.rule(
        replace(claim, cell={**claim.cell, "direction": "backtracking"}), Cells("2x2", pl.DataFrame([row]))
    )
    assert judge(found, claim.above) == verdict
    assert ("cheap, whose kappa with the study's own annotator is 0.59" in found.note) == (verdict == "cannot tell")
