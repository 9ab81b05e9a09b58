"""How many prompts a study takes: counts as they are written, shares of a file, all of a split.

A study file may say `train: 0.8` and, of a sweep, `prompts: all`. When it is read they become numbers, so that whatever
plans or runs it knows numbers alone. Standard library only, because the Snakefile imports it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from repurpose.study.messages import SettingsError
from repurpose.study.prompt_file import read_lines
from repurpose.study.published import PublishedError, is_published, read_prompts

OWN_PROMPTS = {"organism": 5_000, "word-problems": 1_000_000}
"""Sources of prompts that a program writes, and how many different ones it can be asked for: in the embedded pair's
language, which has little more in its rarest category, and word problems in English."""
PROMPT_SOURCES = f"{', '.join(map(repr, OWN_PROMPTS))}, a JSON-lines file or a JSON file of published chains"
SPLITS = ("train", "heldout")
ALL = "all"
Locate = Callable[[str], str]
"""Finds a path of a study."""


def is_path(text: str) -> bool:
    """Whether a file or a model on a hub could be called so; asking for another is an error of the system."""
    parts = text.encode("utf-8", "replace").split(b"/")
    of_others = text.startswith("~") and parts[0] != b"~"
    return bool(text) and max(map(len, parts)) <= 255 and len(text) <= 1000 and "\0" not in text and not of_others


def with_counts(values: Mapping[str, Any], locate: Locate) -> dict[str, Any]:
    """A study's mapping with numbers for shares and `all`; what is no mapping, share or `all` stays as it is.

    Raises:
        SettingsError: for shares of what cannot be counted, or that are too much or nothing.
    """
    prompts, sweeps = values.get("prompts"), values.get("sweeps")
    if not isinstance(prompts, dict):
        return dict(values)
    counted = {**values, "prompts": {**prompts, **_counts(prompts, locate)}}
    if isinstance(sweeps, dict):
        counted["sweeps"] = {name: _counted(name, sweep, counted["prompts"]) for name, sweep in sweeps.items()}
    return counted


def _counted(name: Any, sweep: Any, prompts: Mapping[str, Any]) -> Any:
    """A sweep with the number of its split's prompts for `all`."""
    asked = sweep.get("prompts") if isinstance(sweep, dict) else None
    if not isinstance(asked, str) or sweep.get("split") not in SPLITS:
        return sweep
    if asked != ALL:
        raise SettingsError(f"sweeps.{name}.prompts: {asked!r} is not allowed; give a number, or {ALL}")
    return {**sweep, "prompts": prompts.get(sweep["split"])}


def _counts(prompts: Mapping[str, Any], locate: Locate) -> dict[str, int]:
    """Numbers for the splits that are given as shares; shares that add up to 1 leave no prompt out."""
    shares = {split: prompts[split] for split in SPLITS if _is_share(prompts.get(split))}
    if not shares or not isinstance(prompts.get("source"), str) or not is_path(prompts["source"]):
        return {}
    there, counts, upto = _total(prompts["source"], shares, locate), dict[str, int](), 0.0
    for split, share in shares.items():
        upto += share
        counts[split] = round(upto * there) - sum(counts.values())
        if not counts[split]:
            raise SettingsError(f"prompts.{split}: {share:g} of {there} prompts in {prompts['source']} is none")
    return counts


def _is_share(value: Any) -> TypeGuard[float]:
    return isinstance(value, float) and 0 < value < 1


def _total(source: str, shares: Mapping[str, float], locate: Locate) -> int:
    """The number of prompts that shares are of."""
    split, share = next(iter(shares.items()))
    if source in OWN_PROMPTS:
        raise SettingsError(f"prompts.{split}: {share:g} is a share, and `{source}` is no file; give a number")
    if sum(shares.values()) > 1 + 1e-9:
        raise SettingsError(f"prompts: {' and '.join(f'{s} {n:g}' for s, n in shares.items())} are more than all")
    return count_prompts(source, locate(source))


def count_prompts(source: str, file: str) -> int:
    """The prompts that a program can write, or those in a file, one a line or one a published problem.

    The file is read as the first step reads it, so that what is wrong with it is told while planning.

    Raises:
        SettingsError: where there are none to be had, or a line of the file is wrong.
    """
    if source in OWN_PROMPTS:
        return OWN_PROMPTS[source]
    if not Path(file).is_file():
        raise SettingsError(f"prompts.source: no file at {source}; give {PROMPT_SOURCES}")
    if is_published(file):
        try:
            return len(read_prompts(file).tasks)
        except PublishedError as problem:
            raise SettingsError(f"prompts.source: {problem}") from None
    return len(read_lines(Path(file)))


def check_enough(source: str, train: int, heldout: int, there: int) -> None:
    """Refuse more prompts than there are (SettingsError)."""
    if train + heldout > there:
        shares = "" if source in OWN_PROMPTS else ", or shares, such as 0.8 and 0.2"
        raise SettingsError(
            f"prompts.train and prompts.heldout: {train} and {heldout} are asked for, {source} has {there} prompts; "
            f"give numbers that add up to at most {there}{shares}"
        )
