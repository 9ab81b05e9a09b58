"""Steering inside vLLM's worker: hooks on its decoder layers, one plan for each forward pass, counted positions.

Runs in the process that holds the model (with tensor parallelism in each of them: the residual stream is whole on
every card, so all do the same). Three facts about vLLM 0.32 that this module rests on, and tests hold:

- A decoder layer returns (hidden, residual), and the residual stream is their SUM. Later kernels write into both, so
  what is steered is a clone of the first; the second is never touched.
- Which request a token belongs to is told by the runner's own batch (`input_batch`, `query_start_loc`), which is not a
  public interface: where its parts are missing, steering refuses to start.
- Compiled layers do not call hooks. Nothing here can see that; the count of steered positions does.

Legend: n steered tokens of a forward pass, d width, c conditions, r rows (requests), t tokens of a forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from repurpose.model.hooks import HookError
from repurpose.model.operations import change_of, draw_noise, is_removed, noise_generator
from repurpose.model.steer import Operation, Steer

ROW = "repurpose_row"
"""Key of a request's row in the extra arguments of its sampling parameters."""
RUNNER_PARTS = ("input_batch", "query_start_loc", "requests")
BATCH_PARTS = ("req_ids", "num_computed_tokens_cpu", "num_reqs")
EVERY_LAYER = -1


@dataclass(frozen=True, eq=False)
class Plan:
    """What one call steers; plain arrays, because they may travel to other processes."""

    operations: list[Operation]
    """By condition."""
    layers: NDArray[np.int64]
    """(c,); EVERY_LAYER for ablation."""
    magnitudes: NDArray[np.float32]
    """(c,) L2 norms."""
    vectors: NDArray[np.float32]
    """(c, d): the vector to add, or the unit direction to ablate; 0 for noise and self-amplification."""
    conditions: NDArray[np.int64]
    """(r,) condition of each row, -1 for an unsteered one."""
    first: NDArray[np.int64]
    """(r,) first position that is steered: 0, or the prompt's length."""
    seeds: list[int]
    """By row."""
    length: int
    """Positions of the longest row."""


def make_plan(
    steers: Sequence[Steer | None], prompt_lengths: Sequence[int], seeds: Sequence[int], length: int, width: int
) -> Plan:
    """Lay out the steering of rows; rows that share a `Steer` share a condition."""
    distinct = list({id(steer): steer for steer in steers if steer is not None}.values())
    number = {id(steer): index for index, steer in enumerate(distinct)}
    vectors = np.zeros((len(distinct), width), np.float32)
    for index, steer in enumerate(distinct):
        if steer.direction is not None:
            vectors[index] = steer.direction * (steer.magnitude if steer.operation == "add" else 1.0)
    lengths = zip(steers, prompt_lengths, strict=True)
    return Plan(
        operations=[steer.operation for steer in distinct],
        layers=np.array([EVERY_LAYER if s.operation == "ablate" else s.layer for s in distinct], np.int64),
        magnitudes=np.array([steer.magnitude for steer in distinct], np.float32),
        vectors=vectors,
        conditions=np.array([-1 if steer is None else number[id(steer)] for steer in steers], np.int64),
        first=np.array([0 if s is None or s.positions == "all" else prompt for s, prompt in lengths], np.int64),
        seeds=list(seeds),
        length=length,
    )


@dataclass
class _Group:
    """Tokens of one forward pass that share an operation and the layer (or all layers) where it is done."""

    operation: Operation
    tokens: Tensor
    """(n,) places in the pass."""
    conditions: Tensor
    """(n,)"""
    rows: Tensor
    """(n,)"""
    positions: Tensor
    """(n,) places in each row's text."""
    noise: Tensor
    """(n, d), empty for other operations."""


