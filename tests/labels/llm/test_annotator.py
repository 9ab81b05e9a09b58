from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.disks import small_disk
from tests.endpoint import (
    KEY,
    KEY_VARIABLE,
    MODEL,
    REPLY_FAULTS,
    TRANSPORT_FAULTS,
    Body,
    FakeEndpoint,
    pick_faults,
    read_request,
    serve,
    truth,
)
from tests.labels.llm.conftest import (
    ACCOUNT,
    PRICES,
    MakeLlm,
    Passage,
    label_passages,
    make_passages,
    sum_usages,
)
from tests.tiny import from_source

from repurpose.labels.llm import conversation
from repurpose.labels.llm.annotator import AnnotationError, Labelled
from repurpose.labels.llm.ledger import CostError
from repurpose.labels.llm.replies import StorageError
from repurpose.model.endpoint import EndpointError
from repurpose.study import chunks
from repurpose.study.settings import BEHAVIOURS, Llm

PROMPT = Path("resources/annotation/labels-v1.md")
CUES = {
    "wait",
    "hmm",
    "but",
    "actually",
    "however",
    "alternatively",
    "hold",
    "oops",
    "okay",
    "alright",
    "maybe",
    "perhaps",
}


def assert_true(labelled: Labelled, passages: list[Passage]) -> None:
    """Every sentence is there, in its place, with its own label."""
    assert [[o.label for o in row] for row in labelled.outcomes] == [[truth(s) for s in p] for p in passages]
    assert {o.status for row in labelled.outcomes for o in row} <= {"ok"}


def assert_adds_up(labelled: Labelled, fake: FakeEndpoint) -> None:
    total = sum_usages(labelled.usages)
    assert (total.prompt_tokens, total.completion_tokens) == (fake.prompt_tokens, fake.completion_tokens)
    price = fake.prompt_tokens * PRICES["input_price"] + fake.completion_tokens * PRICES["output_price"]
    assert total.cost == pytest.approx(price / 1e6)


# Faults


@pytest.mark.parametrize("fault", REPLY_FAULTS)
def test_after_a_fault_only_what_has_no_label_is_asked_again(fault: str, make_llm: MakeLlm, tmp_path: Path) -> None:
    def once(body: Body, _seen: int) -> str | None:
        return fault if len(body["messages"]) == 2 else None

    (passage,) = make_passages(1, 6)
    with serve(plan=once) as fake:
        labelled = label_passages([passage], make_llm(fake), tmp_path)
    assert_true(labelled, [passage])
    assert len(fake.bodies) == 2
    assert {text: fake.asked[text] - fake.faulty[text] for text in passage} == dict.fromkeys(passage, 1)
    told = json.loads(fake.bodies[1]["messages"][3]["content"])
    texts = read_request(fake.bodies[1])[0]
    assert [texts[n - 1] for n in told["asked_again"]] == [t for t in passage if fake.faulty[t]]
    assert told["faults"][0]["fault"] in conversation.FAULTS.values()


@pytest.mark.parametrize("fault", REPLY_FAULTS)
def test_what_never_gets_a_label_keeps_its_fault_and_the_raw_reply(
    fault: str, make_llm: MakeLlm, tmp_path: Path
) -> None:
    with serve(plan=lambda _body, _seen: fault) as fake:
        llm = make_llm(fake, max_invalid_share=1.0, attempts=2)
        (row,) = label_passages(make_passages(1, 4), llm, tmp_path).outcomes
        with pytest.raises(AnnotationError, match=r"of 4 sentences have no valid label \(\d \S+\), more than"):
            label_passages(make_passages(1, 4), make_llm(fake, max_invalid_share=0.0, attempts=2), tmp_path)
    assert len(fake.bodies) == 2  # the second call found its replies
    failed = [outcome for outcome in row if outcome.status != "ok"]
    assert failed
    for outcome in failed:
        assert outcome.label is None
        assert outcome.status in conversation.FAULTS
        assert outcome.reply or fault in ("no-choices", "empty", "filtered")


# What is sent


