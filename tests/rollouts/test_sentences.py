"""The split loses nothing, and tokens are aligned from the stored ids."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism_training.tokenizer import train_tokenizer
from repurpose.organism.corpus import write_reasoning
from repurpose.organism.language import join, make_problem, make_trace
from repurpose.rollouts.sentences import align, cut_rollout, split_sentences, token_ends

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


def test_generated_traces_split_into_the_sentences_they_were_made_of() -> None:
    rng = random.Random(0)
    for _ in range(100):
        trace = make_trace(rng, make_problem(rng))
        text = join(trace)
        assert [text[slice(*span)].strip() for span in split_sentences(text)] == [s.text for s in trace]


@given(st.text(max_size=60))
def test_token_ends_of_any_text(text: str) -> None:
    """Byte-level tokens that end inside a character end where that character ends."""
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    decoded = TOKENIZER.decode(ids)
    ends = token_ends(ids, TOKENIZER.decode, decoded)
    assert len(ends) == len(ids) and ends == sorted(ends)
    assert not ids or ends[-1] == len(decoded)


@given(st.lists(st.integers(6, 261), max_size=12))
def test_token_ends_of_any_bytes(ids: list[int]) -> None:
    """What a model writes when it is steered too far need not be text at all."""
    text = TOKENIZER.decode(ids)
    ends = token_ends(ids, TOKENIZER.decode, text)
    assert len(ends) == len(ids) and ends == sorted(ends) and ends[-1:] in ([], [len(text)])


def test_token_ends_refuses_other_text() -> None:
    ids = TOKENIZER.encode("Wait, no.", add_special_tokens=False)
    with pytest.raises(ValueError, match="do not decode"):
        token_ends(ids, TOKENIZER.decode, "Something else")


def test_tokens_of_a_sentence_decode_to_it() -> None:
    rng = random.Random(1)
    for _ in range(20):
        ids = TOKENIZER.encode(write_reasoning(rng)[1], add_special_tokens=False)
        text = TOKENIZER.decode(ids)
        ends = token_ends(ids, TOKENIZER.decode, text)
        for span in split_sentences(text):
            start, end = align(span, text, ends)
            assert TOKENIZER.decode(ids[start:end]).strip() == text[slice(*span)].strip()


def test_repeated_sentences_keep_their_own_places() -> None:
    """A search for the sentence's text would find the first one twice."""
    ids = TOKENIZER.encode("Wait, no. So it is 3. Wait, no.", add_special_tokens=False)
    rollout = {
        "prompt_id": "p",
        "sample": 0,
        "split": "train",
        "token_ids": ids,
        "text": TOKENIZER.decode(ids),
    }
    rows = list(cut_rollout(rollout, TOKENIZER.decode))
    assert [r["text"].strip() for r in rows] == ["Wait, no.", "So it is 3.", "Wait, no."]
    assert rows[0]["token_start"] == 0 and rows[2]["token_start"] > rows[1]["token_start"]
    assert rows[2]["token_end"] == len(ids)
    assert all(row["labelled"] for row in rows)


def test_annotators_are_asked_for_the_prose_of_the_thinking_alone() -> None:
    ids = TOKENIZER.encode("<think> So it is 3. </think> It is 3.", add_special_tokens=False)
    text = TOKENIZER.decode(ids)
    rollout = {"prompt_id": "p", "sample": 0, "split": "train", "token_ids": ids, "text": text}
    rows = list(cut_rollout(rollout, TOKENIZER.decode))
    assert [row["text"].strip() for row in rows if row["labelled"]] == ["<think> So it is 3."]
    assert "".join(row["text"] for row in rows) == text
