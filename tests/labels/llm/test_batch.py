from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from tests.endpoint import KEY, REPLY_FAULTS, Body, FakeEndpoint, pick_faults, serve
from tests.labels.llm.conftest import MakeLlm, label_passages, make_passages, sum_usages
from tests.labels.llm.test_annotator import assert_true, start

from repurpose.labels.llm import batch
from repurpose.labels.llm.ledger import CostError
from repurpose.model.endpoint import EndpointError

UPLOAD = "POST /v1/files"


def test_a_batch_gives_the_same_labels_at_its_price(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(5, 14)
    with serve() as fake:
        labelled = label_passages(passages, make_llm(fake, batch=True), tmp_path / "batch")
        assert fake.paths["POST /v1/chat/completions"] == 0
        assert fake.paths[UPLOAD] == 1
        direct = label_passages(passages, make_llm(fake), tmp_path / "direct")
    assert_true(labelled, passages)
    assert labelled.outcomes == direct.outcomes
    half, full = sum_usages(labelled.usages), sum_usages(direct.usages)
    assert half.cost == pytest.approx(full.cost / 2)
    assert (half.requests, half.prompt_tokens) == (full.requests, full.prompt_tokens)


def test_faulty_replies_are_asked_again_in_further_batches(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(20, 10)
    with serve(plan=pick_faults(3, 0.5, REPLY_FAULTS)) as fake:
        labelled = label_passages(passages, make_llm(fake, batch=True, attempts=12), tmp_path / "batch")
    with serve(plan=pick_faults(3, 0.5, REPLY_FAULTS)) as other:
        direct = label_passages(passages, make_llm(other, attempts=12), tmp_path / "direct")
    assert_true(labelled, passages)
    assert labelled.outcomes == direct.outcomes
    assert 1 < fake.paths[UPLOAD] <= 12
    assert fake.asked == other.asked
    assert len(fake.met) > 6


def test_what_a_batch_does_not_bring_is_asked_for_in_the_next(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(9, 4)

    def fates(number: int, line: int) -> str | None:
        return {0: "failed", 1: "lost"}.get(line) if number == 0 else None

    with serve(batch_plan=fates) as fake:
        labelled = label_passages(passages, make_llm(fake, batch=True), tmp_path)
    assert_true(labelled, passages)
    cost = sum_usages(labelled.usages).cost
    assert cost == pytest.approx((fake.prompt_tokens * 2.0 + fake.completion_tokens * 8.0) / 2e6)
    assert [len(fake.files[b["input_file_id"]].splitlines()) for b in fake.batches.values()] == [9, 2]
    assert set(fake.asked.values()) == {1}


@pytest.mark.parametrize("end", ["failed", "expired", "cancelled"])
def test_a_batch_that_ends_badly_is_sent_again(end: str, make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(3, 4)

    def fates(number: int, line: int) -> str | None:
        return {"cancelled": None if line < 0 else "lost"}.get(end, end if line < 0 else None) if number == 0 else None

    with serve(batch_plan=fates) as fake:
        assert_true(label_passages(passages, make_llm(fake, batch=True), tmp_path), passages)
    assert len(fake.batches) == 2


def _all_fail(_batch: int, line: int) -> str | None:
    return "failed" if line < 0 else None


def test_batches_that_never_bring_anything_end_the_run(make_llm: MakeLlm, tmp_path: Path) -> None:
    told = r"2 batches in a row did not bring 3 requests .*the file is not valid"
    with serve(batch_plan=_all_fail) as fake, pytest.raises(EndpointError, match=told):
        label_passages(make_passages(3, 4), make_llm(fake, batch=True, attempts=2), tmp_path)
    assert len(fake.batches) == 2


def test_a_run_killed_between_upload_and_collection_uploads_nothing_again(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(6, 4)
    with serve(batch_polls=-1) as fake:
        llm = make_llm(fake, batch=True)
        kill_when_it_waits(start(llm, passages, tmp_path), fake)
        fake.batch_polls = 1
        labelled = label_passages([*passages, *make_passages(1, 4, "new")], llm, tmp_path)
    assert_true(labelled, [*passages, *make_passages(1, 4, "new")])
    assert [len(fake.files[b["input_file_id"]].splitlines()) for b in fake.batches.values()] == [6, 1]
    assert set(fake.asked.values()) == {1}


def test_a_batch_whose_name_was_never_written_down_is_found(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(6, 4)
    with serve() as fake:
        llm = make_llm(fake, batch=True)
        label_passages(passages, llm, tmp_path / "lost")
        fake.batches["batch-0"]["looks"] = 0
        assert_true(label_passages(passages, llm, tmp_path / "new"), passages)
    assert fake.paths[UPLOAD] == 1


def test_a_batch_whose_creation_went_unanswered_is_not_created_twice(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(2, 3)
    with serve(unanswered=1) as fake:
        assert_true(label_passages(passages, make_llm(fake, batch=True), tmp_path), passages)
    assert len(fake.batches) == 1


def test_a_batch_that_the_server_forgot_is_sent_again(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(2, 3)
    with serve(batch_polls=-1) as fake:
        llm = make_llm(fake, batch=True)
        kill_when_it_waits(start(llm, passages, tmp_path), fake)
        fake.batches["batch-9"] = fake.batches.pop("batch-0") | {"id": "batch-9", "metadata": None}
        fake.batch_polls = 1
        assert_true(label_passages(passages, llm, tmp_path), passages)
    assert len(fake.batches) == 2


def test_max_cost_holds_back_what_does_not_fit(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(60, 5)
    with serve() as fake:
        with pytest.raises(CostError, match="sentences have no label yet"):
            label_passages(passages, make_llm(fake, batch=True, max_cost=0.03), tmp_path)
        spent = (fake.prompt_tokens * 2.0 + fake.completion_tokens * 8.0) / 2e6
        assert 0 < spent <= 0.03
        assert 0 < len(fake.bodies) < 60


def test_what_lies_with_a_batch_counts_for_other_texts_too(make_llm: MakeLlm, tmp_path: Path) -> None:
    """A run is killed while its batch is under way; the study's next job labels other text."""
    passages, others = make_passages(6, 4), make_passages(6, 4, "other")
    with serve(batch_polls=-1) as fake:
        kill_when_it_waits(start(make_llm(fake, batch=True), passages, tmp_path), fake)
        told = r"; 0 was spent in this run, 0 before on .* and up to 0\.\d+ lies with batches"
        with pytest.raises(CostError, match=told):
            label_passages(others, make_llm(fake, batch=True, max_cost=0.008), tmp_path)
        assert len(fake.batches) == 1
        with pytest.raises(CostError, match="lies with batches"):
            label_passages(others, make_llm(fake, max_cost=0.008), tmp_path)
        assert not fake.bodies


def test_who_gave_a_request_to_a_batch_pays_for_it(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(6, 4)
    with serve(batch_polls=-1, usage=False) as fake:
        llm = make_llm(fake, batch=True)
        kill_when_it_waits(start(llm, passages, tmp_path), fake)
        fake.batch_polls = 1
        label_passages(passages[:1], make_llm(fake, batch=True, max_cost=0.001), tmp_path, account="study/another")
        with pytest.raises(CostError):  # a server that tells no use is taken at its worst here, too
            label_passages(make_passages(1, 1, "new"), make_llm(fake, batch=True, max_cost=0.008), tmp_path)
    assert len(fake.batches) == 1


def kill_when_it_waits(process: subprocess.Popen[bytes], fake: FakeEndpoint) -> None:
    while not any(batch["looks"] for batch in fake.batches.values()):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()


def test_a_large_file_is_cut(make_llm: MakeLlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MOST_REQUESTS", 4)
    passages = make_passages(9, 3)
    with serve() as fake:
        assert_true(label_passages(passages, make_llm(fake, batch=True), tmp_path), passages)
    assert [len(fake.files[b["input_file_id"]].splitlines()) for b in fake.batches.values()] == [4, 4, 1]


def test_odd_files_lose_nothing_else() -> None:
    good = {"custom_id": "k", "response": {"status_code": 200, "body": {"choices": []}}}
    lines = ["", "{", "[]", '{"custom_id": 3}', json.dumps(good)]
    assert batch._read_lines("\n".join(lines)) == [good]
    assert batch._response_body({"custom_id": "k", "response": {"status_code": 500, "body": {}}}) is None
    assert batch._response_body({"custom_id": "k", "response": None}) is None


def test_lines_that_nobody_asked_for_are_not_kept(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(2, 3)
    with serve(batch_polls=-1) as fake:
        llm = make_llm(fake, batch=True)
        kill_when_it_waits(start(llm, passages, tmp_path), fake)
        fake.batch_polls = 1
        fake.look_at_batch("batch-0")
        line = {"response": {"status_code": 200, "body": {"usage": {"prompt_tokens": 10**9}}}}
        for name in ("request/x", "batch/batch-0", KEY):
            fake.files["output-0"] += json.dumps({"custom_id": name, **line}) + "\n"
        assert_true(label_passages(passages, llm, tmp_path), passages)
    (journal,) = tmp_path.glob("*.jsonl")
    assert "1000000000" not in journal.read_text() and KEY not in journal.read_text()


def test_the_key_is_in_no_file(make_llm: MakeLlm, tmp_path: Path) -> None:
    def refuse(_body: Body, _seen: int) -> str | None:
        return "refusal"

    with serve(plan=refuse, content_echo=KEY) as fake:
        label_passages(make_passages(2, 2), make_llm(fake, batch=True, max_invalid_share=1.0), tmp_path)
    contents = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("***" in content for content in contents)
    assert not any(KEY in content for content in contents)
