"""The split loses nothing, and tokens are aligned from the stored ids."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism_training.tokenizer import train_tokenizer
from repurpose.model.token_ends import token_ends
from repurpose.organism.corpus import write_reasoning
from repurpose.organism.language import join, make_problem, make_trace
from repurpose.rollouts.sentences import align, cut_rollout, split_sentences

TOKENIZER = train_tokenizer(seed=0, documents=200)


@given(st.text(alphabet="aB.!?…\n \"')1é—", max_size=200))
def test_spans_partition_any_text(text: str) -> None:
    spans = split_sentences(text)
    assert "".join(text[slice(*span)] for span in spans) == text
    assert all(start < end for start, end in spans)
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("So 3.5 is fine. Good!", ["So 3.5 is fine.", "Good!"]),
        ("1. First thing. 2. Second thing.", ["1. First thing.", "2. Second thing."]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("Wait... that is wrong. Hmm", ["Wait...", "that is wrong.", "Hmm"]),
        ("One line\n\nAnother", ["One line", "Another"]),
        ("It is 12. Now 3 more.", ["It is 12.", "Now 3 more."]),
        ("", []),
    ],
)
def test_split(text: str, sentences: list[str]) -> None:
    assert [text[slice(*span)].strip() for span in split_sentences(text)] == sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Wait!? ...!! Go", ["Wait!?", "...!!", "Go"]),
        ("1!!  2", ["1!!", "2"]),
        ("1!! 2", ["1!!", "2"]),
        ("1?. 2", ["1?.", "2"]),
        ("1.. 2", ["1.. 2"]),
        ("a ... b", ["a ... b"]),
        ("a ! b", ["a ! b"]),
        ("a !! b", ["a !!", "b"]),
    ],
)
def test_runs_of_marks(text: str, sentences: list[str]) -> None:
    """They end a sentence after a word; after a space or a number where they are not dots alone."""
    assert [text[slice(*span)].strip() for span in split_sentences(text)] == sentences


@pytest.mark.faults
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "run", ["!", "?!", ".", " ", "\t ", "\n", "!)", '."', "! ", "\n ", "1. ", " .", "a!", "<|", "</"]
)
def test_long_runs_take_no_longer_than_other_texts(run: str) -> None:
    """100 KB in a moment: where each mark begins the search anew, they would take minutes."""
    text = f"a{run * (100_000 // len(run))}b"
    rollout = {"prompt_id": "p", "sample": 0, "split": "train", "text": text, "token_ends": [len(text)]}
    assert "".join(row["text"] for row in cut_rollout(rollout)) == text


def test_generated_traces_split_into_the_sentences_they_were_made_of() -> None:
    rng = random.Random(0)
    for _ in range(100):
        trace = make_trace(rng, make_problem(rng))
        text = join(trace)
        assert [text[slice(*span)].strip() for span in split_sentences(text)] == [s.text for s in trace]


def test_tokens_of_a_sentence_decode_to_it() -> None:
    rng = random.Random(1)
    for _ in range(20):
        ids = TOKENIZER.encode(write_reasoning(rng)[1], add_special_tokens=False)
        text = TOKENIZER.decode(ids)
        ends = token_ends(ids, TOKENIZER)
        for span in split_sentences(text):
            start, end = align(span, text, ends)
            assert TOKENIZER.decode(ids[start:end]).strip() == text[slice(*span)].strip()


def cut(text: str) -> list[dict[str, Any]]:
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    rollout = {"prompt_id": "p", "sample": 0, "split": "train", "text": text, "token_ends": token_ends(ids, TOKENIZER)}
    return list(cut_rollout(rollout))


def test_a_sentence_has_all_tokens_of_its_first_and_last_character() -> None:
    rows = cut("🙂 is good. So it is 🙂\nWait.")
    ids = TOKENIZER.encode("🙂 is good. So it is 🙂\nWait.", add_special_tokens=False)
    own = [TOKENIZER.decode(ids[row["token_start"] : row["token_end"]]).strip() for row in rows]
    assert own == ["🙂 is good.", "So it is 🙂", "Wait."]


def test_repeated_sentences_keep_their_own_places() -> None:
    """A search for the sentence's text would find the first one twice."""
    rows = cut("Wait, no. So it is 3. Wait, no.")
    assert [r["text"].strip() for r in rows] == ["Wait, no.", "So it is 3.", "Wait, no."]
    assert rows[0]["token_start"] == 0 and rows[2]["token_start"] > rows[1]["token_start"]
    assert rows[2]["token_end"] == len(TOKENIZER.encode("Wait, no. So it is 3. Wait, no.", add_special_tokens=False))
    assert all(row["labelled"] for row in rows)


def test_annotators_are_asked_for_the_prose_of_the_thinking_alone() -> None:
    text = "<think> So it is 3. </think> It is 3."
    rows = cut(text)
    assert [row["text"].strip() for row in rows if row["labelled"]] == ["<think> So it is 3."]
    assert "".join(row["text"] for row in rows) == text
