"""The made-up study's inputs of explorer.html, and the page that is made of them; a second annotator, hostile text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from playwright.sync_api import Page
from tests.tiny import SELECTED

from repurpose.data.schemas import LABELS, ROLLOUTS, SWEEPS
from repurpose.results.explorer.__main__ import Inputs, fit_page
from repurpose.steering.measurements import Measuring, measure_sweep
from repurpose.study.settings import BEHAVIOURS, StepSettings, canonical_json
from synthetic import BEST_LAYER, NORM, PRESENT, make_study, prompt_names, rollout_rows, settings_text, sweep_rows

HELDOUT = 12
DOSE = 0.2
"""Of the selected norm."""
SWEPT = 4
"""Prompts of the sweeps that the page shows, two_by_two and baselines."""
DIRECTIONS = (*BEHAVIOURS, "mean", "same-offset", "shuffle-00", "shuffle-01", *(f"random-{n:02d}" for n in range(5)))
HOSTILE = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "end of the element": "</script></style><!-- <script>",
    "writing direction": "\u202egnp.exe\u202c \u2066abc\u2069",
    "ansi": "\x1b[2J\x1b[31mred\x07\x00",
    "long": "x" * 100_000,
    "quotes": "\"'><svg onload=alert(1)>`${alert(1)}`",
    "combining": "a" + "\u0301" * 400,
    "url": "javascript:alert(1) data:text/html,<b>",
}
"""What a model, a prompt or a name may hold."""


def read_made_up() -> Inputs:
    """The tables of the made-up study that the page is made from."""
    study, prompts = make_study(HELDOUT), prompt_names("heldout", HELDOUT)
    made = [rollout_rows(prompt, "heldout") for prompt in prompts]
    rollouts = to_table([rollout for rollout, _, _ in made], ROLLOUTS)
    labels = to_table([row for _, sentences, _ in made for row in sentences], LABELS)
    swept = [("two_by_two", "reasoning"), ("two_by_two", "base"), ("baselines", "reasoning")]
    sweeps = steer(swept)
    return Inputs(
        StepSettings("results.explorer", settings_text(study, "results.explorer")),
        replace(SELECTED, layer=BEST_LAYER, window_start=-9, window_length=6, magnitude=NORM, dose=DOSE),
        prompts=pl.DataFrame([make_prompt(prompt) for prompt in prompts]),
        rollouts=rollouts,
        labels=pl.concat([labels, differ(labels)]),
        annotators=["lexicon", "other"],
        traces=make_traces(rollouts),
        sweeps=sweeps,
        steered_labels=None,
        measured=measure(sweeps),
        made={"commit": f"{'0123456789' * 4}-dirty", "package": "0.1.0"},
    )


def steer(swept: list[tuple[str, str]]) -> pl.DataFrame:
    """Steered texts of (sweep, target); multiples are of the selected norm, in the selection's sweep doses."""
    prompts = prompt_names("heldout", HELDOUT)[:SWEPT]
    rows = [row for name, target in swept for row in sweep_rows(PRESENT, name, target, prompts)]
    is_dose = pl.col("sweep") == "selection"
    return to_table(rows, SWEEPS).with_columns(
        dose=pl.col("dose") * pl.when(is_dose).then(1.0).otherwise(DOSE),
        magnitude=pl.col("magnitude") / pl.when(is_dose).then(DOSE).otherwise(1.0),
    )


def measure(sweeps: pl.DataFrame) -> pl.DataFrame:
    """Measurements of steered texts."""
    study = make_study(HELDOUT)
    return measure_sweep(sweeps, Measuring(study.keywords, study.vectors.behaviour))


def with_sweeps(inputs: Inputs, *swept: tuple[str, str]) -> Inputs:
    """The same with further sweeps."""
    sweeps = pl.concat([inputs.sweeps, steer(list(swept))])
    return replace(inputs, sweeps=sweeps, measured=measure(sweeps))


def to_table(rows: list[dict[str, Any]], schema: pa.Schema) -> pl.DataFrame:
    """Rows under a schema."""
    return pl.DataFrame(pa.Table.from_pylist(rows, schema))


def make_prompt(prompt: str) -> dict[str, str]:
    turns = [{"role": "user", "content": f"What is the sum of four and five, {prompt}?"}]
    return {
        "prompt_id": prompt,
        "category": prompt.split("-")[0],
        "split": "heldout",
        "messages": json.dumps(turns),
        "answer": "9",
    }


def differ(labels: pl.DataFrame) -> pl.DataFrame:
    """A second annotator, who calls each seventh sentence a deduction."""
    seventh = pl.int_range(pl.len()) % 7 == 0
    label = pl.when(seventh).then(pl.lit("deduction")).otherwise(pl.col("label"))
    return labels.with_columns(annotator=pl.lit("other"), label=label)


