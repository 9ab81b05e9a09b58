"""Sweeps: a target model steered over a grid of conditions, paired with unsteered rows of the same seeds.

One job per sweep and target. Steered and unsteered rows share engine, batches and seeds. Finished rows are
kept in a journal beside the output, so a magnitude that is added later computes only its own cells.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from transformers import PreTrainedTokenizerBase

from repurpose.command import one_line_errors, read_arguments
from repurpose.engines import Generated, Request, Sampling, Steer, row_seed
from repurpose.journal import Journal, journal_path, record_key
from repurpose.models import check_same_ids, load_tokenizer, made_with
from repurpose.rollouts import generate_missing, made_by, prompt_token_ids
from repurpose.settings import Role, SettingsError, StepSettings, Sweep
from repurpose.steering import (
    UNSTEERED,
    Condition,
    Directions,
    Site,
    expand,
    make_steer,
    missing_sites,
    read_directions,
)
from repurpose.tables import SWEEPS, provenance, read_table, write_table

Row = dict[str, Any]


def choose_prompts(prompts: Sequence[Row], split: str, count: int) -> list[Row]:
    """The first `count` prompts of a split, dealt one category after the other, so that each is
    represented."""
    by_category: dict[str, list[Row]] = defaultdict(list)
    for row in prompts:
        if row["split"] == split:
            by_category[row["category"]].append(row)
    longest = max(map(len, by_category.values()), default=0)
    dealt = [rows[turn] for turn in range(longest) for rows in by_category.values() if turn < len(rows)]
    if len(dealt) < count:
        raise SettingsError(f"sweeps: {count} {split} prompts are asked for, there are {len(dealt)}")
    return dealt[:count]


def sites(sweep: Sweep, directions: Directions, selection: Mapping[str, Any] | None) -> tuple[list[int], list[int]]:
    """Layers and window starts of a sweep: those listed, those of all vectors, or the selected ones."""
    layers = _chosen(sweep.layers, {layer for _, _, layer, _ in directions.units}, selection, "layer")
    read = {layer for _, layer in directions.norms}
    if set(layers) - read:
        raise SettingsError(f"layers: {min(set(layers) - read)} was not read; choose from {sorted(read)}")
    return (
        layers,
        _chosen(sweep.window_starts, {start for _, _, _, start in directions.units}, selection, "window_start"),
    )


def _chosen(asked: Any, known: set[int], selection: Mapping[str, Any] | None, key: str) -> list[int]:
    if asked == "all":
        return sorted(known)
    if asked != "selected":
        return list(asked)
    if selection is None:
        raise SettingsError(f"{key}: 'selected' needs --selection")
    return [int(selection[key])]


def read_pair_directions(paths: Sequence[str]) -> Directions:
    """Directions of both readers from their vector tables."""
    columns = ["name", "reader", "layer", "window_start", "residual_norm", "vector"]
    directions = read_directions(read_table(list(paths), columns).iter_rows(named=True))
    missing = {"base", "reasoning"} - {reader for reader, _ in directions.norms}
    if missing:
        raise SettingsError(f"--vectors: no table of reader {missing.pop()}; give those of both")
    return directions


def list_conditions(
    settings: StepSettings, directions: Directions, selection: Mapping[str, Any] | None
) -> tuple[list[Condition], list[Site]]:
    """Conditions of the one sweep in the settings, the unsteered one first, and the sites that have no vector.

    Raises:
        SettingsError: where nothing can be steered.
    """
    (name, sweep), target = next(iter(settings.sweeps.items())), settings.values["target"]
    layers, window_starts = sites(sweep, directions, selection)
    conditions = expand(sweep, target, directions, layers, window_starts, selection)
    if not conditions:
        raise SettingsError(f"sweeps.{name}: no condition has both a vector and a magnitude other than 0")
    return [UNSTEERED, *conditions], missing_sites(sweep, directions, layers, window_starts)


def run_sweep(
    settings: StepSettings,
    prompts: Sequence[Row],
    directions: Directions,
    conditions: Sequence[Condition],
    output: Path,
) -> list[Row]:
    """Generate what the journal does not hold yet; return the SWEEPS rows of one sweep and target."""
    (name, sweep), target = next(iter(settings.sweeps.items())), settings.values["target"]
    tokenizer = pair_tokenizer(settings, target)
    chosen = choose_prompts(prompts, sweep.split, sweep.prompts)
    cells = [(c, row, sample) for c in conditions for row in chosen for sample in range(sweep.samples)]
    requests = make_requests(cells, directions, tokenizer, settings.seed)
    sampling = Sampling(sweep.temperature, sweep.max_new_tokens, sweep.top_p, sweep.top_k)
    keys = request_keys(made_by(settings, target, sampling), requests)
    with Journal(journal_path(output)) as journal:
        generate_missing(journal, keys, requests, sampling, settings, target, sweep.batch_size)
        outcomes = [Generated(**journal[key]) for key in keys]
    return [
        sweep_row(name, target, cell, request, done, str(tokenizer.decode(done.token_ids)))
        for cell, request, done in zip(cells, requests, outcomes, strict=True)
    ]


def pair_tokenizer(settings: StepSettings, target: Role) -> PreTrainedTokenizerBase:
    """The reasoning model's tokenizer, whose chat template both targets are prompted with."""
    tokenizer = load_tokenizer(settings.pair, "reasoning")
    if target != "reasoning":
        check_same_ids(tokenizer, load_tokenizer(settings.pair, target))
    return tokenizer