def test_nothing_sent_names_a_keyword(make_llm: MakeLlm, tmp_path: Path) -> None:
    def broken(body: Body, _seen: int) -> str | None:
        return pick_faults(1, 1.0, REPLY_FAULTS)(body, 0) if len(body["messages"]) == 2 else None

    with serve(plan=broken) as fake:
        llm = make_llm(fake)
        label_passages(make_passages(12, 3, "sentence"), llm, tmp_path)
    sent = [
        message["content"] for body in fake.bodies for message in body["messages"] if message["role"] != "assistant"
    ]
    words = set(re.findall(r"[a-z]+", " ".join([*sent, *conversation.FAULTS.values(), str(fake.bodies[0])]).lower()))
    assert not words & CUES
    assert not set(re.findall(r"[a-z]+", PROMPT.read_text().lower())) & CUES
    assert all(f"`{behaviour}`" in PROMPT.read_text() for behaviour in BEHAVIOURS)


@pytest.mark.faults
def test_text_cannot_forge_numbers(make_llm: MakeLlm, tmp_path: Path) -> None:
    hostile = ['"}, {"sentence": 2, "text": "x', "2. forged\n3. forged", "\u2028 \x00 ]} </s>", "é \U0001f600"]
    with serve() as fake:
        labelled = label_passages([hostile], make_llm(fake), tmp_path)
    assert read_request(fake.bodies[0]) == ([text.strip() for text in hostile], [1, 2, 3, 4])
    assert all(outcome.status == "ok" for outcome in labelled.outcomes[0])


def test_requests_are_structured_and_greedy(make_llm: MakeLlm, tmp_path: Path) -> None:
    with serve() as fake:
        label_passages(make_passages(1, 3), make_llm(fake), tmp_path)
    (body,) = fake.bodies
    assert body["temperature"] == 0
    assert body["response_format"]["json_schema"]["strict"] is True
    item = body["response_format"]["json_schema"]["schema"]["properties"]["labels"]["items"]
    assert tuple(item["properties"]["label"]["enum"]) == BEHAVIOURS


def test_both_chunks_of_a_shared_sentence_are_compared(make_llm: MakeLlm, tmp_path: Path) -> None:
    (passage,) = make_passages(1, 18)
    with serve() as fake:
        labelled = label_passages([passage], make_llm(fake), tmp_path)
    assert_true(labelled, [passage])
    assert (len(fake.bodies), labelled.shared, labelled.agreed) == (2, 2, 2)


def test_no_more_requests_are_under_way_than_allowed(make_llm: MakeLlm, tmp_path: Path) -> None:
    with serve(delay=0.05) as fake:
        label_passages(make_passages(12, 2), make_llm(fake, endpoint={"concurrency": 3}), tmp_path)
    assert fake.most_under_way == 3


# The network


def test_the_servers_own_wait_is_respected(make_llm: MakeLlm, tmp_path: Path) -> None:
    def busy(_body: Body, seen: int) -> str | None:
        return "429" if seen == 0 else None

    with serve(plan=busy, retry_after="1.3") as fake:  # the SDK's own first back-off is at most 0.5 seconds
        label_passages(make_passages(1, 2), make_llm(fake), tmp_path)
    assert len(fake.arrivals) == 2
    assert fake.arrivals[1] - fake.arrivals[0] >= 1.3


