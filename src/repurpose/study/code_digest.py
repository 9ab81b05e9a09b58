"""A digest of the code that decides what a step writes; standard library only, because the Snakefile imports it.

Snakemake does not see a change in imported code. So each rule carries this digest among its settings. It covers

- the step's module and every module that it imports from the package, however indirectly, with the data files beside
  them, but for those in `NOT_COMPUTING`;
- of the rooms `study` and `data`, which read settings, files and command lines, only the names that those modules
  import, each with what it is made of: constants such as the labels or a table's schema and, from the modules in
  `COMPUTING`, functions and classes, too;
- of engines and annotators, only those that the step's settings choose (`ONLY_FOR`).

It is taken from the syntax tree without docstrings and positions, so that a comment, a docstring or another layout
changes nothing, and it leaves out empty fields, so that another version of Python changes nothing. Imports inside
functions count; names put together at run time (importlib) are not seen.
"""

import ast
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[1]
SUPPORT = ("study", "data")
"""Rooms that carry a study and its files to the steps; what of them decides a value is named by who imports it."""
COMPUTING = {
    "study/conditions.py": "the grid of a sweep: which rows there are, and how strongly each is steered",
    "study/chunks.py": "which sentences a language model sees together",
    "study/prompt_file.py": "what a line of a file of prompts says",
    "study/published.py": "what a record of a published file says",
    "study/vector_files.py": "the numbers of a vector from outside",
    "data/categories.py": "in which order prompts are taken",
    "data/statistics.py": "estimates and intervals",
    "data/selected.py": "what is said of the selected site",
    "data/csv_tables.py": "how a table's numbers are rounded and its texts written",
}
"""Modules of the rooms `SUPPORT` whose functions and classes decide values, each with what they decide."""
NOT_COMPUTING = {
    "__init__.py": "the version",
    "model/gpus.py": "which GPU is free",
    "model/pair_checks.py": "refuses a pair, or lets it pass",
    "model/template_checks.py": "refuses a chat template, or lets it pass",
    "model/engines/vllm_requirements.py": "refuses a machine, or lets it pass",
}
"""Modules elsewhere that decide no value, each with what they are for."""
ONLY_FOR = {
    "labels/lexicon.py": ("annotator", "lexicon"),
    "labels/llm": ("annotator", "llm"),
    "labels/published": ("annotator", "published"),
    "model/engines/api.py": ("engine", "openai"),
    "rollouts/published.py": ("engine", "published"),
    "model/engines/pool.py": ("engine", "transformers"),
    "model/engines/transformers.py": ("engine", "transformers"),
    "model/engines/vllm.py": ("engine", "vllm"),
}
"""Modules and folders that a step runs only where its settings choose so; what they alone import goes with them."""

ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
IGNORED_FIELDS = ("type_comment", "ctx")
Choices = Mapping[str, frozenset[str]]
"""What a step's settings choose, by the first word in `ONLY_FOR`; what is not named may be anything."""


class Symbol(NamedTuple):
    """What a module defines at its top level under one name."""

    file: Path
    name: str


def step_code(step: str, settings: Mapping[str, Any]) -> str:
    """Return 16 hex digits for the code behind `python -m repurpose.<step>` under the step's settings (plain values).

    A step whose module does not exist has a digest too (of nothing), so that its absence shows as the failure of its
    job and not as a failure to plan.
    """
    return code_digest(step, frozenset(choices(step, settings).items()))


