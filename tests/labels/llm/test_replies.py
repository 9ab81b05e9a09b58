from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.endpoint import KEY, KEY_VARIABLE
from tests.tiny import from_source

from repurpose.labels.llm.replies import KEPT, SHOWN, Replies, Reply, read_reply, replies_path, request_key
from repurpose.study.settings import Endpoint

ENDPOINT = Endpoint(model="org/labeller:1", base_url="http://127.0.0.1:8000/v1", key_variable=KEY_VARIABLE)
BODY = {"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 0, "max_tokens": 5}
CHOICE = {"finish_reason": "stop", "message": {"content": "text", "refusal": None}}
WHOLE = {
    "id": "c1",
    "created": 17,
    "model": "labeller-1-2026",
    "choices": [CHOICE],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}


def test_a_reply_is_read_whole() -> None:
    reply = read_reply(json.dumps(WHOLE), ENDPOINT, batch=True)
    assert replace(reply, arrived=0.0) == Reply(
        content="text",
        finish_reason="stop",
        prompt_tokens=3,
        completion_tokens=4,
        model="labeller-1-2026",
        id="c1",
        created=17,
        batch=True,
    )
    assert time.time() - reply.arrived < 60


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": None, "usage": []},
        {"choices": [], "usage": {"prompt_tokens": "3"}},
        {"choices": {"0": CHOICE}},
        {"choices": [None]},
        {"choices": [{"message": "text"}]},
        {"choices": [{"message": {"content": ["text"]}}], "usage": {"prompt_tokens": -1, "completion_tokens": True}},
    ],
)
def test_what_is_not_there_is_none(body: dict[str, object]) -> None:
    assert replace(read_reply(json.dumps(body), ENDPOINT), arrived=0.0) == Reply()


@pytest.mark.parametrize("text", ["", "<html>", "[]", '"x"', "{", "[" * 100_000])
def test_what_is_no_object_is_kept_as_it_came(text: str) -> None:
    reply = read_reply(text, ENDPOINT)
    assert (reply.body, reply.content) == (text, None)


def test_half_a_surrogate_pair_can_be_kept(tmp_path: Path) -> None:
    text = json.dumps({"choices": [{"message": {"content": "a\ud83d"}}]})
    with Replies.open(tmp_path, ENDPOINT) as replies:
        replies.add({"k": read_reply(text, ENDPOINT)})
        assert replies["k"].content == "a?"


def test_a_key_that_the_server_repeats_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with Replies.open(tmp_path, ENDPOINT) as replies:
        replies.add({"1": read_reply(json.dumps({"choices": [{"message": {"content": f"-{KEY}-"}}]}), ENDPOINT)})
        replies.add({"2": read_reply(f"<html>{KEY}", ENDPOINT)})
        escaped = "".join(f"\\u{ord(character):04x}" for character in KEY)
        replies.add({"3": read_reply(f'{{"id": "{escaped}", "choices": []}}', ENDPOINT)})
        assert (replies["1"].content, replies["2"].body, replies["3"].id) == ("-***-", "<html>***", "***")
        twice = json.dumps({"labels": [{"sentence": 1, "label": KEY}]}).replace("-", "\\u002d")
        replies.add({"4": read_reply(json.dumps({"choices": [{"message": {"content": twice}}]}), ENDPOINT)})
        assert "***" in str(replies["4"].content) and "5f1d0c7be2a94a63" not in str(replies["4"].raw)
    assert not [path for path in tmp_path.iterdir() if KEY in path.read_text()]


def test_of_a_vast_reply_little_is_kept_and_shown() -> None:
    text = json.dumps({"choices": [{"message": {"content": "y" * 1_000_000}}]})
    for reply in (read_reply(text, ENDPOINT), read_reply("y" * 1_000_000, ENDPOINT)):
        assert (len(reply.content or reply.body or ""), len(reply.raw or "")) == (KEPT, SHOWN)


