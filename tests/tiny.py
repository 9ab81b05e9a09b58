"""A tiny random model and tokenizer, and the settings of a small study; nothing is fetched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import repurpose
from repurpose.data.selected import Selected
from repurpose.study.settings import StepSettings

SPECIAL = ("<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<think>", "</think>")
TEXT = "Wait Hmm But no the sum of three and four is seven so we add one more step to it now . ,"
WORDS = [*TEXT.split(), "\n"]
WIDTH = 32
LAYERS = 3
VECTOR_NAMES = ("backtracking", "deduction", "mean", "same-offset", "shuffle-00", "random-00", "random-01")


def from_source() -> dict[str, str]:
    """The environment of a process that is to find this package, installed or not."""
    return {**os.environ, "PYTHONPATH": str(Path(repurpose.__file__).parents[1])}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Build a tokenizer whose every id is a whole word, so that any ids decode to text."""
    pieces = [*SPECIAL, *("Ċ" if w == "\n" else w for w in WORDS), *(f"Ġ{w}" for w in WORDS if w.isalpha())]
    template = (
        "{{ bos_token }}{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
    )
    words = models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token=".")
    return _byte_level(words, template, additional_special_tokens=list(SPECIAL[2:]))


def make_byte_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte, and some words with the space before them, as in Llama 3's vocabulary."""
    pieces = [*SPECIAL[:2], *sorted(pre_tokenizers.ByteLevel.alphabet()), "ĠW", "Wa", "it"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return _byte_level(models.BPE(vocabulary, [("Ġ", "W"), ("W", "a"), ("i", "t")]), "{{ bos_token }}")


def _byte_level(model: models.Model, template: str, **special: Any) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    ends = {"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|end|>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=template, clean_up_tokenization_spaces=False, **ends, **special
    )


def make_model(seed: int = 0, vocabulary: int = 64, **changes: Any) -> LlamaForCausalLM:
    """Build a random Llama with weights large enough that it does not repeat one token."""
    torch.manual_seed(seed)
    options = {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    return LlamaForCausalLM(LlamaConfig(**{**options, **changes})).eval()


BLANK = {"char_start": 0, "char_end": 0, "token_start": 0, "token_end": 0, "text": "", "annotator": "x", "reply": None}
"""Columns of LABELS that vectors do not depend on."""
GRID = {
    "split": "train",
    "prompts": 3,
    "layers": "all",
    "window_starts": "all",
    "magnitudes": {"unit": "dose", "values": [1.0]},
    "max_new_tokens": 6,
    "batch_size": 7,
}
"""The small study's selection sweep."""
SELECTED = Selected(
    layer=1,
    window_start=-3,
    window_length=2,
    magnitude=4.0,
    dose=1.0,
    prompts=3,
    share=0.1,
    backtracking_share=0.2,
    distinct_2=0.9,
    longest_run=2.0,
    unsteered_share=0.01,
    unsteered_backtracking_share=0.02,
    unsteered_distinct_2=0.9,
    rule="the highest",
)
"""A site of the small study."""
StepMaker = Callable[..., StepSettings]
"""Makes the settings of a step: `make_step(step, sections={...}, shard=0)`."""
