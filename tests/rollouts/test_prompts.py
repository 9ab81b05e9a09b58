"""Prompts are split before anything else, evenly over categories."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from repurpose.organism.language import SCENES
from repurpose.rollouts.prompts import main, make_prompts
from repurpose.study.settings import Prompts, SettingsError


def test_splits_are_disjoint_balanced_and_seeded() -> None:
    rows = make_prompts(Prompts("organism", 40, 20), seed=0)
    assert rows == make_prompts(Prompts("organism", 40, 20), seed=0)
    assert rows != make_prompts(Prompts("organism", 40, 20), seed=1)
    texts = {split: {r["messages"] for r in rows if r["split"] == split} for split in ("train", "heldout")}
    assert len(texts["train"]) == 40 and len(texts["heldout"]) == 20 and not texts["train"] & texts["heldout"]
    for split, each in (("train", 8), ("heldout", 4)):
        assert Counter(r["category"] for r in rows if r["split"] == split) == dict.fromkeys(SCENES, each)
    assert len({r["prompt_id"] for r in rows}) == 60


def test_more_prompts_than_there_are_end_at_once() -> None:
    with pytest.raises(SettingsError, match=r"6000 and 1 are asked for, organism has 5000 prompts; .* most 5000$"):
        make_prompts(Prompts("organism", 6000, 1), seed=0)


def test_a_file_of_prompts(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    lines = [{"category": c, "prompt": f"{c} {i}?", "answer": i} for c in "ab" for i in range(3)]
    file.write_text("\n".join(map(json.dumps, lines)))
    rows = make_prompts(Prompts(str(file), 4, 2), seed=0)
    assert Counter((r["split"], r["category"]) for r in rows) == {
        ("train", "a"): 2,
        ("train", "b"): 2,
        ("heldout", "a"): 1,
        ("heldout", "b"): 1,
    }
    assert all(json.loads(r["messages"])[0]["role"] == "user" for r in rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"category": "a"}', "line 1.*prompt"),
        ("not json", r"^prompts\.source: prompts.jsonl line 1: .*; each line is a JSON object with the texts category"),
        ("\n\n3", "line 3: it is a JSON number, not an object; each line is"),
        ('"text"', "line 1: it is a JSON text, not an object; each line is"),
        ('{"category": "a", "prompt": 3}', "line 1: prompt is a JSON number, not a text; each line is"),
        ('{"category": null, "prompt": "x"}', "line 1: category is a JSON null, not a text; each line is"),
        ('{"category": "a", "prompt": "x", "id": "i"}\n' * 2, "line 2: id i is given twice"),
        (
            '{"category": "a", "prompt": "x"}',
            r"^prompts.train and prompts.heldout: 4 and 1 are asked for, .* has 1 prompts; give numbers that add up to",
        ),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(content)
    with pytest.raises(SettingsError, match=message):
        make_prompts(Prompts(str(file), 4, 1), seed=0)


def test_the_step_says_it_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prompts.jsonl").write_bytes(b'{"category": "a", "prompt": "x"}\n\xff')
    prompts = {"source": str(tmp_path / "prompts.jsonl"), "train": 1, "heldout": 1}
    settings = json.dumps({"seed": 0, "prompts": prompts})
    monkeypatch.setattr("sys.argv", ["prompts", "--settings", settings, "--output", str(tmp_path / "prompts.parquet")])
    with pytest.raises(
        SystemExit, match=r"^repurpose rollouts.prompts: prompts\.source: prompts.jsonl line 2: it is no text in UTF-8"
    ) as ended:
        main()
    assert "\n" not in str(ended.value) and not (tmp_path / "prompts.parquet").exists()


def test_line_ends_inside_a_text_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    lines = [{"category": "a", "prompt": f"one\u2028two {i}"} for i in range(2)]
    file.write_text("\r\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    assert all("\u2028" in row["messages"] for row in make_prompts(Prompts(str(file), 1, 1), seed=0))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"prompts\.source"):
        make_prompts(Prompts("nowhere.jsonl", 1, 1), seed=0)
