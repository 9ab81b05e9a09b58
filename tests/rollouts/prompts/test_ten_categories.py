"""The 300 prompts are well-formed, differ from one another and can be used by a study."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations

import pytest
from tests.rollouts.prompts.ten_categories import FILE, PROMPTS, RECORDS, answers

from repurpose.rollouts.prompts import make_prompts
from repurpose.rollouts.sentences import split_sentences
from repurpose.steering.metrics import END_OF_THINKING, find_words, is_correct
from repurpose.study.settings import Prompts

CATEGORIES = {
    "mathematical-logic": 28,
    "spatial": 28,
    "verbal-logic": 16,
    "pattern-recognition": 28,
    "lateral": 8,
    "causal": 6,
    "probabilistic": 28,
    "systems": 14,
    "creative": 5,
    "scientific": 16,
}
"""How many of the 30 prompts of each category have an answer; the README of the prompts says the same."""
KEYWORDS = {"wait", "waits", "waited", "waiting", "hmm", "hm", "backtrack", "backtracking", "aloud"}
"""Words that a model must not take from its prompt: they are what is counted in its text, or ask for it."""
ASKS_FOR_A_NUMBER = re.compile(r"\b(?:how many|number|numerator|digit|what (?:is|does it make)|which sum)\b")


def test_there_are_thirty_prompts_in_each_of_ten_categories() -> None:
    ids = [f"{category}-{number:02d}" for category in CATEGORIES for number in range(1, 31)]
    assert [record["id"] for record in RECORDS] == ids
    assert all(record["id"].rpartition("-")[0] == record["category"] for record in RECORDS)


def test_lines_have_the_known_keys_only_and_end_alike() -> None:
    assert {tuple(record) for record in RECORDS} == {
        ("id", "category", "prompt"),
        ("id", "category", "prompt", "answer"),
    }
    assert FILE.read_bytes() == "".join(json.dumps(record) + "\n" for record in RECORDS).encode("ascii")


def test_answers_are_integers_and_as_many_as_the_readme_says() -> None:
    assert {category: len(answers(category)) for category in CATEGORIES} == CATEGORIES
    assert {type(answer) for answer in answers(*CATEGORIES).values()} == {int}
    readme = (FILE.parent / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"`([a-z-]+)` (\d+)[,.]", " ".join(readme.split()))
    assert {category: int(number) for category, number in rows} == CATEGORIES


@pytest.mark.parametrize("prompt_id", PROMPTS)
def test_a_prompt_is_plain_text_of_some_sentences(prompt_id: str) -> None:
    prompt = PROMPTS[prompt_id]
    assert prompt.isascii() and prompt.isprintable() and prompt == " ".join(prompt.split())
    assert 120 <= len(prompt) <= 650
    assert 2 <= len(split_sentences(prompt)) <= 6
    assert not KEYWORDS & set(find_words(prompt))


@pytest.mark.parametrize("prompt_id", answers(*CATEGORIES))
def test_a_prompt_with_an_answer_ends_by_asking_for_one_number(prompt_id: str) -> None:
    last = PROMPTS[prompt_id][split_sentences(PROMPTS[prompt_id])[-1].start :]
    assert ASKS_FOR_A_NUMBER.search(last.lower())


def test_no_two_prompts_are_nearly_the_same() -> None:
    def shingles(prompt: str) -> set[tuple[str, ...]]:
        words = re.findall(r"[a-z]+", prompt.lower())  # without numbers: the same text with others is no new prompt
        return set(zip(words, words[1:], words[2:], strict=False))

    sets = {prompt_id: shingles(prompt) for prompt_id, prompt in PROMPTS.items()}
    alike = {(a, b): len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in combinations(sets, 2)}
    assert not {pair: share for pair, share in alike.items() if share > 0.2}


def test_a_study_reads_all_prompts_and_splits_them_evenly() -> None:
    rows = make_prompts(Prompts(str(FILE), 200, 100), seed=0)
    assert {row["prompt_id"] for row in rows} == set(PROMPTS)
    assert Counter((row["category"], row["split"]) for row in rows) == {
        (category, split): each for category in CATEGORIES for split, each in (("train", 20), ("heldout", 10))
    }


def test_answers_are_compared_with_what_a_model_says_last() -> None:
    for row in make_prompts(Prompts(str(FILE), 200, 100), seed=0):
        said = f"So 7, or 8.{END_OF_THINKING}\nThe answer is {row['answer']}."
        assert is_correct(said, row["answer"]) is (None if row["answer"] is None else True)
