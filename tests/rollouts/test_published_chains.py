"""Published chains become rollouts such as the generator would have written, by its tokenizer and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import StepMaker, make_byte_tokenizer
from transformers import PreTrainedTokenizerFast

from repurpose.data.files import TableError, read_provenance, read_table, write_table
from repurpose.data.schemas import PROMPTS
from repurpose.model.tokens import prompt_token_ids
from repurpose.rollouts import prompts, sampling
from repurpose.rollouts.prompts import make_prompts
from repurpose.rollouts.published import chain_text, has_tags, read_published
from repurpose.rollouts.sentences import cut_rollout
from repurpose.study.published import Task
from repurpose.study.settings import Prompts, canonical_json

Row = dict[str, Any]
CHAIN = "Okay, plums.\n\nWait, is it 8 — or 7?"
TEMPLATE = "{{ bos_token }}{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}<|assistant|>"


def record(number: int, chain: str = CHAIN, **fields: Any) -> Row:
    return {
        "task_id": f"t{number}",
        "problem": f"How many plums, {number}?",
        "reasoning_chain": chain,
        "annotated_chain": '["deduction"]Okay, plums.["end-section"]',
        **fields,
    }


def write(folder: Path, *records: Any) -> str:
    (folder / "chains.json").write_text(json.dumps(records))
    return str(folder / "chains.json")


@pytest.fixture
def tagged() -> PreTrainedTokenizerFast:
    """Any text, and a template that opens the thinking."""
    tokenizer = make_byte_tokenizer()
    tokenizer.chat_template = TEMPLATE + r"{{ '<think>\n' }}"
    return tokenizer


def task(thinking: str, rest: str = "") -> Task:
    return Task("", {}, "published", None, thinking, rest)


REST = "</think>\n\nIt is 7."


@pytest.mark.parametrize(
    ("thinking", "prompt", "tags", "expected"),
    [
        ("\nSo 7.\n", "?<think>\n", True, f"So 7.\n{REST}"),
        ("\nSo 7.\n", "?<think>", True, f"\nSo 7.\n{REST}"),
        ("So 7.", "?<think>", True, f"So 7.{REST}"),
        ("So 7.\n", "?<|assistant|>", True, f"<think>\nSo 7.\n{REST}"),
        ("<think>\n\nSo 7.\n", "?<|assistant|>", True, f"<think>\nSo 7.\n{REST}"),
        ("<think>\n\nSo 7.\n", "?<think>\n", True, f"So 7.\n{REST}"),
        ("<think>\nSo 7.\n", "?", False, "So 7."),
    ],
)
def test_the_chain_stands_where_the_generators_own_would(thinking: str, prompt: str, tags: bool, expected: str) -> None:
    assert chain_text(task(thinking, REST), prompt, tags) == expected


def test_tags_are_the_templates_or_the_vocabularys(
    tokenizer: PreTrainedTokenizerFast, tagged: PreTrainedTokenizerFast
) -> None:
    assert has_tags(tokenizer) and has_tags(tagged) and not has_tags(make_byte_tokenizer())


def rows_of(file: str) -> list[Row]:
    return make_prompts(Prompts(file, 1, 1), seed=0)


def test_ids_are_the_tokenizers_and_follow_the_prompts(tmp_path: Path, tagged: PreTrainedTokenizerFast) -> None:
    file = write(tmp_path, record(1), record(2, f"{CHAIN}{REST}", category="plums", answer=7))
    rows = {row["prompt_id"]: row for row in rows_of(file)}
    assert rows["t2"]["category"] == "plums" and rows["t2"]["answer"] == "7" and rows["t1"]["answer"] is None
    found, notes = read_published(file, list(rows.values()), tagged, 1000)
    by_prompt = {one.row["prompt_id"]: one for one in found}
    assert by_prompt["t1"].prompt_ids == prompt_token_ids(tagged, rows["t1"]["messages"])
    asked = tagged.decode(by_prompt["t1"].prompt_ids)
    assert asked == "<|begin|><|user|>How many plums, 1?<|assistant|><think>\n"
    assert by_prompt["t1"].generated.token_ids == tagged.encode(CHAIN, add_special_tokens=False)
    assert [by_prompt[name].generated.finish_reason for name in ("t1", "t2")] == ["length", "stop"]
    assert notes == {"published": {"chains": 2, "cut": 0, "left_out": []}}


def test_what_is_longer_is_cut_at_the_token(
    tmp_path: Path, tagged: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, record(1, f"{CHAIN}{REST}"), record(2, "So 7."))
    ids = tagged.encode(f"{CHAIN}{REST}", add_special_tokens=False)
    for longest, cut in ((len(ids), 0), (len(ids) - 1, 1), (5, 1)):
        found, notes = read_published(file, rows_of(file), tagged, longest)
        (first,) = [one for one in found if one.row["prompt_id"] == "t1"]
        assert first.generated.token_ids == ids[:longest] and first.cut == bool(cut)
        assert first.generated.finish_reason == ("length" if cut else "stop")
        assert notes["published"]["cut"] == cut
    assert "2 published chains, 1 of them cut at 5 tokens" in capsys.readouterr().err


def test_chains_of_one_problem_are_its_samples(tmp_path: Path, tagged: PreTrainedTokenizerFast) -> None:
    twice = record(1, "Another way.", task_id="t7")
    file = write(tmp_path, record(1), record(2), twice)
    found, _ = read_published(file, rows_of(file), tagged, 1000)
    texts = {(one.row["prompt_id"], one.sample): tagged.decode(one.generated.token_ids) for one in found}
    assert texts == {("t1", 0): CHAIN, ("t1", 1): "Another way.", ("t2", 0): CHAIN}


def test_the_end_token_ends_a_chain(tmp_path: Path, tagged: PreTrainedTokenizerFast) -> None:
    file = write(tmp_path, record(1, f"So 7.{REST}<|end|><|end|>"), record(2))
    found, _ = read_published(file, rows_of(file), tagged, 1000)
    assert f"So 7.{REST}" in [tagged.decode(one.generated.token_ids) for one in found]


def test_what_the_tokenizer_cannot_write_is_left_out(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another generator's tokenizer: the words of one chain are in its vocabulary, those of the other are not."""
    file = write(tmp_path, record(1, "Wait But no"), record(2), {"no": "record"})
    rows = rows_of(file)
    found, notes = read_published(file, rows, tokenizer, 1000)
    assert [one.row["prompt_id"] for one in found] == ["t1"]
    (unread, lost) = notes["published"]["left_out"]
    assert unread.startswith("record 3: has neither") and lost.startswith("prompt t2, sample 0: the chain is not what")
    assert "chains.json: records that cannot be read and are left out: 2\n" in capsys.readouterr().err
    with pytest.raises(TableError, match=r"^chains.json: prompt t2, .*, and so are all 1; is the tokenizer"):
        read_published(file, [row for row in rows if row["prompt_id"] == "t2"], tokenizer, 1000)
    assert read_published(file, [], tokenizer, 1000)[0] == []


