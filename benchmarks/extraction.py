"""Activations at one layer and at all of them, in tokens read a second.

    python -m benchmarks.extraction --shape llama-3.1-8b --device cuda --dtype bfloat16 --texts 256 --longest 1000
        --batch-tokens 16384 --product 16384

measures this project's reader and its floor alone, in one process, on one device, with random weights that are made
there: tokens a second, the share of the speed that a large product of matrices reaches, and the peak of memory. The
share counts the layers' matrices, not attention. The table beside peers is part of `make bench`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks.environments import place_of
from benchmarks.inputs import Extraction
from benchmarks.ours import extraction_runs
from benchmarks.peers.transformers import bare_runs, hidden_runs
from benchmarks.race import Entry, Table
from benchmarks.shapes import SHAPES, Shape, make_model, save_model
from benchmarks.worker import Outputs, forget_peak, peak_memory
from repurpose.model.batches import batches_by_tokens

PROMPT, LENGTH, EVERY = 38, 6, 12
STARTS = (-20, -16, -13, -9, -6, -4, 0)
OURS = "ours"


def make_inputs(shape: Shape, texts: int, longest: int, batch_tokens: int, layer: int) -> Extraction:
    """Random ids of varied lengths, with a sentence every 12 tokens and windows before each of them.

    Of all layers the last is left out: transformers' last hidden state stands after the final norm.
    """
    rng = random.Random(0)
    lengths = [PROMPT + rng.randint(longest // 4, longest) for _ in range(texts)]
    ids = [[rng.randrange(8, shape.vocabulary) for _ in range(length)] for length in lengths]
    places = [
        (text, start + offset)
        for text, length in enumerate(lengths)
        for start in range(PROMPT + 20, length - LENGTH, EVERY)
        for offset in STARTS
    ]
    return Extraction(
        ids=ids,
        prompt=PROMPT,
        batch_tokens=batch_tokens,
        batches=list(batches_by_tokens(lengths, batch_tokens)),
        rollout=[text for text, _ in places],
        position=[position for _, position in places],
        length=LENGTH,
        layers={"one layer": [layer], "all layers": list(range(shape.layers - 1))},
        width=shape.width,
    )


def write_inputs(folder: Path, shape: Shape, texts: int, longest: int, batch_tokens: int, layer: int) -> Extraction:
    """Write model and inputs to a folder."""
    save_model(folder / "model", shape)
    inputs = make_inputs(shape, texts, longest, batch_tokens, layer)
    inputs.save(folder)
    return inputs


def tables(inputs: Extraction, shape: Shape) -> list[Table]:
    """A table for each run."""
    about = f"{len(inputs.ids)} texts of {inputs.tokens:,} tokens, {len(inputs.rollout):,} windows of {LENGTH}"
    layer, last = inputs.layers["one layer"][0], inputs.layers["all layers"][-1]
    titles = {
        "one layer": f"Extraction at layer {layer} of {shape.layers}",
        "all layers": f"Extraction at layers 0 to {last} of {shape.layers}",
    }
    return [
        Table(run.replace(" ", "-"), title, f"{about}.", inputs.tokens, "tokens", entries(run), check)
        for run, title in titles.items()
    ]


def entries(run: str) -> list[Entry]:
    """The floor, ours, the peers."""
    alone = "benchmarks.peers.transformers"
    peers = {
        "nnsight, `tracer.stop`": "nnsight",
        "TransformerLens, `stop_at_layer`": "transformer-lens",
        "steering-vectors, `record_activations`": "steering-vectors",
    }
    return [
        Entry("bare forward pass to that layer", "floor", f"{alone}:bare_forward", run),
        Entry(OURS, "ours", "benchmarks.ours:extraction", run),
        Entry("transformers, `output_hidden_states`", "peer", f"{alone}:hidden_states", run),
        *(Entry(label, "peer", f"{place_of(peer)}:extraction", run, peer) for label, peer in peers.items()),
    ]


def check(outputs: Mapping[str, Outputs]) -> str:
    """Hold every other's means against ours."""
    ours, largest = outputs[OURS]["means"], 0.0
    others = {label: found["means"] for label, found in outputs.items() if label != OURS and "means" in found}
    for label, means in others.items():
        np.testing.assert_allclose(means, ours, atol=1e-3, rtol=1e-4, err_msg=label)
        largest = max(largest, float(np.abs(means - ours).max()))
    size = float(np.sqrt(np.square(ours).mean()))
    told = f"to {largest:.0e} at most (their size is {size:.2f})"
    return f"the means of all windows are ours in {len(others)} others, {told}"


