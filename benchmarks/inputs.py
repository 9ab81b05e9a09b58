"""What contestants are given: plain JSON in a folder, the same for all; this package is not needed to read it.

Legend: b rows of a batch, s positions, w windows, d width.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Read = Callable[[Tensor, Sequence[int]], Sequence[Tensor]]
"""Given ids (b, s), padded on the right, and layers: the residual stream (b, s, d) after each of them."""


class Stored:
    """Inputs that lie in a folder under their class's name."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(**json.loads((folder / f"{cls.__name__}.json").read_text()))

    def save(self, folder: Path) -> None:
        # Every one is a dataclass.
        (folder / f"{type(self).__name__}.json").write_text(json.dumps(asdict(self)))  # type: ignore[call-overload]


@dataclass(frozen=True)
class Extraction(Stored):
    """Texts, windows in them, layers to read."""

    ids: list[list[int]]
    prompt: int
    """How many of each text's ids are the prompt."""
    batch_tokens: int
    """Padded tokens of a batch, at most."""
    batches: list[list[int]]
    """Texts that run side by side, by index: of like length, so that little is padding. The same for all."""
    rollout: list[int]
    """(w,) the text of each window."""
    position: list[int]
    """(w,) the first token of each."""
    length: int
    """Tokens of a window."""
    layers: dict[str, list[int]]
    """Ascending, by the name of the run."""
    width: int

    @property
    def tokens(self) -> int:
        return sum(map(len, self.ids))

    def empty(self, run: str) -> NDArray[np.float32]:
        """Room for the windows' means (layers, w, d)."""
        return np.empty((len(self.layers[run]), len(self.rollout), self.width), np.float32)

    def padded(self, batch: Sequence[int]) -> Tensor:
        """Ids (b, s) of a batch, padded on the right: attention is causal, so no mask is needed."""
        return pad_sequence([torch.tensor(self.ids[index]) for index in batch], batch_first=True)


def collect(inputs: Extraction, run: str, read: Read) -> dict[str, NDArray[Any]]:
    """Means of all windows at all layers of a run, as any user of a library would gather them."""
    out, rollout, position = inputs.empty(run), np.array(inputs.rollout), np.array(inputs.position)
    for batch in inputs.batches:
        hidden = read(inputs.padded(batch), inputs.layers[run])
        slots = np.flatnonzero(np.isin(rollout, batch))
        row = {text: place for place, text in enumerate(batch)}
        rows = torch.tensor([row[text] for text in rollout[slots].tolist()])[:, None]
        columns = torch.from_numpy(position[slots])[:, None] + torch.arange(inputs.length)
        for place, stream in enumerate(hidden):
            out[place, slots] = stream[rows, columns].float().mean(1).cpu().numpy()
    return {"means": out}


@dataclass(frozen=True)
class Generation(Stored):
    """Prompts and conditions: every prompt is continued under every one, greedily."""

    prompts: list[list[int]]
    vectors: list[list[float]]
    """A condition each, (d,): added after one layer, to prompt and generated tokens."""
    layer: int
    tokens: int
    """To write, at most."""
    stop_ids: list[int]
    """Of the ragged run: they end a text."""
    fixed_batches: list[list[int]]
    """Of the ragged run: rows that run side by side where none takes another's place. Row r has condition
    r // prompts and prompt r % prompts."""


def left_padded(prompts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Prompts as `generate` takes them."""
    ids = [torch.tensor(prompt) for prompt in prompts]
    masks = [torch.ones_like(row) for row in ids]
    pads: dict[str, Any] = {"batch_first": True, "padding_side": "left"}
    return {"input_ids": pad_sequence(ids, **pads), "attention_mask": pad_sequence(masks, **pads)}


def token_table(rows: Sequence[Sequence[int]], tokens: int, stop_ids: Sequence[int] = ()) -> NDArray[np.int64]:
    """Ids (rows, tokens), -1 from the id that ends a text on."""
    table, stops = np.full((len(rows), tokens), -1, np.int64), set(stop_ids)
    for row, ids in enumerate(rows):
        for place, token in enumerate(ids):
            if token in stops:
                break
            table[row, place] = token
    return table


@dataclass(frozen=True)
class Storage(Stored):
    """Vectors (layers, windows, d) in float16, which lie beside as `DATA`."""

    layer: int
    """The one that is read."""
    repeats: int
    """How often it is read in a run: once is too short to be measured."""
    DATA: ClassVar[str] = "vectors.npy"

    def read(self, once: Callable[[], NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Read the layer so often; what was read last."""
        for _ in range(self.repeats - 1):
            once()
        return {"layer": once()}


@dataclass(frozen=True)
class Bootstrap(Stored):
    """Windows (w, d) in float16, which lie beside as `DATA`."""

    prompts: list[int]
    """(w,) number of the prompt"""
    labels: list[str]
    """(w,)"""
    resamples: int
    DATA: ClassVar[str] = "windows.npy"
    SEED: ClassVar[int] = 0
