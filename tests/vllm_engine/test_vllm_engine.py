"""What the engine promises: seeds, no poisoned cache, counted steering, clear refusals, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from vllm_cases import (
    GREEDY,
    LAYERS,
    WIDTH,
    group,
    make_steer,
    mixed_requests,
    open_vllm,
    random_pair,
    random_prompts,
    wait_until,
)

from repurpose.model.engines import Generated, Request, Sampling
from repurpose.model.engines.vllm import VllmEngine
from repurpose.model.hooks import HookError, SteeringError
from repurpose.model.loading import ModelError
from repurpose.study.settings import Pair, Vllm

SAMPLED, LONGER = Sampling(0.7, 24), Sampling(0.7, 40)
NORM = 20.0


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return random_pair("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def requests(llama: Pair) -> list[Request]:
    return mixed_requests(llama, random_prompts(4), NORM)


@pytest.fixture(scope="module")
def engine(llama: Pair) -> VllmEngine:
    """Alive until a later test opens another: a process holds one engine at a time."""
    return open_vllm(llama, "base")


@pytest.fixture(scope="module")
def crowd(requests: list[Request]) -> list[Request]:
    """Rows that need two blocks of the cache each."""
    prompts = [(prompt * (1 + 120 // len(prompt)))[:120] for prompt in random_prompts(6)]
    return [Request(prompts[i % 6], i, request.steer) for i, request in enumerate(requests[:32])]


@pytest.fixture(scope="module")
def wanted(engine: VllmEngine, requests: list[Request], crowd: list[Request]) -> dict[str, list[Generated]]:
    """What the engine writes where nothing is scarce."""
    return {"greedy": engine.generate(requests, GREEDY), "crowd": engine.generate(crowd, LONGER)}


def test_a_row_draws_the_same_tokens_in_any_company(engine: VllmEngine, requests: list[Request]) -> None:
    together = engine.generate(requests, SAMPLED)
    assert engine.generate(requests[::-1], SAMPLED)[::-1] == together
    some = range(0, len(requests), 9)
    assert [engine.generate([requests[i]], SAMPLED)[0] for i in some] == [together[i] for i in some]
    assert len({tuple(done.token_ids) for done in together}) > 30


def test_other_seeds_draw_other_tokens(engine: VllmEngine, requests: list[Request]) -> None:
    plain = [Request(requests[0].prompt_ids, seed) for seed in range(8)]
    assert len({tuple(done.token_ids) for done in engine.generate(plain, SAMPLED)}) == 8


def test_unsteered_rows_after_and_beside_steered_ones_are_unsteered(engine: VllmEngine) -> None:
    """Prompts of several cache blocks, so that what steered rows computed could be taken up again."""
    prompts = random_prompts(4, longest=280)
    prompts = [prompt * (1 + 270 // len(prompt)) for prompt in prompts]
    prompts = [prompt[:280] for prompt in prompts]
    plain = [Request(prompt, 5) for prompt in prompts]
    steered = [Request(prompt, 5, make_steer("add", WIDTH, 1, 10 * NORM, "all")) for prompt in prompts]
    before = engine.generate(plain, GREEDY)
    under = engine.generate(steered, GREEDY)
    assert all(one.token_ids != other.token_ids for one, other in zip(before, under, strict=True))
    assert engine.generate(plain, GREEDY) == before
    assert engine.generate([*steered, *plain], GREEDY) == [*under, *before]


def test_every_steered_position_is_counted(engine: VllmEngine, requests: list[Request]) -> None:
    for request, done in zip(requests, engine.generate(requests, SAMPLED), strict=True):
        if request.steer is None:
            assert (done.steered_positions, done.expected_positions) == (0, 0)
            continue
        fed = len(done.token_ids) - (done.finish_reason == "length")
        prompt = len(request.prompt_ids) if request.steer.positions == "all" else 0
        assert done.steered_positions == done.expected_positions == prompt + fed


def test_what_cannot_be_steered_is_refused_and_leaves_no_hooks(
    engine: VllmEngine, requests: list[Request], wanted: dict[str, list[Generated]]
) -> None:
    """A direction that is no unit vector would steer by another norm, or count as steered what is garbage."""
    good = make_steer("add", WIDTH, 1, NORM, "all")
    assert good.direction is not None
    for change, said in (
        ({"direction": good.direction * np.float32("nan")}, "its direction has norm nan, not 1"),
        ({"direction": good.direction * 2}, "its direction has norm 2, not 1"),
        ({"layer": LAYERS}, f"no layer {LAYERS}; 0 to {LAYERS - 1} are"),
        ({"layer": -1}, "no layer -1"),
    ):
        with pytest.raises(HookError, match=said):
            engine.generate([Request([0, 5, 9], 0, replace(good, **change))], GREEDY)
    assert engine.generate(requests, GREEDY) == wanted["greedy"]


def test_a_text_that_is_too_long_is_refused(engine: VllmEngine, wanted: dict[str, list[Generated]]) -> None:
    assert wanted  # made while the engine is alive
    with pytest.raises(ModelError, match=r"vllm.max_length: 320 tokens are too few .* it needs 414"):
        engine.generate([Request([0] * 390, 0)], GREEDY)


def test_what_vllm_refuses_when_it_starts_is_one_line(llama: Pair) -> None:
    with pytest.raises(ModelError, match=r"^pair.base: vLLM cannot run .*max_model_len \(2000\)") as refused:
        open_vllm(llama, "base", length=2000)
    assert "\n" not in str(refused.value)


def test_rows_that_are_pushed_out_and_computed_again_are_the_same(
    llama: Pair, crowd: list[Request], wanted: dict[str, list[Generated]]
) -> None:
    """A cache of six rows' blocks beside many rows: vLLM drops rows and computes them again."""
    block = 128 * LAYERS * 2 * 2 * 32 * 4
    with open_vllm(llama, "base", length=160, kv_cache_memory_bytes=12 * block) as small:
        scheduler, pushed = small._engine.engine_core.engine_core.scheduler, []
        push_out = scheduler._preempt_request

        def note(request: object, *rest: object, **more: object) -> object:
            pushed.append(request)
            return push_out(request, *rest, **more)

        scheduler._preempt_request = note
        assert small.generate(crowd, LONGER) == wanted["crowd"]
    assert pushed