class Device:
    """Where the script measures: its clock, its peak of memory, its fastest product of matrices."""

    def __init__(self, name: str) -> None:
        self.name, self.is_gpu = name, name.startswith("cuda")

    def seconds(self, call: Callable[[], object]) -> float:
        """Seconds of a call: of the clock on a GPU, of the processor on a CPU, where other jobs do not count."""
        clock = time.perf_counter if self.is_gpu else time.process_time
        self.wait()
        start = clock()
        call()
        self.wait()
        return clock() - start

    def wait(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize()

    def forget_peak(self) -> None:
        if self.is_gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            forget_peak()

    def peak_gb(self) -> float:
        """The most memory since it was last forgotten: of the GPU, or of this process."""
        return torch.cuda.max_memory_allocated() / 1e9 if self.is_gpu else peak_memory() / 1e3

    def product_flops(self, dtype: torch.dtype, size: int, rounds: int) -> float:
        """Operations a second that a product of square matrices reaches: the best of some rounds, after one more."""
        one, other = (torch.randn(size, size, device=self.name, dtype=dtype) for _ in "ab")
        seconds = [self.seconds(lambda: one @ other) for _ in range(rounds + 1)]
        return 2 * size**3 / min(seconds[1:])


def measure_alone(shape: Shape, device: Device, dtype: torch.dtype, sizes: argparse.Namespace) -> list[str]:
    """Lines that say how fast this project's reader is beside its floor, after its means were compared."""
    inputs = make_inputs(shape, sizes.texts, sizes.longest, sizes.batch_tokens, sizes.layer)
    model = make_model(shape, device=device.name, dtype=dtype)
    ours, bare = extraction_runs(model, inputs), bare_runs(model, inputs)
    lines = [
        f"{len(inputs.ids)} texts, {inputs.tokens:,} tokens, {len(inputs.rollout):,} windows, {dtype}, {device.name}"
    ]
    lines.append(check_alone(ours["one layer"](), hidden_runs(model, inputs)["one layer"]()))
    reached = device.product_flops(dtype, sizes.product, sizes.rounds)
    lines.append(f"a product of {sizes.product} x {sizes.product} matrices: {reached / 1e12:.3g} TFLOP/s")
    for run, layers in inputs.layers.items():
        for name, runs in (("bare forward", bare), ("ours", ours)):
            device.forget_peak()
            seconds = statistics.median(device.seconds(runs[run]) for _ in range(sizes.rounds))
            share = shape.flops(layers[-1] + 1) * inputs.tokens / seconds / reached
            told = f"{inputs.tokens / seconds:10,.0f} tokens/s {share:6.0%} of the product's speed"
            lines.append(f"layers {layers[0]} to {layers[-1]:3} {name:13} {told} {device.peak_gb():7.2f} GB at most")
    return lines


def check_alone(ours: Outputs, theirs: Outputs) -> str:
    """Hold our means against those of `output_hidden_states` in the same dtype, batches and device."""
    np.testing.assert_allclose(ours["means"], theirs["means"], atol=1e-3, rtol=1e-2)
    return f"equal to output_hidden_states: {ours['means'].size:,} numbers"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="eighth", help="of the random model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--longest", type=int, default=240, help="generated tokens of the longest text")
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--layer", type=int, default=10)
    parser.add_argument("--product", type=int, default=2048, help="rows of the matrices whose product is the measure")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    if chosen.device == "cpu":
        torch.set_num_threads(1)
    lines = measure_alone(SHAPES[chosen.shape], Device(chosen.device), getattr(torch, chosen.dtype), chosen)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
