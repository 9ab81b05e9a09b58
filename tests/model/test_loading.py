"""Tokenizers give the ids of their own files, whatever class a model's directory names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import make_byte_tokenizer, make_model
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from repurpose.model.loading import ModelError, load_model
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


Weights = dict[str, torch.Tensor]
UP = "model.layers.1.mlp.up_proj.weight"


def rewrite_weights(folder: str, change: Callable[[Weights], object]) -> None:
    file = Path(folder, "model.safetensors")
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop(UP), rf"is not whole: its weights lack {UP}, of which the configuration speaks;"),
        (lambda weights: weights.update(up=weights.pop(UP)), rf"its weights lack {UP}, "),
        (lambda weights: (weights.clear(), weights.update(x=torch.zeros(1))), r"lack lm_head.weight, .*and 29 more"),
        (lambda weights: weights.update(more=torch.zeros(1)), r"hold more, of which the configuration does not speak"),
        (lambda weights: weights.update({UP: torch.zeros(3, 2)}), rf"hold {UP} in another shape than"),
        (lambda weights: weights[UP][3].fill_(torch.nan), rf"{UP} of .* holds a number that is not finite in float32"),
        (lambda weights: weights[UP][3].fill_(-torch.inf), rf"{UP} of .* holds a number that is not finite"),
    ],
    ids=["missing", "renamed", "none", "more", "shape", "no number", "infinite"],
)
def test_weights_that_are_not_the_models_are_refused(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, change: Callable[[Weights], object], said: str
) -> None:
    folder = save_with(tmp_path / "model", tokenizer)
    rewrite_weights(folder, change)
    with pytest.raises(ModelError, match=rf"^pair.base: .*{said}"):
        load_model(Pair(folder, folder), "base")


def test_numbers_too_large_for_the_dtype_are_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    folder = save_with(tmp_path / "model", tokenizer)
    rewrite_weights(folder, lambda weights: weights[UP].fill_(1e6))
    load_model(Pair(folder, folder), "base")
    with pytest.raises(ModelError, match="not finite in float16"):
        load_model(Pair(folder, folder, dtype="float16"), "base")


def test_a_layer_more_in_the_configuration_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    folder = save_with(tmp_path / "model", tokenizer)
    config = Path(folder, "config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": 4}))
    with pytest.raises(ModelError, match=r"lack model.layers.3.input_layernorm.weight, .*\(and 8 more\)"):
        load_model(Pair(folder, folder), "base")


def test_an_index_of_pickled_or_foreign_weights_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    folder = Path(save_with(tmp_path / "model", tokenizer))
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").rename(tmp_path / "other.safetensors")
    index = folder / "model.safetensors.index.json"
    for name in ("pytorch_model.bin", "../other.safetensors"):
        index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(weights, name)}))
        with pytest.raises(SettingsError, match=f"index.json names {name}; give safetensors files of the same folder"):
            load_model(Pair(str(folder), str(folder)), "base")
