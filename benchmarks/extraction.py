"""Tokens per second of the activation reader beside its floor and its peers, in one run; seconds are of CPU time.

    python benchmarks/extraction.py [--model resources/organism/base] [--rollouts 200]

Floor: the same batches through a bare forward pass to the last layer that is read, without the head. Peer:
transformers' `output_hidden_states` in batches as they come, padded, then sliced. Equality of the pooled windows with
the peer is asserted.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import Any

import numpy as np
import torch
from generation import best_seconds
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, PreTrainedModel

from repurpose.directions.activations import TokenSequence, Windows, read_windows
from repurpose.model.batches import batches_by_tokens
from repurpose.model.hooks import decoder_layers, read_layers

PROMPT, LENGTH = 38, 6
STARTS = (-20, -16, -13, -9, -6, -4, 0)
PEER_ROWS = 16


def make_shard(model: PreTrainedModel, rollouts: int) -> tuple[list[TokenSequence], Windows]:
    """Random ids of varied lengths with a sentence every 12 tokens."""
    rng = random.Random(0)
    sequences, rows, positions = [], [], []
    for row in range(rollouts):
        length = PROMPT + rng.randint(60, 280)
        sequences.append(TokenSequence([rng.randrange(8, model.config.vocab_size) for _ in range(length)], PROMPT))
        for start in range(PROMPT + 20, length - LENGTH, 12):
            positions += [start + offset for offset in STARTS]
            rows += [row] * len(STARTS)
    return sequences, Windows(np.array(rows), np.array(positions), LENGTH)


def padded(sequences: list[TokenSequence]) -> dict[str, torch.Tensor]:
    ids = [torch.tensor(sequence.ids) for sequence in sequences]
    masks = [torch.ones_like(row) for row in ids]
    return {"input_ids": pad_sequence(ids, True), "attention_mask": pad_sequence(masks, True)}


def floor(model: PreTrainedModel, sequences: list[TokenSequence], layers: list[int], batch_tokens: int) -> None:
    for batch in batches_by_tokens([len(s.ids) for s in sequences], batch_tokens):
        ids = padded([sequences[i] for i in batch])["input_ids"]
        read_layers(model, layers[-1:], lambda *_: None, input_ids=ids)


@torch.inference_mode()
def peer(model: PreTrainedModel, sequences: list[TokenSequence], windows: Windows, layers: list[int], out: Any) -> None:
    """`output_hidden_states`, sixteen rollouts at a time in the order they come."""
    for first in range(0, len(sequences), PEER_ROWS):
        inputs = padded(sequences[first : first + PEER_ROWS])
        hidden = model(**inputs, output_hidden_states=True).hidden_states
        slots = np.flatnonzero((windows.rollout >= first) & (windows.rollout < first + PEER_ROWS))
        for slot in slots:
            at = windows.position[slot]
            for number, layer in enumerate(layers):
                window = hidden[layer + 1][windows.rollout[slot] - first, at : at + LENGTH]
                out[number, slot] = window.mean(0).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resources/organism/base")
    parser.add_argument("--rollouts", type=int, default=200)
    parser.add_argument("--batch-tokens", type=int, default=16384)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    sequences, windows = make_shard(model, arguments.rollouts)
    # transformers' last hidden state stands after the final norm, so the peer cannot give the last layer.
    layers = list(range(len(decoder_layers(model)) - 1))
    ours, theirs = (np.empty((len(layers), len(windows.rollout), model.config.hidden_size), np.float32) for _ in "ab")
    limit = arguments.batch_tokens
    seconds = best_seconds(
        {
            "ours": lambda: read_windows(model, sequences, windows, layers, limit, ours, lambda _: None),
            "bare forward": lambda: floor(model, sequences, layers, limit),
            "hidden states": lambda: peer(model, sequences, windows, layers, theirs),
        },
        arguments.rounds,
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-3, rtol=1e-4)
    total = sum(len(s.ids) for s in sequences)
    lines = [f"{len(sequences)} rollouts, {total} tokens, {len(windows.rollout)} windows, layers {layers}: equal"]
    lines += [f"{name:14} {total / s:8.0f} tokens/s" for name, s in seconds.items()]
    lines.append(f"of the floor {seconds['bare forward'] / seconds['ours']:.2f}, of the peer "
                 f"{seconds['hidden states'] / seconds['ours']:.2f}")  # fmt: skip
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
