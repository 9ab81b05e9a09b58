"""Random models: shapes of Llamas, their weights drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True)
class Shape:
    """What of a Llama decides its speed."""

    layers: int
    width: int
    inner_width: int
    """Of the feed-forward part."""
    heads: int
    key_value_heads: int
    vocabulary: int

    def flops(self, layers: int) -> int:
        """Multiplications and additions of the matrices of some layers, for one token; attention is not counted."""
        attention = 2 * self.width * (self.width + self.width * self.key_value_heads // self.heads)
        return 2 * layers * (attention + 3 * self.width * self.inner_width)


LLAMA_8B = Shape(32, 4096, 14336, 32, 8, 128256)
EIGHTH = Shape(32, 512, 1792, 8, 2, 16032)
"""Llama-3.1-8B with every width an eighth: its head, too, costs as much as 2.4 layers."""
TINY = Shape(2, 64, 128, 4, 2, 256)
"""For tests."""
SHAPES = {"llama-3.1-8b": LLAMA_8B, "eighth": EIGHTH, "tiny": TINY}


def make_model(
    shape: Shape,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    layers: int | None = None,
    positions: int = 8192,
) -> LlamaForCausalLM:
    """A random Llama, its weights drawn on the device; `layers`: only so many of the shape's.

    The weights' variance is one over the width, so that a layer changes the stream as much as a trained one does.
    """
    shape = replace(shape, layers=layers or shape.layers)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner_width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=positions,
        initializer_range=shape.width**-0.5,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model: LlamaForCausalLM = LlamaForCausalLM(config).eval()
            return model
    finally:
        torch.set_default_dtype(before)


def save_model(folder: Path, shape: Shape, layers: int | None = None) -> None:
    """Write a random model as safetensors, with a tokenizer: some libraries open none without."""
    make_model(shape, layers=layers).save_pretrained(folder)
    special = {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "pad", "unk")}
    words = {word: number for number, word in enumerate([*special.values(), "word"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
