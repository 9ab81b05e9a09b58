"""Steering inside vLLM's worker: hooks on its decoder layers, one plan for each forward pass, counted positions.

Runs in the process that holds the model (with tensor parallelism in each of them: the residual stream is whole on
every GPU, so all do the same). Three facts about vLLM 0.32 that this module rests on, and tests hold:

- A decoder layer returns (hidden, residual), and the residual stream is their SUM. Later kernels write into both, so
  what is steered is a clone of the first; the second is never touched.
- Which request a token belongs to is told by the runner's own batch (`input_batch`, `query_start_loc`), which is not a
  public interface: where its parts are missing, steering refuses to start.
- Compiled layers do not call hooks. Nothing here can see that; the count of steered positions does.

Legend: n steered tokens of a forward pass, d width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from repurpose.model.hooks import HookError, decoder_layers
from repurpose.model.steer import Operation, Steer, change_of, draw_noise, is_lost, noise_generator

ROW = "repurpose_row"
"""Key of a request's row in the extra arguments of its sampling parameters."""
RUNNER_PARTS = ("input_batch", "query_start_loc", "requests")
BATCH_PARTS = ("req_ids", "num_computed_tokens_cpu", "num_reqs")


@dataclass(frozen=True, eq=False)
class Plan:
    """What one call steers, by row; it may travel to other processes."""

    steers: Sequence[Steer | None]
    """Rows of one condition share the object."""
    prompts: Sequence[int]
    """Tokens of each row's prompt."""
    seeds: Sequence[int]
    length: int
    """Positions of the longest row."""


@dataclass
class _Group:
    """Tokens of one forward pass that share an operation and the layer (or all layers) where it is done."""

    operation: Operation
    tokens: Tensor  # (n,) places in the pass
    conditions: Tensor  # (n,)
    rows: Tensor  # (n,)
    positions: Tensor  # (n,) places in each row's text
    noise: Tensor  # (n, d), empty for other operations


