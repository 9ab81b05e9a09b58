from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import StepMaker
from transformers import PreTrainedTokenizerFast

from repurpose.data.files import read_provenance, read_table, write_table
from repurpose.data.journal import journal_path
from repurpose.data.schemas import PROMPTS, ROLLOUTS
from repurpose.model.engines import Generated, choice
from repurpose.model.loading import ModelError, device_name, model_digest
from repurpose.model.token_ends import token_texts
from repurpose.model.tokens import prompt_token_ids
from repurpose.rollouts.sampling import main, sample_rollouts, shard_of
from repurpose.study.settings import canonical_json

Row = dict[str, Any]


def test_a_prompt_is_templated_once_and_begins_with_one_bos(
    tokenizer: PreTrainedTokenizerFast, prompt_rows: list[Row]
) -> None:
    ids = prompt_token_ids(tokenizer, prompt_rows[0]["messages"])
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids) == "<|begin|><|user|>the sum of three and four<|assistant|><think>"


def test_a_template_with_two_bos_is_refused(tokenizer: PreTrainedTokenizerFast, prompt_rows: list[Row]) -> None:
    template = tokenizer.chat_template
    try:
        tokenizer.chat_template = "{{ bos_token }}" + template
        with pytest.raises(ModelError, match="two BOS"):
            prompt_token_ids(tokenizer, prompt_rows[0]["messages"])
    finally:
        tokenizer.chat_template = template


def test_shards_cover_all_prompts_once(prompt_rows: list[Row]) -> None:
    shards = [shard_of(prompt_rows, shard, 3) for shard in range(3)]
    assert [row["prompt_id"] for row in shards[1]] == ["p1", "p4", "p7"]
    assert sorted(row["prompt_id"] for shard in shards for row in shard) == [r["prompt_id"] for r in prompt_rows]


def test_rows_hold_ids_and_their_text(
    tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row], tokenizer: PreTrainedTokenizerFast
) -> None:
    step = make_step("rollouts.sampling", sections={"rollouts": {"samples": 2}}, shard=0)
    rows = sample_rollouts(step, prompt_rows, tmp_path / "0.parquet")
    assert len(rows) == 2 * len(prompt_rows) and set(rows[0]) == set(ROLLOUTS.names)
    for row in rows:
        assert tokenizer.decode(row["token_ids"]) == row["text"]
        alone = [tokenizer.decode([token]) for token in row["token_ids"]]  # each id of this tokenizer is a whole word
        assert token_texts(row["text"], row["token_ends"]) == alone
        assert tokenizer.eos_token_id not in row["token_ids"]
        assert (len(row["token_ids"]) == 12) == (row["finish_reason"] == "length")
    first, second = (next(r for r in rows if r["prompt_id"] == "p0" and r["sample"] == s) for s in (0, 1))
    assert first["token_ids"] != second["token_ids"] and first["seed"] != second["seed"]


def test_shards_and_batches_change_no_rollout(tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row]) -> None:
    whole = sample_rollouts(make_step("rollouts.sampling", shard=0), prompt_rows, tmp_path / "a")
    one_by_one = make_step("rollouts.sampling", sections={"rollouts": {"batch_size": 1}}, shard=0)
    part = sample_rollouts(one_by_one, prompt_rows[3:], tmp_path / "b")
    assert part == whole[3:]


def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = make_step("rollouts.sampling", shard=0)
    undisturbed = sample_rollouts(step, prompt_rows, tmp_path / "undisturbed")
    journal = journal_path(tmp_path / "undisturbed").read_bytes()
    lines = journal.splitlines(keepends=True)
    journal_path(tmp_path / "killed").write_bytes(b"".join(lines[:5]) + lines[5][:-9])
    asked: list[int] = []
    engine = choice.TransformersEngine

    class Counting(engine):  # type: ignore[misc, valid-type]
        def generate(self, requests: Any, *rest: Any) -> list[Generated]:
            asked.append(len(requests))
            return list(super().generate(requests, *rest))

    monkeypatch.setattr(choice, "TransformersEngine", Counting)
    assert sample_rollouts(step, prompt_rows, tmp_path / "killed") == undisturbed
    assert asked == [len(prompt_rows) - 5]


@pytest.mark.parametrize(
    "change",
    [
        {"sections": {"rollouts": {"temperature": 0.9}}},
        {"sections": {"rollouts": {"max_new_tokens": 9}}},
        {"code": "other"},
    ],
)
def test_a_journal_of_other_settings_is_not_used(
    tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row], change: dict[str, Any]
) -> None:
    output = tmp_path / "0.parquet"
    sample_rollouts(make_step("rollouts.sampling", shard=0, code="this"), prompt_rows[:2], output)
    changed = make_step("rollouts.sampling", shard=0, **{"code": "this", **change})
    assert sample_rollouts(changed, prompt_rows[:2], output) == sample_rollouts(
        changed, prompt_rows[:2], tmp_path / "fresh.parquet"
    )
    assert len(journal_path(output).read_text().splitlines()) == 4


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["rollouts", *arguments])
    main()


def test_the_command_writes_its_shard_and_removes_the_journal(
    tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path / "prompts.parquet", prompt_rows, PROMPTS, {})
    settings = canonical_json(make_step("rollouts.sampling", shard=1).values)
    output = tmp_path / "rollouts" / "1.parquet"
    run_main(
        monkeypatch,
        *("--settings", settings, "--prompts", str(tmp_path / "prompts.parquet"), "--output", str(output)),
        *("--batch", "1"),
    )
    assert sorted(read_table(output)["prompt_id"]) == ["p1", "p3", "p5", "p7"]
    assert [path.name for path in output.parent.iterdir() if path.is_file()] == ["1.parquet"]
    notes = read_provenance(output)
    assert notes["settings"] == json.loads(settings)
    assert notes["device"] == device_name()
    assert notes["model_digest"] == {
        "reasoning": model_digest(make_step("rollouts.sampling", shard=1).pair, "reasoning")
    }


def test_a_model_that_is_not_there_is_one_line(
    tmp_path: Path, make_step: StepMaker, prompt_rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path / "prompts.parquet", prompt_rows, PROMPTS, {})
    values = make_step("rollouts.sampling", shard=0).values
    values["pair"]["reasoning"] = str(tmp_path / "nowhere")
    with pytest.raises(SystemExit) as problem:
        run_main(
            monkeypatch,
            *("--settings", canonical_json(values), "--prompts", str(tmp_path / "prompts.parquet")),
            *("--output", str(tmp_path / "0.parquet")),
        )
    message = str(problem.value)
    assert message.startswith("repurpose rollouts.sampling: pair.reasoning: cannot load") and "\n" not in message
    assert not (tmp_path / "0.parquet").exists()
