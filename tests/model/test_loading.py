"""Tokenizers give the ids of their own files, whatever class a model's directory names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import make_byte_tokenizer, make_model
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from repurpose.model.loading import ModelError
from repurpose.model.pair_checks import check_pair
from repurpose.model.tokens import PROBE, check_same_ids, load_tokenizer
from repurpose.study.settings import Pair, SettingsError


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
    one, other = make_byte_tokenizer(), make_byte_tokenizer()
    check_same_ids(one, other)
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    with pytest.raises(ModelError, match="the pair's tokenizers disagree: they give"):
        check_same_ids(one, other)


def save_with(folder: Path, tokenizer: PreTrainedTokenizerFast, **shape: Any) -> str:
    """A model of some shape with a tokenizer."""
    make_model(1, len(tokenizer), **shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_good_pair_passes(pair_folders: dict[str, str]) -> None:
    check_pair(Pair(**pair_folders))


def test_models_of_other_shapes_are_refused(
    pair_folders: dict[str, str], tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    other = save_with(tmp_path / "other", tokenizer, num_hidden_layers=4)
    with pytest.raises(SettingsError, match=r"pair.base: 3 layers"):
        check_pair(Pair(pair_folders["base"], other))


def test_tokenizers_that_disagree_are_refused(
    pair_folders: dict[str, str], tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    file = Path(save_with(tmp_path / "other", tokenizer), "tokenizer.json")
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["seven"], vocabulary["four"] = vocabulary["four"], vocabulary["seven"]
    file.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"tokenizers disagree: 'four' is \d+ in one, \d+ in the other"):
        check_pair(Pair(pair_folders["base"], str(file.parent)))


def test_a_pair_without_a_chat_template_is_refused(
    pair_folders: dict[str, str], tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    other = save_with(tmp_path / "other", tokenizer)
    for file in Path(other).glob("chat_template*"):
        file.unlink()
    with pytest.raises(ModelError, match="has no chat template"):
        check_pair(Pair(pair_folders["base"], other))
