"""Sweeps: a target model steered over a grid of conditions, paired with unsteered rows of the same seeds.

One job per sweep and target, or several, each with every so many-th prompt (`--part`). Steered and unsteered rows
share engine, batches and seeds. Finished rows are kept in a journal beside the output, so a magnitude that is added
later computes only its own cells.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from repurpose.data.command import run_step
from repurpose.data.schemas import SWEEPS
from repurpose.data.selected import read_selected
from repurpose.directions.unit_directions import Directions, read_pair_directions
from repurpose.model.engines import Generated, Request, Sampling, row_seed
from repurpose.model.loading import made_with
from repurpose.model.tokens import check_same_ids, decode, load_tokenizer, prompt_token_ids
from repurpose.rollouts.generation import generate_rows
from repurpose.steering.conditions import PROMPTED_AS, Row, choose_prompts, list_conditions, make_steer
from repurpose.study.conditions import Condition
from repurpose.study.settings import Role, StepSettings


class Part(NamedTuple):
    """Which of the prompts a job steers: those at `number`, `number + parts`, ..."""

    number: int
    parts: int


WHOLE = Part(0, 1)


def run_sweep(
    settings: StepSettings,
    prompts: Sequence[Row],
    directions: Directions,
    conditions: Sequence[Condition],
    output: Path,
    part: Part = WHOLE,
) -> list[Row]:
    """Generate what the journal does not hold yet; return the SWEEPS rows of one sweep and target, or of a part."""
    name, sweep, target = settings.sweep, settings.sweeps[settings.sweep], settings.target
    tokenizer = pair_tokenizer(settings, target)
    chosen = choose_prompts(prompts, sweep.split, sweep.prompts, f"sweeps.{name}.prompts")
    chosen = chosen[part.number :: part.parts]
    cells = [(c, row, sample) for c in conditions for row in chosen for sample in range(sweep.samples)]
    requests = make_requests(cells, directions, tokenizer, settings.seed)
    sampling = Sampling(sweep.temperature, sweep.max_new_tokens, sweep.top_p, sweep.top_k)
    how = (sampling, settings.batch or sweep.batch_size, output, PROMPTED_AS)
    outcomes = generate_rows(settings, target, requests, *how)
    return [
        sweep_row(name, target, cell, request, done, decode(tokenizer, done.token_ids))
        for cell, request, done in zip(cells, requests, outcomes, strict=True)
    ]


def pair_tokenizer(settings: StepSettings, target: Role) -> PreTrainedTokenizerBase:
    """The tokenizer whose chat template both targets are prompted with."""
    tokenizer = load_tokenizer(settings.pair, PROMPTED_AS)
    if target != PROMPTED_AS:
        check_same_ids(tokenizer, load_tokenizer(settings.pair, target))
    return tokenizer


def make_requests(
    cells: Sequence[tuple[Condition, Row, int]], directions: Directions, tokenizer: PreTrainedTokenizerBase, seed: int
) -> list[Request]:
    """One request a cell; a (prompt, sample) has the same ids and seed under every condition."""
    ids = {row["prompt_id"]: prompt_token_ids(tokenizer, row["messages"]) for _, row, _ in cells}
    steers = {condition: make_steer(condition, directions) for condition, _, _ in cells}
    return [
        Request(ids[row["prompt_id"]], row_seed(seed, row["prompt_id"], sample), steers[condition])
        for condition, row, sample in cells
    ]


def sweep_row(
    sweep: str, target: str, cell: tuple[Condition, Row, int], request: Request, done: Generated, text: str
) -> Row:
    """One SWEEPS row."""
    condition, prompt, sample = cell
    return {
        "sweep": sweep,
        "target": target,
        **vars(condition),
        **{name: prompt[name] for name in ("prompt_id", "category", "answer")},
        "sample": sample,
        "seed": request.seed,
        "prompt_tokens": len(request.prompt_ids),
        "text": text,
        **vars(done),
    }


def main() -> None:
    one, many, optional = (["prompts"], ["vectors"], ["selection"])
    texts = {"part": "which part of how many, such as 0/4; left out: all prompts"}
    with run_step("steering.sweeps", __doc__, one, many, optional, batches=True, texts=texts) as step:
        settings, given = step.settings, step.given
        selection = read_selected(given.selection) if given.selection else None
        directions = read_pair_directions(given.vectors)
        conditions, missing = list_conditions(settings, directions, selection)
        for site in missing:
            told = "left out, no sentence gave a vector: {} of reader {}, layer {}, window start {}".format(*site)
            sys.stderr.write(f"repurpose steering.sweeps: {told}\n")
        part = Part(*map(int, given.part.split("/"))) if given.part else WHOLE
        rows = run_sweep(settings, step.read("prompts").to_dicts(), directions, conditions, Path(given.output), part)
        step.write(rows, SWEEPS, left_out_sites=missing, **made_with(settings.pair, settings.target))


if __name__ == "__main__":
    main()