class WorkerSteering:
    """Steers every forward pass of one worker's model until it is removed.

    Row -1 is a request of vLLM itself, condition -1 is unsteered: the last entries of the arrays by row stand for them.
    """

    def __init__(self, runner: Any, plan: Plan) -> None:
        _check_runner(runner)
        self._runner, self._seeds, device = runner, plan.seeds, runner.device
        self._layers, self._width = decoder_layers(runner.get_model()), runner.model_config.get_hidden_size()
        conditions = list({id(steer): steer for steer in plan.steers if steer is not None}.values())
        number = {id(steer): index for index, steer in enumerate(conditions)}
        self._condition = np.array([number.get(id(steer), -1) for steer in [*plan.steers, None]], np.int64)
        starts = [0 if s is None or s.positions == "all" else n for s, n in zip(plan.steers, plan.prompts, strict=True)]
        self._start = np.array([*starts, 0], np.int64)
        """First position of each row that is steered."""
        kinds = [(steer.operation, steer.layers(len(self._layers))) for steer in conditions]
        self._kinds = list(dict.fromkeys(kinds))
        self._kind = np.array([self._kinds.index(kind) for kind in kinds], np.int64)
        vectors = [np.zeros(self._width) if steer.vector is None else steer.vector for steer in conditions]
        self._vectors = torch.from_numpy(np.array(vectors, np.float32)).to(device)
        self._magnitudes = torch.tensor([[s.magnitude] for s in conditions], dtype=torch.float32, device=device)
        needed = [len(s.layers(len(self._layers))) if s is not None else 1 for s in plan.steers]
        self._needed = torch.tensor(needed, device=device)
        self._marks = torch.zeros(len(needed), plan.length, dtype=torch.int16, device=device)
        """Layers at which each position of each row was last steered."""
        self._noise: dict[int, tuple[np.random.Generator, int]] = {}
        """Each row's source of noise and the position that it has come to."""
        self._groups: dict[int, list[_Group]] = {}
        """Of the forward pass under way, by layer."""
        self._tokens = 0
        """Of the forward pass under way."""
        self._handles: list[Any] = []

    def install(self) -> None:
        self._handles.append(self._layers[0].register_forward_pre_hook(self._begin))
        for at in sorted({at for _, layers in self._kinds for at in layers}):
            self._handles.append(self._layers[at].register_forward_hook(partial(self._after, at)))

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def counted(self, rows: Sequence[int]) -> list[int]:
        """Positions of these rows whose residual stream came out different at every layer where it should."""
        index = torch.tensor(rows, device=self._marks.device)
        counts: list[int] = (self._marks[index] == self._needed[index, None]).sum(1).tolist()
        return counts

    def _begin(self, _module: nn.Module, _inputs: Any) -> None:
        """Lay out the pass that begins: which of its tokens are steered, and how."""
        self._groups = {}
        batch = self._runner.input_batch
        count: int = batch.num_reqs
        starts = self._runner.query_start_loc.np[: count + 1].astype(np.int64)
        computed = np.asarray(batch.num_computed_tokens_cpu[:count], np.int64)
        sizes = np.diff(starts)
        self._tokens = int(sizes.sum())
        rows = np.repeat(np.array([self._row(name) for name in batch.req_ids[:count]], np.int64), sizes)
        positions = np.arange(self._tokens) + np.repeat(computed - starts[:-1], sizes)
        tokens = np.flatnonzero((self._condition[rows] >= 0) & (positions >= self._start[rows]))
        rows, positions = rows[tokens], positions[tokens]
        conditions = self._condition[rows]
        kinds = self._kind[conditions]
        for kind in np.unique(kinds):
            (operation, layers), at = self._kinds[kind], kinds == kind
            noise = self._draw(rows[at], positions[at]) if operation == "noise" else torch.empty(0)
            parts = (torch.from_numpy(part[at]) for part in (tokens, conditions, rows, positions))
            group = _Group(operation, *(part.to(self._marks.device) for part in (*parts, noise)))
            for layer in layers:
                self._groups.setdefault(layer, []).append(group)

    def _row(self, name: str) -> int:
        """Row of a request; -1, which is unsteered, for those of vLLM itself."""
        request = self._runner.requests.get(name)
        extra = getattr(getattr(request, "sampling_params", None), "extra_args", None) or {}
        return int(extra.get(ROW, -1))

    def _draw(self, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> Tensor:
        """Noise (n, d) of consecutive positions of some rows, the same each time that a position is computed."""
        parts = []
        for row in dict.fromkeys(rows.tolist()):
            at = positions[rows == row] - self._start[row]
            generator, done = self._noise.get(row, (noise_generator(self._seeds[row]), 0))
            if at[0] < done:  # a request that was pushed out computes its positions again
                generator, done = noise_generator(self._seeds[row]), 0
            draw_noise(generator, int(at[0]) - done, self._width)
            parts.append(draw_noise(generator, len(at), self._width))
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
            steered[group.tokens] = self._steer(group, layer, hidden[group.tokens], residual[group.tokens])
        return steered, residual

    def _steer(self, group: _Group, layer: int, hidden: Tensor, residual: Tensor) -> Tensor:
        """What a layer returns for a group's tokens (n, d); notes where the residual stream came out different."""
        operation, vectors = group.operation, self._vectors[group.conditions]
        stream = hidden if operation == "add" else hidden.float() + residual.float()
        magnitudes = self._magnitudes[group.conditions]
        change = change_of(operation, stream, vectors, magnitudes, group.noise)
        after = hidden + change.to(hidden.dtype)
        changed = (after + residual != hidden + residual).any(-1)
        if operation != "add":
            changed |= is_lost(operation, stream, vectors, magnitudes, hidden.dtype)
        at = group.rows, group.positions
        if operation != "ablate":
            self._marks[at] = changed.to(self._marks.dtype)
            return after
        earlier = self._marks[at] if layer > 0 else 0  # a position that is computed again starts anew
        self._marks[at] = changed.to(self._marks.dtype) + earlier
        return after


def _check_runner(runner: Any) -> None:
    batch = getattr(runner, "input_batch", None)
    missing = [name for name in RUNNER_PARTS if not hasattr(runner, name)]
    missing += [f"input_batch.{name}" for name in BATCH_PARTS if not hasattr(batch, name)]
    if missing:
        raise HookError(f"vLLM's {type(runner).__name__} has no {missing[0]}; this version of vLLM cannot be steered")


def start_steering(worker: Any, plan: Plan) -> None:
    """Put the hooks in; `collective_rpc` hands vLLM's worker to this function and to those that follow."""
    stop_steering(worker)
    worker.repurpose_steering = WorkerSteering(worker.model_runner, plan)
    worker.repurpose_steering.install()  # known already, so that what is half in can be taken out


def counted_positions(worker: Any, rows: Sequence[int]) -> list[int]:
    """See `WorkerSteering.counted`."""
    steering: WorkerSteering = worker.repurpose_steering
    return steering.counted(rows)


def stop_steering(worker: Any) -> None:
    """Take the hooks out, where there are any."""
    if steering := getattr(worker, "repurpose_steering", None):
        steering.remove()
    worker.repurpose_steering = None
