"""Generate rows, each once: what is finished stands in a journal beside the output and survives a killed job."""

import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from repurpose.data.journal import Journal, journal_path, record_key
from repurpose.model.engines import Finished, Generated, Request, Sampling
from repurpose.model.engines.choice import open_engine
from repurpose.model.loading import model_digest
from repurpose.model.steer import Steer
from repurpose.model.tokens import check_ids_fit, stop_token_ids
from repurpose.study.settings import Role, StepSettings


def generate_rows(
    settings: StepSettings,
    role: Role,
    requests: Sequence[Request],
    sampling: Sampling,
    batch_size: int,
    output: Path,
    prompted_as: Role,
    steered: bool = True,
) -> list[Generated]:
    """Generate with a model of the pair what the output's journal lacks; return the outcomes of all requests.

    A text ends where the model ends one, and where that one does in whose chat format the prompts are (`prompted_as`).
    """
    stop_ids = stop_token_ids(settings.pair, role, prompted_as)

    def generate(missing: list[int], finished: Finished) -> None:
        asked = [requests[index] for index in missing]
        check_ids_fit([i for request in asked for i in request.prompt_ids], settings.pair, role)
        longest = max(len(request.prompt_ids) for request in asked) + sampling.max_new_tokens
        options = (batch_size, longest, settings.vllm, steered, stop_ids)
        with open_engine(settings.engine, settings.pair, role, *options) as engine:
            engine.generate(asked, sampling, finished)

    return generate_once(output, request_keys(settings, role, sampling, requests, stop_ids), generate)


def generate_once(
    output: Path, keys: Sequence[str], generate: Callable[[list[int], Finished], object]
) -> list[Generated]:
    """Return the outcome of each key (what decides a row), from the output's journal.

    `generate` is called once with the positions of the keys that the journal lacks, if any, and with what keeps a batch
    of outcomes, numbered by their places among those.
    """
    with Journal(journal_path(output)) as journal:
        missing = list(journal.missing(keys))
        if done_before := len(keys) - len(missing):
            sys.stderr.write(f"{done_before} of {len(keys)} rows are in the journal already\n")
        # The delay: no bar before the first batch is done, so that a model that cannot be loaded is one line.
        with tqdm(total=len(keys), initial=done_before, unit="rollout", delay=1e-3) as bar:

            def finished(batch: Sequence[tuple[int, Generated]]) -> None:
                journal.add({keys[missing[index]]: vars(done) for index, done in batch})
                bar.update(len(batch))

            if missing:
                generate(missing, finished)
        return [Generated(**journal[key]) for key in keys]


def request_keys(
    settings: StepSettings, role: Role, sampling: Sampling, requests: Sequence[Request], stop_ids: Sequence[int]
) -> list[str]:
    """Journal keys: all that decides a row's tokens, from code, weights and sampling to the bytes of its direction."""
    # Tokens do not depend on how many will follow, but where a row is cut does; so the length is part of it.
    maker = [settings.code, model_digest(settings.pair, role), settings.pair.dtype, vars(sampling), list(stop_ids)]
    if settings.engine != "transformers":
        maker.append(settings.engine)
    steers = {id(request.steer): request.steer for request in requests}
    plans = {number: _plan(steer) for number, steer in steers.items()}
    return [record_key(maker, r.prompt_ids, r.seed, plans[id(r.steer)]) for r in requests]


def _plan(steer: Steer | None) -> Any:
    if steer is None:
        return None
    direction = b"" if steer.direction is None else steer.direction.tobytes()
    digest = hashlib.blake2b(direction, digest_size=16).hexdigest()
    layer = None if steer.operation == "ablate" else steer.layer
    return [steer.operation, layer, steer.magnitude, steer.positions, digest]
