"""Tokenizers give the ids of their own files, whatever class a model's directory names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.tiny import make_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from repurpose.models import PROBE, ModelError, check_same_ids, load_tokenizer
from repurpose.settings import Pair


def byte_level() -> PreTrainedTokenizerFast:
    """Every byte, and some words with the space before them, as in Llama 3's vocabulary."""
    pieces = ["<|begin|>", "<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ĠW", "Wa", "it"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "W"), ("W", "a"), ("i", "t")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin|>",
        eos_token="<|end|>",
        clean_up_tokenization_spaces=False,
        chat_template="{{ bos_token }}",
    )


@pytest.fixture
def named_as_llama(tmp_path: Path) -> Pair:
    """A directory like that of R1-Distill-Llama: byte-level tokens in the file, Llama 2's class in the settings."""
    make_model().save_pretrained(tmp_path)
    byte_level().save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tokenizer_class": "LlamaTokenizerFast"}))
    return Pair(str(tmp_path), str(tmp_path))


def test_a_directory_that_names_another_class_keeps_its_own_tokens(named_as_llama: Pair) -> None:
    """The stock loader loses the spaces of such a directory; ours reads its file."""
    stock = AutoTokenizer.from_pretrained(named_as_llama.base)
    assert stock.decode(stock.encode(PROBE, add_special_tokens=False)) != PROBE, "no longer needed"
    ours = load_tokenizer(named_as_llama, "base")
    ids = ours.encode(PROBE, add_special_tokens=False)
    assert ours.decode(ids) == PROBE
    assert ids == Tokenizer.from_file(f"{named_as_llama.base}/tokenizer.json").encode(PROBE).ids
    assert (ours.bos_token_id, ours.eos_token_id, bool(ours.chat_template)) == (0, 1, True)


def test_tokenizers_that_split_alike_vocabularies_otherwise_are_refused() -> None:
    one, other = byte_level(), byte_level()
    check_same_ids(one, other)
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    with pytest.raises(ModelError, match="the pair's tokenizers disagree: they give"):
        check_same_ids(one, other)