@pytest.mark.skipif(" " in sys.prefix, reason="torch's compiler takes no path with spaces")
def test_compiled_layers_skip_the_hooks_and_the_run_fails(llama: Pair, requests: list[Request]) -> None:
    with open_vllm(llama, "base", compiled=True) as compiled:
        plain = [Request(r.prompt_ids, r.seed) for r in requests[:4]]
        assert len(compiled.generate(plain, SAMPLED)) == 4
        with pytest.raises(SteeringError, match="steered at 0 of"):
            compiled.generate(requests[1:5], SAMPLED)


def test_two_processes_that_share_a_model_steer_alike_and_end_with_an_exception(
    llama: Pair, requests: list[Request], wanted: dict[str, list[Generated]]
) -> None:
    def fail(_batch: object) -> None:
        raise ZeroDivisionError

    two = Vllm(tensor_parallel=2)
    with pytest.raises(ZeroDivisionError), open_vllm(llama, "base", options=two) as shared:
        assert len(children()) >= 2
        found = shared.generate(requests, GREEDY)
        shared.generate(requests, GREEDY, fail)
    same = sum(one == other for one, other in zip(found, wanted["greedy"], strict=True))
    assert same >= len(requests) - 2  # sums in another order: a near tie may fall otherwise
    assert not children()


def children() -> list[str]:
    found = subprocess.run(["ps", "-ww", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return [line for line in found.stdout.splitlines() if not line.startswith("ps ") and "resource_t" not in line]


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from vllm_cases import open_vllm, organism, random_prompts
from repurpose.model.engines import Request, Sampling
from repurpose.model.engines.vllm import leave_on_sigterm
from repurpose.study.settings import Vllm
if __name__ == "__main__":
    with leave_on_sigterm(), open_vllm(organism(), "base", length=900, options=Vllm(tensor_parallel=2)) as engine:
        rows = [Request(prompt, 0) for prompt in random_prompts(64, 600)]
        done = lambda batch: print(len(batch), flush=True)
        print("started", flush=True)
        engine.generate(rows, Sampling(1.0, 800), done)
"""


def test_sigterm_ends_the_engine_and_its_processes(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True) as run:
        assert run.stdout is not None
        assert any("started" in line for line in run.stdout)
        time.sleep(3)
        assert len(group(run.pid)) > 1
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 128 + signal.SIGTERM
        assert wait_until(lambda: not group(run.pid), 20)