def test_replies_survive_the_process(tmp_path: Path) -> None:
    reply = Reply(content="x\u2028\n", prompt_tokens=3, arrived=1.5)
    bounds = {"k1": (5, 6), "k2": (7, 8), "k": (9, 9)}
    with Replies.open(tmp_path, ENDPOINT) as replies:
        replies.add({"k": reply})
        replies.add_batch("b1", bounds, "s/a")
        replies.close_batch(["k2"])
    with Replies.open(tmp_path, ENDPOINT) as replies:
        assert replies["k"] == reply
        assert "other" not in replies
        assert [replies.batch_of(key) for key in ("k1", "k2", "k3")] == ["b1", None, None]
        assert list(replies.in_batches("s/a")) == [(5, 6)] and not list(replies.in_batches("s/b"))
        assert replies.knows_batch("b1")
        assert not replies.knows_batch("b2")


def test_each_reply_says_who_paid_how_much(tmp_path: Path) -> None:
    told, silent = Reply(prompt_tokens=3, completion_tokens=4), Reply()
    with Replies.open(tmp_path, ENDPOINT) as replies:
        replies.add({"1": told.paid_by("s/a", (50, 60)), "2": silent.paid_by("s/b", (50, 60)), "3": told})
        replies.add_batch("b1", {"4": (70, 80)}, "s/a")
        replies.add({"4": replies.from_batch("4", silent), "5": replies.from_batch("5", silent)})
    with Replies.open(tmp_path, ENDPOINT) as replies:
        charged = {a: [tuple(r.charged or ()) for r in replies.bought_by(a)] for a in ("s/a", "s/b", "s/c")}
        assert charged == {"s/a": [(3, 4), (70, 80)], "s/b": [(50, 60)], "s/c": []}


def test_everything_that_a_reply_depends_on_is_in_its_key() -> None:
    others = [
        request_key(replace(ENDPOINT, base_url="http://127.0.0.1:8001/v1"), BODY),
        *(request_key(ENDPOINT, {**BODY, name: "other"}) for name in BODY),
        request_key(ENDPOINT, {**BODY, "response_format": {}}),
    ]
    assert len({request_key(ENDPOINT, BODY), *others}) == len(others) + 1
    unchanged = replace(
        ENDPOINT, concurrency=1, timeout=1.0, retries=0, input_price=5.0, base_url=f"{ENDPOINT.base_url}/"
    )
    assert request_key(unchanged, dict(reversed(BODY.items()))) == request_key(ENDPOINT, BODY)


def test_each_model_and_address_has_its_file(tmp_path: Path) -> None:
    paths = {
        replies_path(tmp_path, endpoint)
        for endpoint in (
            ENDPOINT,
            replace(ENDPOINT, model="org-labeller:1"),
            replace(ENDPOINT, base_url="http://127.0.0.1:8000/v2"),
        )
    }
    assert len(paths) == 3
    assert all(path.parent == tmp_path and path.suffix == ".jsonl" for path in paths)
    assert replies_path(tmp_path, replace(ENDPOINT, model="../../etc/x")).parent == tmp_path


HOLD = """
import sys, time
from pathlib import Path
from repurpose.labels.llm.replies import Replies
from repurpose.study.settings import Endpoint
with Replies.open(Path(sys.argv[1]), Endpoint(model=sys.argv[2], base_url=sys.argv[3])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_job_waits_says_so_and_goes_on_when_the_first_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [sys.executable, "-c", HOLD, str(tmp_path), ENDPOINT.model, str(ENDPOINT.base_url)]
    process = subprocess.Popen(arguments, env=from_source(), stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    threading.Timer(0.5, process.kill).start()
    start = time.monotonic()
    with Replies.open(tmp_path, ENDPOINT) as replies:
        assert time.monotonic() - start >= 0.4
        assert f"waiting for another job that uses {replies.path}" in capsys.readouterr().err
    process.wait()
    process.stdout.close()
