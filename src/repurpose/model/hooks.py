"""Capture and steer the residual stream: the only place that knows what a decoder layer returns.

The site `resid_post[l]` is the output of decoder layer l (0-based), before the final norm. transformers 5
layers return that tensor, older ones a tuple that begins with it.

Legend: b rows, s positions, d width, r steered rows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from repurpose.model.steer import Operation, Steer, change_of, draw_noise, is_lost, noise_generator

OnLayer = Callable[[int, Tensor], None]
"""Receives (layer, residual stream (b, s, d)); must not keep the tensor, which later kernels may overwrite."""
Change = Callable[[int, Tensor], Tensor | None]
"""Receives (layer, residual stream (b, s, d)); returns what replaces it, or None to leave it."""


class HookError(RuntimeError):
    """A model's layers are not known, or an operation does not fit them; the message is one line."""


class SteeringError(RuntimeError):
    """A row was not steered at the positions where it should have been; the message is one line."""


class _LastLayerReached(Exception):
    """Ends a forward pass after the last layer that is needed."""


LAYER_LISTS = ("model.layers", "layers", "model.language_model.layers", "gpt_neox.layers", "transformer.h")
"""Where a causal model keeps its decoder layers: as Llama does, bare, beside an image encoder, GPT-NeoX, GPT-2."""
ATTENTION = ("self_attn", "attention", "attn")
"""What each of those layers calls its attention."""
ATTENTION_KINDS = {"full_attention", "sliding_attention"}


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder layers of a model of transformers or vLLM, where they lie in a known place and all of them attend.

    Raises:
        HookError: for any other architecture, by name, or where only some are there (vLLM's pipeline parallelism).
    """
    found = (_submodule(model, place) for place in LAYER_LISTS)
    layers = next((one for one in found if isinstance(one, nn.ModuleList)), None)
    if layers is None or not all(any(hasattr(layer, name) for name in ATTENTION) for layer in layers):
        raise HookError(f"{type(model).__name__}: its decoder layers are not known")
    unknown = attention_kinds(model.config) - ATTENTION_KINDS
    if unknown:
        raise HookError(f"{type(model).__name__}: layers of {', '.join(sorted(unknown))} are not supported")
    return layers


def _submodule(model: nn.Module, place: str) -> object:
    """What lies at a dotted place of a model, or None."""
    found: object = model
    for name in place.split("."):
        found = getattr(found, name, None)
    return found


def attention_kinds(config: Any) -> set[str]:
    """The kinds of attention that a model's layers have, as its configuration names them."""
    return set(getattr(config.get_text_config(), "layer_types", None) or ["full_attention"])


def sliding_window(config: Any) -> int | None:
    """Tokens that a layer with sliding attention sees, itself included; None where no layer slides.

    Mistral, Phi-3 and Starcoder 2 slide in every layer and name no kinds; others name those that do.
    """
    text = config.get_text_config()
    named = getattr(text, "layer_types", None)
    slides = named is None or "sliding_attention" in named
    return getattr(text, "sliding_window", None) if slides else None


def hidden_of(output: Tensor | tuple[Any, ...]) -> Tensor:
    """Return the residual stream (b, s, d) from what a decoder layer returned."""
    hidden = output[0] if isinstance(output, tuple) else output
    if not isinstance(hidden, Tensor) or hidden.ndim != 3:
        raise HookError(f"a decoder layer returned {type(output).__name__}, not (rows, positions, width)")
    return hidden


@contextmanager
def change_layers(model: nn.Module, layers: Sequence[int], change: Change) -> Iterator[None]:
    """Let `change` replace resid_post at the given layers while the block runs."""
    modules = decoder_layers(model)

    def hook(layer: int, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        changed = change(layer, hidden_of(output))
        return (changed, *output[1:]) if changed is not None and isinstance(output, tuple) else changed

    with ExitStack() as stack:
        for layer in sorted(set(layers)):
            if not 0 <= layer < len(modules):
                raise HookError(f"layer {layer} is not in the model; 0 to {len(modules) - 1} are")
            stack.callback(modules[layer].register_forward_hook(partial(hook, layer)).remove)
        yield


def read_layers(model: nn.Module, layers: Sequence[int], on_layer: OnLayer, **inputs: Any) -> None:
    """Run a forward pass, hand each asked layer's residual stream to `on_layer`, stop after the last of them.

    Neither the layers above nor the language-model head run; keys and values are kept where the inputs ask for it.
    """
    last = max(layers)

    def look(layer: int, hidden: Tensor) -> None:
        on_layer(layer, hidden)
        if layer == last:
            raise _LastLayerReached

    with change_layers(model, layers, look), torch.inference_mode():
        try:
            getattr(model, "base_model", model)(**{"use_cache": False, **inputs})
        except _LastLayerReached:
            return
    raise HookError(f"layer {last} did not run")


@dataclass(frozen=True)
class _Group:
    """Rows of one batch that share an operation and a layer."""

    operation: Operation
    places: Tensor  # (r,) of its rows in the batch
    vectors: Tensor  # (r, 1, d) float32, see `Steer.vector`; empty for `noise` and `self`
    magnitudes: Tensor  # (r, 1, 1) float32
    generators: list[np.random.Generator]  # each row's source of noise


class BatchSteering:
    """Steers the rows of one batch, each by its own operation, and counts where it did.

    `positions(real, generated)` must be called before each forward pass. A position counts when its residual
    stream came out different, so the count proves the steering instead of repeating the plan; or where `is_lost` says
    that rounding leaves nothing of the change.
    """

    def __init__(
        self,
        steers: Sequence[Steer | None],
        seeds: Sequence[int],
        model: PreTrainedModel,
        held: Sequence[int] | None = None,
    ) -> None:
        """Of rows with these plans and seeds; `held` are in the batch at first, all where it is None (see `hold`)."""
        self.steers, self.device, self.layers = list(steers), model.device, len(decoder_layers(model))
        for steer in steers:
            check_steer(steer, self.layers)
        noisy = [row for row, steer in enumerate(steers) if steer is not None and steer.operation == "noise"]
        self._generators = {row: noise_generator(seeds[row]) for row in noisy}
        self._counts = torch.zeros(self.layers, len(steers), dtype=torch.int64, device=self.device)
        self.steered_layers = sorted({layer for steer in steers if steer for layer in steer.layers(self.layers)})
        """Layers at which any row is steered."""
        self._rows: list[int] | None = None
        self.hold(range(len(steers)) if held is None else held)

    def hold(self, rows: Sequence[int]) -> None:
        """Say which of the rows are in the next forward passes' batch, in its order."""
        if self._rows == list(rows):
            return  # at most tokens nobody comes or leaves
        self._rows, self._index = list(rows), torch.tensor(rows, dtype=torch.int64, device=self.device)
        places: dict[tuple[Operation, Sequence[int]], list[int]] = {}
        generated_only = []
        for place, row in enumerate(rows):
            steer = self.steers[row]
            if steer is not None:
                places.setdefault((steer.operation, steer.layers(self.layers)), []).append(place)
            generated_only.append(steer is not None and steer.positions == "generated")
        self._generated_only = torch.tensor(generated_only, dtype=torch.bool, device=self.device)[:, None]
        self.groups: dict[int, list[_Group]] = {}
        """By layer."""
        for (operation, layers), members in places.items():
            group = self._make_group(operation, members, rows)
            for layer in layers:
                self.groups.setdefault(layer, []).append(group)

    def _make_group(self, operation: Operation, places: list[int], batch: Sequence[int]) -> _Group:
        rows = [batch[place] for place in places]
        steers = [steer for row in rows if (steer := self.steers[row]) is not None]
        vectors = np.array([steer.vector for steer in steers if steer.vector is not None], np.float32)
        magnitudes = torch.tensor([steer.magnitude for steer in steers], dtype=torch.float32, device=self.device)
        return _Group(
            operation,
            torch.tensor(places, device=self.device),
            torch.from_numpy(vectors)[:, None].to(self.device),
            magnitudes[:, None, None],
            [self._generators[row] for row in rows if operation == "noise"],
        )

    def positions(self, real: Tensor, generated: Tensor) -> None:
        """Say which positions of the next forward pass are real and which of them were generated.

        Args:
            real: (b, s) bool, false at padding and for rows that are done.
            generated: (b, s) or (1, 1) bool, true at tokens that the model itself wrote.
        """
        self._mask = real & (generated | ~self._generated_only)

    def change(self, layer: int, hidden: Tensor) -> Tensor | None:
        """Return the steered residual stream (b, s, d) of one layer and count the positions that changed."""
        groups = self.groups.get(layer)
        if not groups:
            return None
        steered = hidden.clone()
        for group in groups:
            before, mask = hidden[group.places], self._mask[group.places]
            after = torch.where(mask[..., None], _apply(group, before, mask), before)
            steered[group.places] = after
            changed = (after != before).any(-1)
            if group.operation != "add":
                lost = is_lost(group.operation, before.float(), group.vectors, group.magnitudes, before.dtype)
                changed |= mask & lost
            self._counts[layer].index_add_(0, self._index[group.places], changed.sum(1))
        return steered

    def share(self, read: Sequence[int], rows: Sequence[int]) -> None:
        """Count for new `rows` what was counted at those that were read in their place, one for each."""
        self._counts[:, list(rows)] = self._counts[:, list(read)]

    def counted(self, rows: Sequence[int] | None = None) -> list[int]:
        """Steered positions of some rows, or of all; a SteeringError where an ablation missed some layers."""
        totals, rows = [], range(len(self.steers)) if rows is None else rows
        for row, by_layer in zip(rows, self._counts[:, list(rows)].T.tolist(), strict=True):
            steer = self.steers[row]
            if steer is not None and steer.operation == "ablate" and len(set(by_layer)) > 1:
                raise SteeringError(f"condition {steer.condition}, row {row}: ablated positions by layer {by_layer}")
            totals.append(0 if steer is None else by_layer[steer.layer])
        return totals


def check_steer(steer: Steer | None, layers: int) -> None:
    """Refuse what cannot be done in a model of so many layers, by a HookError that names the condition."""
    if steer is None:
        return
    if not 0 <= steer.layer < layers:
        raise HookError(f"condition {steer.condition}: no layer {steer.layer}; 0 to {layers - 1} are")
    if steer.operation in ("add", "ablate"):
        norm = 0.0 if steer.direction is None else float(np.linalg.norm(steer.direction))
        if not abs(norm - 1) < 1e-4:
            raise HookError(f"condition {steer.condition}: its direction has norm {norm:.4g}, not 1")
    if steer.operation != "ablate" and steer.magnitude == 0:
        raise HookError(f"condition {steer.condition}: magnitude 0 is no steering; leave the row unsteered")


def _apply(group: _Group, hidden: Tensor, mask: Tensor) -> Tensor:
    """Apply a group's operation to its rows (r, s, d); `mask` (r, s) says where it will count."""
    if group.operation == "add":
        return hidden + group.vectors.to(hidden.dtype)
    stream = hidden.float()
    noise = _noise(group, mask, hidden.shape[-1]) if group.operation == "noise" else stream
    change = change_of(group.operation, stream, group.vectors, group.magnitudes, noise)
    return (stream + change).to(hidden.dtype)


def _noise(group: _Group, mask: Tensor, width: int) -> Tensor:
    """Unit directions (r, s, d), drawn at masked positions only: a row's noise knows no padding or batch."""
    noise = torch.zeros(*mask.shape, width)
    for row, (generator, at) in enumerate(zip(group.generators, mask.cpu(), strict=True)):
        noise[row, at] = draw_noise(generator, int(at.sum()), width)
    return noise.to(group.magnitudes.device)


def steer(model: nn.Module, steering: BatchSteering) -> AbstractContextManager[None]:
    """Steer every forward pass inside the block."""
    return change_layers(model, steering.steered_layers, steering.change)


def check_counts(steers: Sequence[Steer | None], counted: Sequence[int], expected: Sequence[int]) -> None:
    """Raise a SteeringError that names the first row that was not steered at as many positions as expected."""
    for row, (plan, count, wanted) in enumerate(zip(steers, counted, expected, strict=True)):
        if count != wanted:
            name = "unsteered" if plan is None else plan.condition
            raise SteeringError(f"condition {name}, row {row}: steered at {count} of {wanted} positions")
