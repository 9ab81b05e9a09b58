"""Prompts by category, split into train and held-out before anything else is made.

They come from a program of our own or from a file: a prompt on each line, or published chains, of which each problem is
a prompt. The split is stratified: both halves hold every category in the same proportion, as near as counts allow, and
the order is fixed by the study's seed.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

from repurpose.data.categories import by_category, deal
from repurpose.data.command import run_step
from repurpose.data.schemas import PROMPTS
from repurpose.organism import language as organism_language
from repurpose.organism import word_problems
from repurpose.study.prompt_counts import OWN_PROMPTS, PROMPT_SOURCES, check_enough
from repurpose.study.prompt_file import read_lines
from repurpose.study.published import PublishedError, is_published, read_prompts, tell_left_out
from repurpose.study.settings import Prompts, SettingsError


def make_prompts(prompts: Prompts, seed: int) -> list[dict[str, Any]]:
    """Return the PROMPTS rows of a study, training prompts first.

    Raises:
        SettingsError: where the source is missing, malformed or too small.
    """
    wanted = prompts.train + prompts.heldout
    if prompts.source in OWN_PROMPTS:
        check_enough(prompts.source, prompts.train, prompts.heldout, OWN_PROMPTS[prompts.source])
        pool = _from_program(prompts.source, wanted, seed)
    else:
        pool = _from_file(prompts.source)
    check_enough(prompts.source, prompts.train, prompts.heldout, len(pool))
    rng, categories = random.Random(f"split-{seed}"), by_category(pool)
    for rows in categories.values():
        rng.shuffle(rows)
    chosen = deal(categories[name] for name in sorted(categories))[:wanted]  # any prefix is balanced
    splits = ["train"] * prompts.train + ["heldout"] * prompts.heldout
    return [{**row, "split": split} for row, split in zip(chosen, splits, strict=True)]


def _from_program(source: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Draw problems that no training text of the source's pair shows, the categories in turn."""
    language: Any = {"organism": organism_language, "word-problems": word_problems}[source]
    rng, categories = random.Random(f"prompts-{seed}"), sorted(language.SCENES)
    found: dict[str, Any] = {}
    while len(found) < count:
        problem = language.make_problem(rng, categories[len(found) % len(categories)], heldout=True)
        found.setdefault(problem.text, problem)
    problems = enumerate(found.values())
    return [_row(f"{p.category}-{number:04d}", p.category, _ask(p.text), p.answer) for number, p in problems]


def _ask(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _row(prompt_id: str, category: str, message: dict[str, str], answer: object | None) -> dict[str, Any]:
    messages = json.dumps([message], ensure_ascii=False)
    known = None if answer is None else str(answer)
    return {"prompt_id": prompt_id, "category": category, "messages": messages, "answer": known}


def _from_file(source: str) -> list[dict[str, Any]]:
    path = Path(source)
    if not path.is_file():
        raise SettingsError(f"prompts.source: no file {source}; give {PROMPT_SOURCES}")
    return _from_published(source) if is_published(path) else _from_lines(path)


def _from_published(source: str) -> list[dict[str, Any]]:
    try:
        tasks = read_prompts(source).tasks
    except PublishedError as problem:
        raise SettingsError(f"prompts.source: {problem}") from None
    firsts = {prompt_id: records[0] for prompt_id, records in tasks.items()}
    return [_row(prompt_id, task.category, task.message, task.answer) for prompt_id, task in firsts.items()]


def _from_lines(path: Path) -> list[dict[str, Any]]:
    return [_row(line.prompt_id, line.category, _ask(line.prompt), line.answer) for line in read_lines(path)]


def main() -> None:
    with run_step("rollouts.prompts", __doc__) as step:
        prompts = step.settings.prompts
        rows, notes = make_prompts(prompts, step.settings.seed), dict[str, Any]()
        if prompts.source not in OWN_PROMPTS and is_published(prompts.source):
            notes["left_out"] = read_prompts(prompts.source).left_out
            sys.stderr.write("".join(f"{line}\n" for line in tell_left_out(prompts.source, notes["left_out"])))
        step.write(rows, PROMPTS, **notes)


if __name__ == "__main__":
    main()