def test_prompts_of_another_file_are_named(tmp_path: Path, tagged: PreTrainedTokenizerFast) -> None:
    rows = rows_of(write(tmp_path, record(1), record(2)))
    with pytest.raises(TableError, match=r"^chains.json: no record is of prompt t1; make the prompts again"):
        read_published(write(tmp_path, record(2)), [row for row in rows if row["prompt_id"] == "t1"], tagged, 9)


def run(monkeypatch: pytest.MonkeyPatch, step: Any, settings: str, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["step", "--settings", settings, *arguments])
    step.main()


def test_the_steps_need_a_tokenizer_and_no_weights(
    tmp_path: Path, make_step: StepMaker, pair_folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(pair_folders["reasoning"], bare)
    (bare / "model.safetensors").unlink()
    chain = "Wait But no the sum of three and four is seven"
    file = write(tmp_path, *(record(number, chain) for number in range(4)), record(4, ""))
    sections = {
        "pair": {"reasoning": str(bare)},
        "prompts": {"source": file, "train": 2, "heldout": 2},
        "rollouts": {"engine": "published", "file": file, "max_new_tokens": 8, "shards": 1},
        "sweeps": {"grid": {**make_step("steering.sweeps", sweep="grid").values["sweeps"]["grid"], "prompts": 2}},
    }
    table = tmp_path / "prompts.parquet"
    step = make_step("rollouts.prompts", sections=sections)
    run(monkeypatch, prompts, canonical_json(step.values), "--output", str(table))
    assert read_provenance(table)["left_out"] == ["record 5 (task_id 't4'): the chain is empty"]
    step = make_step("rollouts.sampling", sections=sections, shard=0)
    output = tmp_path / "0.parquet"
    run(monkeypatch, sampling, canonical_json(step.values), "--prompts", str(table), "--output", str(output))
    rows = read_table(output).to_dicts()
    assert {(row["text"], row["engine"], row["seed"], row["model"]) for row in rows} == {
        (" ".join(chain.split()[:8]), "published", None, str(bare))
    }
    assert sorted(row["prompt_id"] for row in rows) == ["t0", "t1", "t2", "t3"]
    for row in rows:
        assert [
            row["text"][start:end].strip()
            for start, end in zip([0, *row["token_ends"]], row["token_ends"], strict=False)
        ] == chain.split()[:8]
        assert [sentence["token_start"] for sentence in cut_rollout(row)] == [0]
    notes = read_provenance(output)["published"]
    assert notes["chains"] == notes["cut"] == 4 and notes["left_out"] == ["record 5 (task_id 't4'): the chain is empty"]


def test_published_problems_are_prompts_for_the_pair_too(
    tmp_path: Path, make_step: StepMaker, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Without `engine: published` the same file gives prompts alone."""
    file = write(tmp_path, record(1), record(2))
    rows = rows_of(file)
    write_table(tmp_path / "prompts", rows, PROMPTS, {})
    step = make_step("rollouts.sampling", shard=0)
    sampled = sampling.sample_rollouts(step, rows, tmp_path / "0")
    assert {row["engine"] for row in sampled} == {"transformers"}
    assert sampled[0]["prompt_token_ids"] == prompt_token_ids(tokenizer, rows[0]["messages"])
