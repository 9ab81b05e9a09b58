"""Tokens per second of the engine beside transformers' own `generate`, in one run; seconds are of CPU time.

    python benchmarks/generation.py [--model resources/organism/reasoning] [--rows 256] [--tokens 128]

Greedy equality of both is asserted first (a near tie of two logits may differ; such rows are counted and shown). Then
three rounds, alternating, best of each. `steered` gives every row a vector of its own at one of the layers; the peer
is a forward hook that adds one vector to the whole batch, as steering libraries do.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, PreTrainedModel

from repurpose.model.engines import Request, Sampling
from repurpose.model.engines.transformers import TransformersEngine
from repurpose.model.hooks import change_layers, decoder_layers
from repurpose.model.steer import Steer

TEMPERATURE = 0.7


def make_requests(model: PreTrainedModel, rows: int, lengths: tuple[int, int], steered: bool) -> list[Request]:
    """Random prompts of the given lengths; unit vectors at layers in turn where steered."""
    rng, layers = random.Random(0), len(decoder_layers(model))
    generator = np.random.default_rng(0)
    requests = []
    for row in range(rows):
        ids = [rng.randrange(8, model.config.vocab_size) for _ in range(rng.randint(*lengths))]
        unit = generator.standard_normal(model.config.hidden_size).astype(np.float32)
        unit /= np.linalg.norm(unit)
        requests.append(Request(ids, row, Steer("x", "add", row % layers, 2.0, unit) if steered else None))
    return requests


def peer(model: PreTrainedModel, requests: list[Request], tokens: int, greedy: bool) -> Tensor:
    """`generate` on the same prompts, padded on the left; ids (rows, tokens)."""
    prompts = [torch.tensor(request.prompt_ids) for request in requests]
    ids = pad_sequence(prompts, batch_first=True, padding_side="left")
    mask = pad_sequence([torch.ones_like(p) for p in prompts], batch_first=True, padding_side="left")
    sampling = {"do_sample": False} if greedy else {"do_sample": True, "temperature": TEMPERATURE, "top_k": 0}
    out = model.generate(
        ids, attention_mask=mask, max_new_tokens=tokens, eos_token_id=None, pad_token_id=0, use_cache=True, **sampling
    )
    return out[:, ids.shape[1] :]


def peer_steered(model: PreTrainedModel, requests: list[Request], tokens: int) -> Tensor:
    steer = requests[0].steer
    assert steer is not None and steer.direction is not None
    vector = torch.from_numpy(steer.direction) * steer.magnitude
    with change_layers(model, [steer.layer], lambda _, hidden: hidden + vector):
        return peer(model, requests, tokens, False)


def best_seconds(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Best time of each call, the calls taking turns: of the CPU, so that other jobs on the machine do not count, or of
    the clock where there is a GPU."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            call()
            best[name] = min(best[name], clock() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resources/organism/reasoning")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    stock = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    ours = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    engine = TransformersEngine(ours, [], arguments.rows)
    plain = make_requests(ours, arguments.rows, (30, 45), False)
    steered = make_requests(ours, arguments.rows, (30, 45), True)
    greedy = [done.token_ids for done in engine.generate(plain, Sampling(0, arguments.tokens))]
    same = sum(a == b for a, b in zip(greedy, peer(stock, plain, arguments.tokens, True).tolist(), strict=True))
    assert same >= 0.95 * len(plain), f"only {same} of {len(plain)} greedy rows equal"
    sampling = Sampling(TEMPERATURE, arguments.tokens)
    seconds = best_seconds(
        {
            "ours": lambda: engine.generate(plain, sampling),
            "generate": lambda: peer(stock, plain, arguments.tokens, False),
            "ours, steered": lambda: engine.generate(steered, sampling),
            "generate + hook": lambda: peer_steered(stock, steered, arguments.tokens),
        },
        arguments.rounds,
    )
    total = arguments.rows * arguments.tokens
    lines = [f"{same} of {len(plain)} greedy rows equal; {arguments.rows} rows x {arguments.tokens} tokens"]
    lines += [f"{name:16} {total / s:8.0f} tokens/s" for name, s in seconds.items()]
    lines.append(f"ratio {seconds['generate'] / seconds['ours']:.2f}, steered "
                 f"{seconds['generate + hook'] / seconds['ours, steered']:.2f}")  # fmt: skip
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
