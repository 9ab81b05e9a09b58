"""transformers alone: the floors, and what its own options do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.inputs import Extraction, Generation, collect, left_padded, token_table
from benchmarks.worker import Outputs, Runs


def load(folder: Path) -> PreTrainedModel:
    """The model of a folder of inputs, float32."""
    model = AutoModelForCausalLM.from_pretrained(folder / "model").float().eval()
    assert isinstance(model, PreTrainedModel)
    return model


def hidden_states(folder: Path) -> Runs:
    """`output_hidden_states`: every layer of every position is kept, and the head runs."""
    return hidden_runs(load(folder), Extraction.load(folder))


def hidden_runs(model: PreTrainedModel, inputs: Extraction) -> Runs:
    """The same with a model and inputs that are there."""

    def read(ids: Tensor, layers: Sequence[int]) -> Sequence[Tensor]:
        with torch.inference_mode():
            hidden = model(input_ids=ids.to(model.device), output_hidden_states=True, use_cache=False).hidden_states
        return [hidden[layer + 1] for layer in layers]  # the first are the embeddings

    return {run: partial(collect, inputs, run, read) for run in inputs.layers}


def bare_forward(folder: Path) -> Runs:
    """The floor: the layers up to the last that is read, and nothing else is done."""
    return bare_runs(load(folder), Extraction.load(folder))


def bare_runs(model: PreTrainedModel, inputs: Extraction) -> Runs:
    """The same with a model and inputs that are there."""
    decoder: Any = model.base_model
    whole = decoder.layers

    def forward(run: str) -> Outputs:
        decoder.layers = whole[: max(inputs.layers[run]) + 1]
        with torch.inference_mode():
            for batch in inputs.batches:
                decoder(input_ids=inputs.padded(batch).to(model.device), use_cache=False)
        decoder.layers = whole
        return {}

    return {run: partial(forward, run) for run in inputs.layers}


def generation(folder: Path) -> Runs:
    """`generate`: unsteered; with a hook that adds each row's own vector; the same in batches, with ends of texts."""
    model, inputs = load(folder), Generation.load(folder)
    rows = [(condition, prompt) for condition in range(len(inputs.vectors)) for prompt in inputs.prompts]
    prompts, vectors = [prompt for _, prompt in rows], torch.tensor([inputs.vectors[number] for number, _ in rows])

    def steered() -> Outputs:
        with add_after(model, inputs.layer, vectors[:, None]):
            return {"tokens": write(model, prompts, inputs.tokens)}

    def ragged() -> Outputs:
        tokens = np.full((len(rows), inputs.tokens), -1, np.int64)
        for batch in inputs.fixed_batches:
            with add_after(model, inputs.layer, vectors[batch, None]):
                tokens[batch] = write(model, [prompts[row] for row in batch], inputs.tokens, inputs.stop_ids)
        return {"tokens": tokens}

    return {"unsteered": lambda: {"tokens": write(model, prompts, inputs.tokens)}, "steered": steered, "ragged": ragged}


def write(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], tokens: int, stop_ids: Sequence[int] = ()
) -> NDArray[np.int64]:
    """Ids (rows, tokens) that `generate` writes greedily in one batch; -1 from the id that ends a text on."""
    ends = {"eos_token_id": list(stop_ids)} if stop_ids else {"eos_token_id": None}
    given, generator = left_padded(prompts), cast(Any, model)
    with torch.inference_mode():
        ids = generator.generate(**given, max_new_tokens=tokens, do_sample=False, pad_token_id=0, **ends)
    return token_table(ids[:, given["input_ids"].shape[1] :].tolist(), tokens, stop_ids)


def write_by_condition(
    model: PreTrainedModel, inputs: Generation, steered: Callable[[int], AbstractContextManager[object]]
) -> Outputs:
    """Every prompt under each condition, a batch for each, as steering libraries do it."""
    found = []
    for number in range(len(inputs.vectors)):
        with steered(number):
            found.append(write(model, inputs.prompts, inputs.tokens))
    return {"tokens": np.concatenate(found)}


@contextmanager
def add_after(model: PreTrainedModel, layer: int, vectors: Tensor) -> Iterator[None]:
    """Add vectors (b, 1, d) after a layer, at every position, while the block runs."""

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return output + vectors

    decoder: Any = model.base_model
    handle = decoder.layers[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