class WorkerSteering:
    """Steers every forward pass of one worker's model until it is removed."""

    def __init__(self, runner: Any, plan: Plan) -> None:
        _check_runner(runner)
        self.runner, self.plan = runner, plan
        layers = vllm_layers(runner.get_model())
        self.layers, device = len(layers), runner.device
        self.dtype: torch.dtype = runner.model_config.dtype
        self._vectors = torch.from_numpy(plan.vectors).to(device)
        self._magnitudes = torch.from_numpy(plan.magnitudes)[:, None].to(device)
        self._marks = torch.zeros(len(plan.seeds), plan.length, dtype=torch.int16, device=device)
        """Layers at which each position of each row was last steered."""
        self._noise: dict[int, tuple[np.random.Generator, int]] = {}
        self._groups: dict[int, list[_Group]] = {}
        kinds = sorted({(operation, int(at)) for operation, at in zip(plan.operations, plan.layers, strict=True)})
        self._kinds = kinds
        self._kind = np.array([kinds.index((o, int(at))) for o, at in zip(plan.operations, plan.layers, strict=True)])
        steered = range(len(layers)) if any(at == EVERY_LAYER for _, at in kinds) else {at for _, at in kinds}
        self._tokens = 0
        """Of the forward pass under way."""
        self._handles: list[Any] = []
        self._targets = [(layers[at], at) for at in sorted(steered)]
        self._first = layers[0]

    def install(self) -> None:
        """Put the hooks in."""
        self._handles.append(self._first.register_forward_pre_hook(self._begin))
        for layer, at in self._targets:
            self._handles.append(layer.register_forward_hook(partial(self._after, at)))

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def counted(self, rows: Sequence[int]) -> list[int]:
        """Positions of these rows whose residual stream came out different at every layer where it should."""
        index = torch.tensor(list(rows), dtype=torch.int64, device=self._marks.device)
        conditions = self.plan.conditions[np.asarray(rows, np.int64)]
        needed = [self.layers if c >= 0 and self.plan.layers[c] == EVERY_LAYER else 1 for c in conditions]
        whole = self._marks[index] == torch.tensor(needed, device=index.device)[:, None]
        counts: list[int] = whole.sum(1).tolist()
        return counts

    def _begin(self, _module: nn.Module, _inputs: Any) -> None:
        """Lay out the pass that begins: which of its tokens are steered, and how."""
        self._groups = {}
        batch = self.runner.input_batch
        count: int = batch.num_reqs
        starts = self.runner.query_start_loc.np[: count + 1].astype(np.int64)
        rows = np.array([self._row(name) for name in batch.req_ids[:count]], np.int64)
        computed = np.asarray(batch.num_computed_tokens_cpu[:count], np.int64)
        sizes = np.diff(starts)
        self._tokens = int(sizes.sum())
        conditions = np.append(self.plan.conditions, -1)[rows]
        token_rows = np.repeat(rows, sizes)
        positions = np.arange(self._tokens) + np.repeat(computed - starts[:-1], sizes)
        token_conditions = np.repeat(conditions, sizes)
        first = np.append(self.plan.first, 0)[token_rows]
        tokens = np.flatnonzero((token_conditions >= 0) & (positions >= first))
        if len(tokens):
            self._lay_out(tokens, token_conditions[tokens], token_rows[tokens], positions[tokens])

    def _row(self, name: str) -> int:
        """Row of a request; -1, which is unsteered, for those of vLLM itself."""
        request = self.runner.requests.get(name)
        extra = getattr(getattr(request, "sampling_params", None), "extra_args", None) or {}
        return int(extra.get(ROW, -1))

    def _lay_out(
        self,
        tokens: NDArray[np.int64],
        conditions: NDArray[np.int64],
        rows: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> None:
        kinds, device = self._kind[conditions], self._marks.device
        for kind in np.unique(kinds):
            (operation, layer), at = self._kinds[kind], kinds == kind
            noise = self._draw(rows[at], positions[at]) if operation == "noise" else torch.empty(0)
            parts = [torch.from_numpy(part[at]).to(device) for part in (tokens, conditions, rows, positions)]
            group = _Group(operation, *parts, noise.to(device))  # type: ignore[call-arg]
            for each in range(self.layers) if layer == EVERY_LAYER else (layer,):
                self._groups.setdefault(each, []).append(group)

    def _draw(self, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> Tensor:
        """Noise (n, d) of consecutive positions of some rows, the same each time that a position is computed."""
        parts = []
        for row in dict.fromkeys(rows.tolist()):
            at = positions[rows == row] - self.plan.first[row]
            generator, done = self._noise.get(row, (noise_generator(self.plan.seeds[row]), 0))
            if at[0] < done:  # a request that was pushed out computes its positions again
                generator, done = noise_generator(self.plan.seeds[row]), 0
            draw_noise(generator, int(at[0]) - done, self.plan.vectors.shape[1])
            parts.append(draw_noise(generator, len(at), self.plan.vectors.shape[1]))
            self._noise[row] = generator, int(at[-1]) + 1
        return torch.cat(parts)

    def _after(self, layer: int, _module: nn.Module, _inputs: Any, output: tuple[Tensor, Tensor]) -> Any:
        """Replace what a decoder layer returned where tokens of this pass are steered at it."""
        groups = self._groups.get(layer)
        if not groups:
            return None
        hidden, residual = output
        if len(hidden) < self._tokens:
            raise HookError(f"vLLM's layer {layer} has {len(hidden)} tokens of {self._tokens}; a row cannot be told")
        steered = hidden.clone()
        for group in groups:
            before, beside = hidden[group.tokens], residual[group.tokens]
            after = before + self._change(group, before, beside)
            steered[group.tokens] = after
            changed = (after + beside != before + beside).any(-1)
            if group.operation == "ablate":
                stream = before.float() + beside.float()
                changed |= is_removed(stream, self._vectors[group.conditions], hidden.dtype)
            self._mark(group, layer, changed)
        return steered, residual

    def _change(self, group: _Group, hidden: Tensor, residual: Tensor) -> Tensor:
        """What is added to a group's tokens (n, d), in the model's dtype."""
        stream = hidden if group.operation == "add" else hidden.float() + residual.float()
        vectors, magnitudes = self._vectors[group.conditions], self._magnitudes[group.conditions]
        return change_of(group.operation, stream, vectors, magnitudes, group.noise).to(hidden.dtype)

    def _mark(self, group: _Group, layer: int, changed: Tensor) -> None:
        """Note the positions (n,) whose residual stream changed; a position that is computed again starts anew."""
        at = group.rows, group.positions
        earlier = self._marks[at] if group.operation == "ablate" and layer > 0 else 0
        self._marks[at] = changed.to(self._marks.dtype) + earlier


def vllm_layers(model: nn.Module) -> nn.ModuleList:
    """Decoder layers of a vLLM model.

    Raises:
        HookError: where there are none, or only some of them (pipeline parallelism).
    """
    layers = getattr(getattr(model, "model", model), "layers", None)
    if not isinstance(layers, nn.ModuleList) or not all(hasattr(layer, "self_attn") for layer in layers):
        raise HookError(f"{type(model).__name__}: vLLM's decoder layers of it are not known, so it cannot be steered")
    return layers


def _check_runner(runner: Any) -> None:
    batch = getattr(runner, "input_batch", None)
    missing = [name for name in RUNNER_PARTS if not hasattr(runner, name)]
    missing += [f"input_batch.{name}" for name in BATCH_PARTS if not hasattr(batch, name)]
    if missing:
        raise HookError(f"vLLM's {type(runner).__name__} has no {missing[0]}; this version of vLLM cannot be steered")


Worker = Any
"""vLLM's worker, to which `collective_rpc` hands these functions."""


def start_steering(worker: Worker, plan: Plan) -> None:
    """Put the hooks in."""
    stop_steering(worker)
    worker.repurpose_steering = WorkerSteering(worker.model_runner, plan)
    worker.repurpose_steering.install()  # known already: what is half in can be taken out


def counted_positions(worker: Worker, rows: list[int]) -> list[int]:
    """See `WorkerSteering.counted`."""
    steering: WorkerSteering = worker.repurpose_steering
    return steering.counted(rows)


def stop_steering(worker: Worker) -> None:
    """Take the hooks out, where there are any."""
    steering: WorkerSteering | None = getattr(worker, "repurpose_steering", None)
    if steering is not None:
        steering.remove()
    worker.repurpose_steering = None
