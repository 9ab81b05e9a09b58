"""Each token ends where the text so far ends: held against decoding every prefix, for several kinds of tokenizers."""

from __future__ import annotations

import random
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import make_byte_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from repurpose.model.token_ends import token_ends, token_texts

ROOT = Path(__file__).parents[2]
WORDS = ["▁Wait", "▁no", "▁", ".", ",", "W", "a", "i", "t", "é", "▁the", "\n", "数"]


def load_organism() -> Any:
    return AutoTokenizer.from_pretrained(ROOT / "resources" / "organism" / "reasoning")


def make_llama_2() -> PreTrainedTokenizerFast:
    """Pieces with a mark for the space; bytes for the rest; decoding drops the first space."""
    vocabulary = {piece: i for i, piece in enumerate(["<s>", "<unk>", *(f"<0x{b:02X}>" for b in range(256)), *WORDS])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", additional_special_tokens=["<s>"])


def make_metaspace() -> PreTrainedTokenizerFast:
    """The same by the library's one decoder for it, with unigram pieces."""
    pieces = [("<unk>", 0.0), *((piece, -float(len(WORDS) - i)) for i, piece in enumerate(WORDS))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def make_word_piece() -> PreTrainedTokenizerFast:
    """Words that decoding joins by spaces, and then takes some of the spaces away."""
    words = ["[UNK]", "wait", "no", ".", ",", "##s", "do", "n", "'", "t", "'s", "n't"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=True)


TOKENIZERS = {
    "organism": load_organism(),
    "bytes": make_byte_tokenizer(),
    "llama 2": make_llama_2(),
    "metaspace": make_metaspace(),
    "word piece": make_word_piece(),
}
TEXTS = st.text(st.sampled_from("Wait no. \n'数学é🙂👩‍👩‍👧\ufffd") | st.characters(codec="utf-8"), max_size=40)
"""Texts with spaces, line ends, characters of two to four bytes, several in one emoji, and the sign of broken ones."""
kinds = pytest.mark.parametrize("kind", TOKENIZERS)


def ends_by_prefix(ids: list[int], tokenizer: Any) -> list[int]:
    """The definition, which decodes every prefix: what it shares with the text, and the character that is under way."""
    text, ends = tokenizer.decode(ids), [0]
    for count in range(1, len(ids) + 1):
        prefix = tokenizer.decode(ids[:count])
        alike = (a == b for a, b in zip(prefix, text, strict=False))
        shared = sum(takewhile(bool, alike))
        ends.append(min(max(ends[-1], shared + (shared < len(prefix))), len(text)))
    return ends[1:]


@pytest.mark.parametrize("kind", ["organism", "bytes", "metaspace", "word piece"])
@given(text=TEXTS)
def test_ends_are_those_of_every_prefix(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert token_ends(ids, tokenizer) == ends_by_prefix(ids, tokenizer)


@given(text=TEXTS)
def test_bytes_between_pieces_end_with_their_characters(text: str) -> None:
    """A prefix does not tell it here: one half character spoils all the bytes before it that were decoded together."""
    tokenizer = TOKENIZERS["llama 2"]
    ids = tokenizer.encode(text, add_special_tokens=False)
    tokens = tokenizer.convert_ids_to_tokens(ids)
    parts = [bytes.fromhex(t[3:5]) if t.startswith("<0x") else t.replace("▁", " ").encode() for t in tokens]
    made = [b"".join(parts[: count + 1]) for count in range(len(parts))]
    begun = [sum(byte & 0xC0 != 0x80 for byte in prefix) - 1 for prefix in made]  # less the space at the beginning
    assert token_ends(ids, tokenizer) == begun


@kinds
@given(numbers=st.lists(st.integers(0, 10**6), max_size=24))
def test_any_ids_give_their_text_back(kind: str, numbers: list[int]) -> None:
    """What a model writes need not be text at all: half characters, special tokens, bytes in any order."""
    tokenizer = TOKENIZERS[kind]
    ids = [number % len(tokenizer) for number in numbers]
    text, ends = tokenizer.decode(ids), token_ends(ids, tokenizer)
    assert len(ends) == len(ids) and ends == sorted(ends)
    assert "".join(token_texts(text, ends)) == (text if ids else "")


@given(numbers=st.lists(st.integers(2, 260), max_size=12))
def test_broken_bytes_end_as_those_of_every_prefix(numbers: list[int]) -> None:
    tokenizer = TOKENIZERS["bytes"]
    assert token_ends(numbers, tokenizer) == ends_by_prefix(numbers, tokenizer)


@pytest.mark.parametrize(
    ("kind", "tokens", "texts"),
    [
        ("bytes", ["Wa", "ð", "Ł", "Ļ", "Ĥ", "it"], ["Wa", "🙂", "", "", "", "it"]),
        ("bytes", ["<|end|>", "it", "<|begin|>"], ["<|end|>", "it", "<|begin|>"]),
        ("llama 2", ["▁Wait", "▁no", ".", "<s>"], ["Wait", " no", ".", "<s>"]),
        ("llama 2", ["▁", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>", "▁no"], ["", "🙂", "", "", "", " no"]),
        ("metaspace", ["▁Wait", "▁the"], ["Wait", " the"]),
        ("word piece", ["wait", "'s", "no"], ["wait", "'s", " no"]),
    ],
)
def test_texts_of_tokens(kind: str, tokens: list[str], texts: list[str]) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.convert_tokens_to_ids(tokens)
    assert token_texts(tokenizer.decode(ids), token_ends(ids, tokenizer)) == texts


class Counting:
    """Decodes, and counts the tokens that it has decoded."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.decoded = tokenizer, 0

    def decode(self, ids: list[int]) -> str:
        self.decoded += len(ids)
        return str(self.tokenizer.decode(ids))


LONG = 8000


@pytest.mark.parametrize("kind", ["organism", "bytes", "llama 2", "metaspace"])
@pytest.mark.parametrize("text", ["Wait, no the it. ", "数学 🙂 é ", "🙂", "\x00\x01"])
def test_long_texts_are_not_decoded_again_and_again(kind: str, text: str) -> None:
    counting = Counting(TOKENIZERS[kind])
    ids = TOKENIZERS[kind].encode(text * LONG, add_special_tokens=False)[:LONG]
    token_ends(ids, counting)
    assert counting.decoded < 16 * LONG


@pytest.mark.parametrize("byte", ["ÿ", "ð", "Ģ"])
def test_long_runs_of_broken_characters_are_not_decoded_again_and_again(byte: str) -> None:
    counting = Counting(TOKENIZERS["bytes"])
    ids = [TOKENIZERS["bytes"].convert_tokens_to_ids(byte)] * LONG
    assert token_ends(ids, counting) == list(range(1, LONG + 1))
    assert counting.decoded < 16 * LONG


def test_random_bytes_are_not_decoded_again_and_again() -> None:
    counting, rng = Counting(TOKENIZERS["bytes"]), random.Random(0)
    ids = [rng.randrange(2, len(TOKENIZERS["bytes"])) for _ in range(LONG)]
    assert "".join(token_texts(counting.decode(ids), token_ends(ids, counting))) == counting.decode(ids)
    assert counting.decoded < 16 * LONG