def make_requests(
    cells: Sequence[tuple[Condition, Row, int]],
    directions: Directions,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> list[Request]:
    """One request a cell; a (prompt, sample) has the same ids and seed under every condition."""
    ids = {row["prompt_id"]: prompt_token_ids(tokenizer, row["messages"]) for _, row, _ in cells}
    steers = {condition: make_steer(condition, directions) for condition, _, _ in cells}
    return [
        Request(ids[row["prompt_id"]], row_seed(seed, row["prompt_id"], sample), steers[condition])
        for condition, row, sample in cells
    ]


def request_keys(maker: Sequence[Any], requests: Sequence[Request]) -> list[str]:
    """Journal keys: everything that decides a row's tokens, the bytes of its direction included."""
    plans: dict[int, Any] = {}
    for request in requests:
        plans.setdefault(id(request.steer), _plan(request.steer))
    return [record_key(maker, r.prompt_ids, r.seed, plans[id(r.steer)]) for r in requests]


def _plan(steer: Steer | None) -> Any:
    if steer is None:
        return None
    direction = b"" if steer.direction is None else steer.direction.tobytes()
    digest = hashlib.blake2b(direction, digest_size=16).hexdigest()
    layer = None if steer.operation == "ablate" else steer.layer
    return [steer.operation, layer, steer.magnitude, steer.positions, digest]


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
    arguments = read_arguments(__doc__ or "", one=["prompts"], many=["vectors"], optional=["selection"])
    with one_line_errors("sweeps"):
        settings = StepSettings("sweeps", arguments.settings)
        selection = json.loads(Path(arguments.selection).read_text()) if arguments.selection else None
        prompts: pl.DataFrame = read_table(arguments.prompts)
        directions = read_pair_directions(arguments.vectors)
        output = Path(arguments.output)
        conditions, missing = list_conditions(settings, directions, selection)
        for site in missing:
            told = "repurpose sweeps: left out, no sentence gave a vector: {} of reader {}, layer {}, window start {}\n"
            sys.stderr.write(told.format(*site))
        rows = run_sweep(settings, prompts.to_dicts(), directions, conditions, output)
        made = made_with(settings.pair, settings.values["target"])
        write_table(output, rows, SWEEPS, provenance(settings.values, left_out_sites=missing, **made))


if __name__ == "__main__":
    main()
