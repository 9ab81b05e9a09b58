"""Rollouts: the generator's sampled answers, one shard a job; the exact ids are stored.

The chat template is applied once, to ids; no text is tokenised again, so no second BOS can shift an index.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from repurpose.data.command import read_arguments
from repurpose.data.files import read_table, write_table
from repurpose.data.journal import Journal, journal_path, record_key
from repurpose.data.provenance import provenance
from repurpose.data.schemas import ROLLOUTS
from repurpose.model.engines import Generated, Question, Request, Sampling, row_seed
from repurpose.model.engines.choice import open_engine
from repurpose.model.loading import made_with, model_digest
from repurpose.model.token_ends import token_ends
from repurpose.model.tokens import check_ids_fit, load_tokenizer, prompt_token_ids
from repurpose.study.errors import one_line_errors
from repurpose.study.settings import Role, Rollouts, StepSettings

Row = dict[str, Any]


def shard_of(prompts: Sequence[Row], shard: int, shards: int) -> list[Row]:
    """Prompts of one shard: prompt i belongs to shard i % shards."""
    return [row for index, row in enumerate(prompts) if index % shards == shard]


def rollout_row(
    row: Row, request: Request, generated: Generated, tokenizer: PreTrainedTokenizerBase, **columns: Any
) -> Row:
    """Join a prompt's columns with what was generated for it."""
    return {
        **{name: row[name] for name in ("prompt_id", "category", "split", "answer")},
        "seed": request.seed,
        "prompt_token_ids": request.prompt_ids,
        "token_ids": generated.token_ids,
        "token_ends": token_ends(generated.token_ids, tokenizer),
        "text": tokenizer.decode(generated.token_ids),
        "finish_reason": generated.finish_reason,
        **columns,
    }


def write_rollouts(settings: StepSettings, prompts: Sequence[Row], output: Path) -> list[Row]:
    """Generate what the journal does not hold yet; return the ROLLOUTS rows of all prompts."""
    chosen, role = settings.rollouts, settings.rollouts.generator
    tokenizer = load_tokenizer(settings.pair, role)
    sampling = Sampling(chosen.temperature, chosen.max_new_tokens, chosen.top_p, chosen.top_k)
    cells = [(row, sample) for row in prompts for sample in range(chosen.samples)]
    requests = [
        Request(prompt_token_ids(tokenizer, row["messages"]), row_seed(settings.seed, row["prompt_id"], sample))
        for row, sample in cells
    ]
    with Journal(journal_path(output)) as journal:
        if chosen.endpoint is not None:
            names = [f"prompt {row['prompt_id']}, sample {sample}" for row, sample in cells]
            questions = [
                Question(name, json.loads(row["messages"]), request.prompt_ids, request.seed)
                for name, (row, _), request in zip(names, cells, requests, strict=True)
            ]
            keys = ask_missing(journal, questions, sampling, chosen, tokenizer)
        else:
            maker = made_by(settings, role, sampling)
            keys = [record_key(maker, r.prompt_ids, r.seed) for r in requests]
            generate_missing(journal, keys, requests, sampling, settings, role, chosen.batch_size, steered=False)
        outcomes = [Generated(**journal[key]) for key in keys]
    model = chosen.endpoint.model if chosen.endpoint is not None else settings.values["pair"][role]
    name = {"model": model, "engine": chosen.engine or settings.engine}
    return [
        rollout_row(row, request, done, tokenizer, sample=sample, **name)
        for (row, sample), request, done in zip(cells, requests, outcomes, strict=True)
    ]


def ask_missing(
    journal: Journal,
    questions: Sequence[Question],
    sampling: Sampling,
    chosen: Rollouts,
    tokenizer: PreTrainedTokenizerBase,
) -> list[str]:
    """Ask the server for what the journal lacks, journalling each answer as it arrives; return the keys of all."""
    from repurpose.model.engines.api import ApiEngine

    assert chosen.endpoint is not None
    server = [chosen.endpoint.base_url, chosen.endpoint.model, chosen.ids, vars(sampling)]
    keys = [record_key(server, question.messages, question.seed) for question in questions]
    missing = list(journal.missing(keys))
    with tqdm(total=len(keys), initial=len(keys) - len(missing), unit="rollout") as bar:

        def finished(index: int, generated: Generated) -> None:
            journal.add({keys[missing[index]]: vars(generated)})
            bar.update(1)

        ApiEngine(chosen.endpoint, tokenizer, chosen.ids).generate([questions[k] for k in missing], sampling, finished)
    return keys


def made_by(settings: StepSettings, role: Role, sampling: Sampling) -> list[Any]:
    """What all rows of a job have in common and what changes them: code, weights, dtype, sampling."""
    # Tokens do not depend on how many will follow, but where a row is cut does; so the length is part of it.
    maker = [settings.code, model_digest(settings.pair, role), settings.pair.dtype, vars(sampling)]
    return maker if settings.engine == "transformers" else [*maker, settings.engine]


def generate_missing(
    journal: Journal,
    keys: Sequence[str],
    requests: Sequence[Request],
    sampling: Sampling,
    settings: StepSettings,
    role: Role,
    batch_size: int,
    steered: bool = True,
) -> None:
    """Generate the requests whose key the journal lacks, journalling each batch as it ends."""
    missing = list(journal.missing(keys))
    if not missing:
        return
    asked = [requests[k] for k in missing]
    check_ids_fit([i for request in asked for i in request.prompt_ids], settings.pair, role)
    longest = max(len(request.prompt_ids) for request in asked) + sampling.max_new_tokens
    kind, options = settings.engine, settings.vllm
    with (
        open_engine(kind, settings.pair, role, batch_size, longest, options, steered) as engine,
        tqdm(total=len(keys), initial=len(keys) - len(missing), unit="rollout") as bar,
    ):

        def finished(batch: Sequence[tuple[int, Generated]]) -> None:
            journal.add({keys[missing[index]]: vars(done) for index, done in batch})
            bar.update(len(batch))

        engine.generate(asked, sampling, finished)


def main() -> None:
    arguments = read_arguments(__doc__ or "", one=["prompts"])
    with one_line_errors("rollouts.sampling"):
        settings = StepSettings("rollouts.sampling", arguments.settings)
        prompts = read_table(arguments.prompts).to_dicts()
        shard, output = settings.shard, Path(arguments.output)
        rows = write_rollouts(settings, shard_of(prompts, shard, settings.rollouts.shards), output)
        notes = provenance(settings.values, **made_with(settings.pair, settings.rollouts.generator))
        write_table(output, rows, ROLLOUTS, notes)
        journal_path(output).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
