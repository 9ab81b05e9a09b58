"""Rollouts: the generator's answers, sampled or published, one shard a job; the exact ids are stored.

The chat template is applied once, to ids; no text is tokenised again, so no second BOS can shift an index.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from repurpose.data.command import run_step
from repurpose.data.journal import journal_path, record_key
from repurpose.data.schemas import ROLLOUTS
from repurpose.model.engines import Finished, Generated, Question, Request, Sampling, row_seed
from repurpose.model.loading import made_with
from repurpose.model.token_ends import token_ends
from repurpose.model.tokens import decode, load_tokenizer, prompt_token_ids
from repurpose.rollouts.generation import generate_once, generate_rows
from repurpose.study.settings import Rollouts, StepSettings

Row = dict[str, Any]


def shard_of(prompts: Sequence[Row], shard: int, shards: int) -> Sequence[Row]:
    """Prompts of one shard: prompt i belongs to shard i % shards."""
    return prompts[shard::shards]


def sample_rollouts(settings: StepSettings, prompts: Sequence[Row], output: Path) -> list[Row]:
    """Sample what the journal does not hold yet; return the ROLLOUTS rows of all prompts."""
    chosen, tokenizer = settings.rollouts, load_tokenizer(settings.pair, settings.rollouts.generator)
    cells = [(row, sample) for row in prompts for sample in range(chosen.samples)]
    requests = [
        Request(prompt_token_ids(tokenizer, row["messages"]), row_seed(settings.seed, row["prompt_id"], sample))
        for row, sample in cells
    ]
    sampling = Sampling(chosen.temperature, chosen.max_new_tokens, chosen.top_p, chosen.top_k)
    if chosen.endpoint is None:
        model = settings.values["pair"][chosen.generator]
        how = (sampling, settings.batch or chosen.batch_size, output, chosen.generator)
        outcomes = generate_rows(settings, chosen.generator, requests, *how, steered=False)
    else:
        model = chosen.endpoint.model
        questions = [
            Question(f"prompt {row['prompt_id']}, sample {sample}", json.loads(row["messages"]), r.prompt_ids, r.seed)
            for (row, sample), r in zip(cells, requests, strict=True)
        ]
        outcomes = ask_server(questions, sampling, chosen, tokenizer, output)
    shared = {"model": model, "engine": chosen.engine or settings.engine}
    return [
        rollout_row(row, request, done, tokenizer, sample=sample, **shared)
        for (row, sample), request, done in zip(cells, requests, outcomes, strict=True)
    ]


def take_published(settings: StepSettings, prompts: Sequence[Row]) -> tuple[list[Row], Row]:
    """The ROLLOUTS rows of published chains, and notes on what became of the file; no model is loaded."""
    from repurpose.rollouts.published import read_published

    chosen, tokenizer = settings.rollouts, load_tokenizer(settings.pair, settings.rollouts.generator)
    assert chosen.file is not None
    found, notes = read_published(chosen.file, prompts, tokenizer, chosen.max_new_tokens)
    shared = {"model": settings.values["pair"][chosen.generator], "engine": chosen.engine, "seed": None}
    return [
        rollout_row(one.row, Request(one.prompt_ids, 0), one.generated, tokenizer, sample=one.sample, **shared)
        for one in found
    ], notes


def rollout_row(
    row: Row, request: Request, generated: Generated, tokenizer: PreTrainedTokenizerBase, **columns: Any
) -> Row:
    """Join a prompt's columns with what was generated for it, and with others, which go before."""
    return {
        **{name: row[name] for name in ("prompt_id", "category", "split", "answer")},
        "seed": request.seed,
        "prompt_token_ids": request.prompt_ids,
        "token_ids": generated.token_ids,
        "token_ends": token_ends(generated.token_ids, tokenizer),
        "text": decode(tokenizer, generated.token_ids),
        "finish_reason": generated.finish_reason,
        **columns,
    }


def ask_server(
    questions: Sequence[Question], sampling: Sampling, setup: Rollouts, tokenizer: PreTrainedTokenizerBase, output: Path
) -> list[Generated]:
    """Ask the endpoint for what the output's journal lacks; return the outcomes of all questions."""
    from repurpose.model.engines.api import ApiEngine

    assert setup.endpoint is not None
    server = [setup.endpoint.base_url, setup.endpoint.model, setup.ids, vars(sampling)]
    engine = ApiEngine(setup.endpoint, tokenizer, setup.ids)

    def generate(missing: list[int], finished: Finished) -> None:
        asked = [questions[index] for index in missing]
        engine.generate(asked, sampling, lambda index, answer: finished([(index, answer)]))

    return generate_once(output, [record_key(server, q.messages, q.seed) for q in questions], generate)


def main() -> None:
    with run_step("rollouts.sampling", __doc__, one=["prompts"], batches=True) as step:
        settings, output = step.settings, Path(step.given.output)
        prompts = shard_of(step.read("prompts").to_dicts(), settings.shard, settings.rollouts.shards)
        if settings.rollouts.engine == "published":
            rows, notes = take_published(settings, prompts)
        else:
            rows = sample_rollouts(settings, prompts, output)
            notes = made_with(settings.pair, settings.rollouts.generator)
        step.write(rows, ROLLOUTS, **notes)
        journal_path(output).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
