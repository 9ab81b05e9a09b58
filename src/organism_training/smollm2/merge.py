"""The reasoning model: the base with its adapter merged in.

    python -m organism_training.smollm2.merge --base DIR --adapter DIR --output DIR

Its chat template is the base model's, and opens the thinking, as those of distilled reasoning models do.
"""

import argparse
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from organism_training.smollm2.chats import THINK

GENERATION = "'<|im_start|>assistant\n'"


def merge(base: Path, adapter: Path, output: Path) -> None:
    """Write base + adapter as a model directory in bfloat16; the sum is taken in float32.

    Raises:
        ValueError: where the base model's template does not begin an answer in the way that is known here.
    """
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    merged.to(torch.bfloat16).save_pretrained(output)
    tokenizer = AutoTokenizer.from_pretrained(base)
    if GENERATION not in tokenizer.chat_template:
        raise ValueError(f"{base}: its chat template has no {GENERATION!r}")
    tokenizer.chat_template = tokenizer.chat_template.replace(GENERATION, GENERATION[:-1] + THINK + "'")
    tokenizer.save_pretrained(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    for name in ("base", "adapter", "output"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    arguments = parser.parse_args()
    merge(arguments.base, arguments.adapter, arguments.output)


if __name__ == "__main__":
    main()