def choices(step: str, settings: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """The engines and annotators that a step's settings choose among those in `ONLY_FOR`."""
    found = {}
    if "engine" in settings:
        engine = settings.get("rollouts", {}).get("engine") or settings["engine"]
        compared = ["transformers"] if step == "steering.check_parity" else []
        found["engine"] = frozenset([engine, *compared])
    if "labels" in settings:
        annotators = settings["labels"].get("annotators", {}).values()  # the explorer of published labels has none
        found["annotator"] = frozenset(annotator["kind"] for annotator in annotators)
    return found


@cache
def code_digest(step: str, chosen: frozenset[tuple[str, frozenset[str]]], package: Path = PACKAGE) -> str:
    """Return 16 hex digits for a step's code; `chosen` are the items of `choices`."""
    files, symbols = step_parts(step, dict(chosen), package)
    parts = [f"{file.relative_to(package).as_posix()}\n{_file_digest(file)}" for file in files]
    parts += sorted(_symbol_text(symbol, package) for symbol in symbols)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def step_parts(step: str, chosen: Choices, package: Path = PACKAGE) -> tuple[list[Path], set[Symbol]]:
    """Return what counts for a step: files, sorted, and single names of other files."""
    files: set[Path] = set()
    waiting = [f"{package.name}.{step}", f"{package.name}.{step}.__main__"]
    while waiting:
        for file in _module_files(waiting.pop(), package):
            name = file.relative_to(package).as_posix()
            whole = name not in NOT_COMPUTING and name.split("/")[0] not in SUPPORT
            if whole and file not in files and _is_chosen(file, chosen, package):
                files.add(file)
                waiting += [name for pair in _imports(file, package) for name in (pair[0], ".".join(pair))]
    imported = {pair for file in files for pair in _imports(file, package)}
    found = {symbol for module, name in imported if (symbol := _symbol(module, name, package))}
    symbols = {one for one in found if one.file not in files and _is_chosen(one.file, chosen, package)}
    folders = {file.parent for file in files} - {package}
    data = {file for folder in folders for file in folder.iterdir() if file.is_file()}
    files |= {file for file in data if file.suffix not in (".py", ".pyc")}
    return sorted(files), {one for one in symbols if _decides(one, package)}


def _is_chosen(file: Path, chosen: Choices, package: Path) -> bool:
    name = file.relative_to(package).as_posix()
    kind, value = next((choice for part, choice in ONLY_FOR.items() if f"{name}/".startswith(f"{part}/")), ("", ""))
    return value in chosen.get(kind, (value,))


def _decides(symbol: Symbol, package: Path) -> bool:
    """Whether a name of a file that does not count whole counts by itself."""
    computing = symbol.file.relative_to(package).as_posix() in COMPUTING
    return computing or isinstance(_definitions(symbol.file)[symbol.name][0], ASSIGNMENTS)


def _module_files(name: str, package: Path) -> list[Path]:
    """The file of a module and the `__init__.py` of each package around it, where they exist."""
    parts = name.split(".")[1:]
    inits = [package.joinpath(*parts[:depth], "__init__.py") for depth in range(len(parts) + 1)]
    module = [package.joinpath(*parts).with_suffix(".py")] if parts else []
    return [file for file in inits + module if file.is_file()]


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes(), filename=file.name)


@cache
def _imports(file: Path, package: Path) -> list[tuple[str, str]]:
    """Return (module, name) for each import from the package; the name may be a module's, or empty."""
    found: list[tuple[str, str]] = []
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            around = ".".join(file.parent.relative_to(package.parent).parts)
            origin = resolve_name("." * node.level + (node.module or ""), around)
            found += [(origin, alias.name) for alias in node.names]
    return [(module, name) for module, name in found if module.split(".")[0] == package.name]


def _symbol(module: str, name: str, package: Path) -> Symbol | None:
    """What `from module import name` gives; the module may itself have imported it. None for a module."""
    files = _module_files(module, package)
    if not files:
        return None
    if name in _definitions(files[-1]):
        return Symbol(files[-1], name)
    origins = (origin for origin, other in _imports(files[-1], package) if other == name and origin != module)
    return next((found for origin in origins if (found := _symbol(origin, name, package))), None)


@cache
def _definitions(file: Path) -> dict[str, list[ast.stmt]]:
    """Return the statements that define each name of a module at its top level."""
    found: dict[str, list[ast.stmt]] = {}
    for node in _tree(file).body:
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ASSIGNMENTS):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        for name in names:
            found.setdefault(name, []).append(node)
    return found


def _symbol_text(symbol: Symbol, package: Path) -> str:
    """A name's definition with those of all that it is made of; where they stand changes nothing."""
    found: dict[Symbol, list[ast.stmt]] = {}
    waiting = [symbol]
    while waiting:
        if (one := waiting.pop()) not in found:
            found[one] = _definitions(one.file)[one.name]
            nodes = [node for statement in found[one] for node in ast.walk(statement)]
            names = {node.id for node in nodes if isinstance(node, ast.Name)}
            module = ".".join(one.file.relative_to(package.parent).with_suffix("").parts)
            parts = [part for name in names if (part := _symbol(module, name, package))]
            waiting += [part for part in parts if part.file == one.file or _decides(part, package)]
    return "\n".join(sorted(f"{one.name} {_canonical(nodes)}" for one, nodes in found.items()))


@cache
def _file_digest(file: Path) -> str:
    content = _canonical(_tree(file)).encode() if file.suffix == ".py" else file.read_bytes()
    return hashlib.sha256(content).hexdigest()


def _canonical(node: object) -> str:
    """Write a syntax tree as text: node types and non-empty fields, nothing of layout."""
    if isinstance(node, ast.Constant):
        return repr(node.value)
    if isinstance(node, list):  # without docstrings and other bare constants
        kept = [part for part in node if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))]
        return f"[{','.join(map(_canonical, kept))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if name not in IGNORED_FIELDS)
    text = ",".join(f"{name}={_canonical(value)}" for name, value in fields if value not in (None, []))
    return f"{type(node).__name__}({text})"