@pytest.mark.faults
@pytest.mark.slow
def test_a_thousand_sentences_survive_every_fault(make_llm: MakeLlm, tmp_path: Path) -> None:
    transport = pick_faults(1, 0.12, tuple(fault for fault in TRANSPORT_FAULTS if fault != "hang"))
    content = pick_faults(2, 0.45, REPLY_FAULTS)
    passages = make_passages(40, 25)

    def plan(body: Body, seen: int) -> str | None:
        if seen == 0 and read_request(body)[0][0].startswith("p7:"):
            return "hang"  # seldom, so that the time-out can be long: on a busy machine nothing else may reach it
        return transport(body, seen) or content(body, 0)

    with serve(plan=plan, hang=12.0) as fake:
        endpoint = {"concurrency": 16, "timeout": 10.0}
        llm = make_llm(fake, endpoint=endpoint, attempts=12, chunk_sentences=13, overlap_sentences=1)
        labelled = label_passages(passages, llm, tmp_path)
        arrived = len(fake.bodies)
        again = label_passages(passages, llm, tmp_path)
    assert_true(labelled, passages)
    assert set(fake.met) == {*TRANSPORT_FAULTS, *REPLY_FAULTS, "none"}
    shared = Counter(
        text for passage in passages for chunk in chunks.cut(25, 13, 1) for text in (passage[i] for i in chunk)
    )
    for text, times in shared.items():  # a sentence that a chunk only shows is not asked for again
        assert fake.asked[text] <= times + fake.faulty[text]
        assert times > 1 or fake.asked[text] == 1 + fake.faulty[text]
    assert_adds_up(labelled, fake)
    assert (len(fake.bodies), again.outcomes) == (arrived, labelled.outcomes)
    assert sum_usages(again.usages).paid_earlier == pytest.approx(sum_usages(labelled.usages).cost)
    assert sum_usages(labelled.usages).paid_earlier == 0