def make_traces(rollouts: pl.DataFrame) -> pl.DataFrame:
    """Random projections; on backtracking from the base model one token of each rollout stands out, its middle one."""
    rows: list[dict[str, Any]] = []
    generator = np.random.default_rng(0)
    for rollout in rollouts.iter_rows(named=True):
        count = len(rollout["token_ids"])
        for direction in DIRECTIONS:
            for reader in ("base", "reasoning"):
                values = generator.standard_normal(count).astype(np.float32)
                if (direction, reader) == ("backtracking", "base"):
                    values[count // 2 : count // 2 + 1] = 9.0
                key = {"prompt_id": rollout["prompt_id"], "sample": rollout["sample"]}
                site = {"layer": BEST_LAYER, "window_start": -9}
                rows.append({**key, "direction": direction, "reader": reader, **site, "projections": values.tobytes()})
    return pl.DataFrame(rows)


def with_hostile_text(inputs: Inputs) -> Inputs:
    """The same with attacks in rollouts, prompts, names, labels' annotator and steered texts, one token for each."""
    attacks = list(HOSTILE.values())

    def attack(table: pl.DataFrame, column: str, how: Callable[[str, str], Any]) -> pl.DataFrame:
        values = table[column].to_list()
        changed = [how(value, attacks[place]) if place < len(attacks) else value for place, value in enumerate(values)]
        return table.with_columns(pl.Series(column, changed, dtype=table.schema[column]))

    def in_front(rollouts: pl.DataFrame) -> pl.DataFrame:
        rollouts = rollouts.with_columns(
            token_ids=pl.concat_list(pl.lit(7, pl.Int32), pl.col("token_ids").list.slice(1)),
            first=pl.col("token_ends").list.first(),
        )
        rows = []
        for place, row in enumerate(rollouts.iter_rows(named=True)):
            if place < len(attacks):
                longer = len(attacks[place]) - row["first"]
                row["text"] = attacks[place] + row["text"][row["first"] :]
                row["token_ends"] = [end + longer for end in row["token_ends"]]
            rows.append(row)
        return pl.DataFrame(rows, schema=rollouts.schema).drop("first")

    return replace(
        inputs,
        rollouts=attack(in_front(inputs.rollouts), "category", lambda _, text: text[:200]),
        prompts=attack(inputs.prompts, "messages", lambda _, text: json.dumps([{"role": "user", "content": text}])),
        sweeps=attack(inputs.sweeps, "text", lambda old, text: text + old),
        labels=inputs.labels.with_columns(
            annotator=pl.when(pl.col("annotator") == "other")
            .then(pl.lit(HOSTILE["html"]))
            .otherwise(pl.col("annotator"))
        ),
        annotators=["lexicon", HOSTILE["html"]],
    )


def in_half_precision(inputs: Inputs) -> Inputs:
    """The same of a pair that is computed in bfloat16."""
    values = inputs.settings.values
    settings = {**values, "pair": {**values["pair"], "dtype": "bfloat16"}}
    return replace(inputs, settings=StepSettings("results.explorer", canonical_json(settings)))


def with_thinking(inputs: Inputs) -> Inputs:
    """The same where each rollout begins with a tag and never ends its thinking; every second one is cut off."""
    rows, tag = inputs.rollouts.to_dicts(), "<think>"
    for place, row in enumerate(rows):
        first = row["token_ends"][0]
        row["text"] = tag + row["text"][first:]
        row["token_ends"] = [end + len(tag) - first for end in row["token_ends"]]
        row["token_ids"] = [8, *row["token_ids"][1:]]
        row["finish_reason"] = "stop" if place % 2 else "length"
    return replace(inputs, rollouts=pl.DataFrame(rows, schema=inputs.rollouts.schema))


def with_copies(inputs: Inputs, copies: int) -> Inputs:
    """The same with each rollout so many times, as further samples."""

    def copy(table: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([table.with_columns(sample=pl.col("sample") + number) for number in range(copies)])

    return replace(inputs, rollouts=copy(inputs.rollouts), labels=copy(inputs.labels), traces=copy(inputs.traces))


@dataclass(frozen=True)
class Explorer:
    """A page that was written, and what it was made from."""

    inputs: Inputs
    path: Path

    def address(self, state: str = "") -> str:
        """Its address, with what is shown."""
        return f"{self.path.as_uri()}#{state}"


def write_explorer(inputs: Inputs, path: Path) -> Explorer:
    """Write the page of some inputs."""
    path.write_text(fit_page(inputs), encoding="utf-8")
    return Explorer(inputs, path)


class Visitor:
    """Somebody with a browser window; what goes wrong in it is kept."""

    def __init__(self, page: Page, explorer: Explorer) -> None:
        self.page, self.explorer = page, explorer
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, state: str = "") -> Page:
        """Open the page at an address."""
        self.page.goto("about:blank")
        self.page.goto(self.explorer.address(state))
        self.page.wait_for_selector("html[data-ready]")
        return self.page

    def state(self) -> str:
        """What stands in the address."""
        return self.page.url.partition("#")[2]