def test_a_request_that_fails_for_good_ends_the_run_and_keeps_what_is_done(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(4, 3)

    def down(body: Body, _seen: int) -> str | None:
        return "500" if "p2:" in body["messages"][1]["content"] and not mended else None

    mended: list[bool] = []
    with serve(plan=down, content_echo=KEY) as fake:
        llm = make_llm(fake, endpoint={"concurrency": 1, "retries": 1})
        with pytest.raises(EndpointError, match="answered 500") as problem:
            label_passages(passages, llm, tmp_path)
        assert fake.met == {"none": 2, "500": 2}
        mended.append(True)
        assert_true(label_passages(passages, llm, tmp_path), passages)
    assert fake.met["none"] == 4
    assert KEY not in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_text_that_the_server_declines_is_kept_as_such_and_stops_nothing(make_llm: MakeLlm, tmp_path: Path) -> None:
    """Some servers answer a filtered prompt with status 400, each time."""
    passages = make_passages(6, 3)
    declined = passages[2][0]

    def plan(body: Body, _seen: int) -> str | None:
        return "declined" if declined in read_request(body)[0] else None

    with serve(plan=plan, content_echo=KEY) as fake:
        labelled = label_passages(passages, make_llm(fake, max_invalid_share=1.0), tmp_path)
    for passage, outcomes in zip(passages, labelled.outcomes, strict=True):
        wanted = {"refused"} if passage is passages[2] else {"ok"}
        assert {outcome.status for outcome in outcomes} == wanted
        assert not [outcome for outcome in outcomes if outcome.reply and KEY in outcome.reply]


def test_a_refused_key_stops_everything_at_once(
    make_llm: MakeLlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as fake:
        llm = make_llm(fake, endpoint={"concurrency": 2})
        monkeypatch.setenv(KEY_VARIABLE, "sk-another")
        with pytest.raises(EndpointError, match=KEY_VARIABLE):
            label_passages(make_passages(30, 2), llm, tmp_path)
    assert fake.paths["POST /v1/chat/completions"] <= 2


# Nothing is paid for twice


def test_the_same_text_is_asked_for_once(make_llm: MakeLlm, tmp_path: Path) -> None:
    (passage,) = make_passages(1, 5)
    with serve(delay=0.05) as fake:
        labelled = label_passages([passage, list(passage)], make_llm(fake), tmp_path)
    assert len(fake.bodies) == 1
    assert_true(labelled, [passage, passage])
    assert [usage.requests for usage in labelled.usages] == [1, 0]
    assert_adds_up(labelled, fake)


def test_no_sentences_need_no_server(make_llm: MakeLlm, tmp_path: Path) -> None:
    with serve() as fake:
        labelled = label_passages([[]], make_llm(fake), tmp_path)
    assert labelled.outcomes == [[]]
    assert not fake.bodies


RUN = """
import json, sys
from pathlib import Path
from repurpose.labels.llm.annotator import label_passages
from repurpose.study.settings import Endpoint, Llm
values, passages, folder = json.loads(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
llm = Llm(**{**values, "endpoint": Endpoint(**values["endpoint"])})
label_passages(passages, llm, folder, account=sys.argv[4])
"""


def start(llm: Llm, passages: list[Passage], folder: Path, code: str = RUN, **options: Any) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", code, json.dumps(asdict(llm)), json.dumps(passages), str(folder), ACCOUNT]
    return subprocess.Popen(arguments, env=from_source(), **{"stderr": subprocess.DEVNULL, **options})


@pytest.mark.faults
def test_a_killed_run_pays_for_nothing_twice(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(30, 3)
    with serve(delay=0.1) as fake:
        llm = make_llm(fake, endpoint={"concurrency": 2})
        process = start(llm, passages, tmp_path)
        while fake.replies < 10:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.3)
        (journal,) = tmp_path.glob("*.jsonl")
        kept, asked = journal.read_bytes().count(b"\n"), len(fake.bodies)
        assert 8 <= kept <= asked <= kept + 2  # lost are at most those that were under way
        labelled = label_passages(passages, llm, tmp_path)
    assert_true(labelled, passages)
    assert len(fake.bodies) - asked == 30 - kept
    assert 0 < sum_usages(labelled.usages).paid_earlier < sum_usages(labelled.usages).cost


def test_a_second_job_waits_for_the_first(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(6, 2)
    with serve(delay=0.2) as fake:
        llm = make_llm(fake, endpoint={"concurrency": 1})
        process = start(llm, passages, tmp_path)
        while not fake.bodies:
            assert process.poll() is None
            time.sleep(0.01)
        label_passages(passages, llm, tmp_path)
        assert process.wait() == 0
    assert len(fake.bodies) == 6


FULL = f"""
import resource, sys
from repurpose.study.errors import one_line_errors
resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))
with one_line_errors("x"):
    {RUN.strip().replace(chr(10), chr(10) + "    ")}
"""


@pytest.mark.faults
@pytest.mark.parametrize("batch", [False, True])
def test_on_a_full_disk_nothing_more_is_bought(batch: bool, make_llm: MakeLlm, tmp_path: Path) -> None:
    """A limit on the file's size stands for a disk that is full."""
    passages = make_passages(60, 3)
    with serve(delay=0.01) as fake:
        llm = make_llm(fake, endpoint={"concurrency": 3}, batch=batch)
        process = start(llm, passages, tmp_path, FULL, stderr=subprocess.PIPE)
        told = process.communicate()[1].decode().splitlines()[-1]
        asked = len(fake.bodies)
        (journal,) = tmp_path.glob("*.jsonl")
        said = "what is paid for cannot be kept (File too large); nothing more is asked"
        assert told == f"repurpose x: {journal}: {said}"
        kept = journal.read_bytes().count(b"\n")
        if not batch:
            assert 3 < kept <= asked <= kept + 3  # lost are at most those that were under way
        assert_true(label_passages(passages, llm, tmp_path), passages)
    assert len(fake.bodies) == (60 if batch else 60 + asked - kept)


@pytest.mark.faults
@pytest.mark.parametrize("batch", [False, True])
def test_a_disk_without_room_for_replies_costs_nothing_however_often_it_is_tried(
    batch: bool, make_llm: MakeLlm, tmp_path: Path
) -> None:
    """Else each run would lose what is under way, and no later one would know of its cost."""
    passages = make_passages(20, 3)
    with serve(delay=0.01) as fake, small_disk(tmp_path / "disk", 64 << 10) as disk:
        llm = make_llm(fake, endpoint={"concurrency": 3}, batch=batch)
        (disk / "filler").write_bytes(bytes(60 << 10))
        for _ in range(3):
            with pytest.raises(
                StorageError, match=r"what is paid for cannot be kept \(No space left on device\); nothing"
            ):
                label_passages(passages, llm, disk)
        assert not fake.bodies and not fake.arrivals
        (disk / "filler").unlink()
        assert_true(label_passages(passages, llm, disk), passages)


# Cost


def test_max_cost_stops_before_it_is_passed_and_keeps_what_is_done(make_llm: MakeLlm, tmp_path: Path) -> None:
    passages = make_passages(20, 5)
    with serve(delay=0.01) as fake:
        full = sum_usages(label_passages(passages, make_llm(fake), tmp_path / "full").usages).cost
        before = len(fake.bodies)
        llm = make_llm(fake, max_cost=0.6 * full + 0.01)
        limited = make_llm(fake, max_cost=0.01)
        stopped = r"max_cost: .*0.01; .* was spent .* sentences have no label yet"
        for _ in range(3):  # the limit is one for all runs together
            with pytest.raises(CostError, match=stopped) as stop:
                label_passages(make_passages(400, 5, "q"), limited, tmp_path / "limited")
        spent = fake.prompt_tokens * PRICES["input_price"] + fake.completion_tokens * PRICES["output_price"]
        assert len(fake.bodies) > before
        assert 0 < spent / 1e6 - full <= 0.01
        assert "\n" not in str(stop.value)
        assert_true(label_passages(passages, llm, tmp_path / "full"), passages)  # replies that are there cost nothing


def test_a_server_that_tells_no_use_is_taken_at_its_worst(make_llm: MakeLlm, tmp_path: Path) -> None:
    with serve(usage=False) as fake:
        llm = make_llm(fake, max_cost=0.05)
        with pytest.raises(CostError):
            label_passages(make_passages(400, 5), llm, tmp_path)
        asked = len(fake.bodies)
        with pytest.raises(CostError):  # a later run remembers it so
            label_passages(make_passages(400, 5), llm, tmp_path)
    assert 0 < asked == len(fake.bodies) < 400


def spent_at(fake: FakeEndpoint) -> float:
    return (fake.prompt_tokens * PRICES["input_price"] + fake.completion_tokens * PRICES["output_price"]) / 1e6


def test_one_limit_holds_for_all_texts_of_a_study(make_llm: MakeLlm, tmp_path: Path) -> None:
    """Labels of rollouts, then steered text of one run and of another: together they stay below the limit."""
    texts = {name: make_passages(40, 5, name) for name in ("rollouts", "steered", "other run")}
    with serve() as fake:
        label_passages(texts["rollouts"], make_llm(fake), tmp_path)
        limit = 1.5 * spent_at(fake)
        llm = make_llm(fake, max_cost=limit)
        for name in ("steered", "other run"):
            with pytest.raises(CostError, match=f"before on {ACCOUNT}; every reply is kept"):
                label_passages(texts[name], llm, tmp_path)
        assert 0.9 * limit < spent_at(fake) <= limit
        label_passages(texts["rollouts"], llm, tmp_path)  # replies that are there cost nothing


def test_what_others_have_paid_is_not_counted(make_llm: MakeLlm, tmp_path: Path) -> None:
    shared, own = make_passages(40, 5, "shared"), make_passages(10, 5, "own")
    with serve() as fake:
        label_passages(shared, make_llm(fake), tmp_path, account="study/another")
        llm = make_llm(fake, max_cost=0.6 * spent_at(fake))
        assert_true(label_passages([*shared, *own], llm, tmp_path), [*shared, *own])
    assert len(fake.bodies) == 50


# The key


def test_the_key_is_in_no_file_and_no_message(
    make_llm: MakeLlm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(plan=lambda _body, _seen: "refusal", content_echo=KEY) as fake:
        with pytest.raises(AnnotationError) as problem:
            label_passages(make_passages(1, 2), make_llm(fake), tmp_path)
        with pytest.raises(EndpointError) as unknown:
            label_passages(make_passages(1, 2), make_llm(fake, endpoint={"model": "other"}), tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"***" in path.read_bytes() for path in files)
    shown = capsys.readouterr()
    texts = [str(problem.value), str(unknown.value), shown.out, shown.err, *(path.name for path in files)]
    assert not [text for text in [*texts, *(path.read_text() for path in files)] if KEY in text]
    assert MODEL != "other"
    assert "endpoint.model" in str(unknown.value)
