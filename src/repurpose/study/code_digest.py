"""A digest of the code that a step runs; standard library only, because the Snakefile imports it.

Snakemake does not see a change in imported code. So each rule carries this digest among its settings: it covers the
step's module, everything that the module imports from this package, however indirectly, and the data files beside
a subpackage. It is taken from the syntax tree without docstrings and positions, so that a comment, a docstring or
another layout changes nothing, and it leaves out empty fields, so that another version of Python changes nothing.
Imports inside functions count; names put together at run time (importlib) are not seen.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
IGNORED_ASSIGNMENT = "__version__"
"""A new version number alone computes nothing new."""
IGNORED_FIELDS = ("type_comment", "ctx")


@cache
def code_digest(step: str, package: Path = PACKAGE) -> str:
    """Return 16 hex digits for the code behind `python -m repurpose.<step>`.

    A step whose module does not exist has a digest too (of nothing), so that its absence shows as the failure of its
    job and not as a failure to plan.
    """
    digest = hashlib.sha256()
    for file in step_files(step, package):
        digest.update(f"{file.relative_to(package).as_posix()}\n{_file_digest(file)}\n".encode())
    return digest.hexdigest()[:16]


def step_files(step: str, package: Path = PACKAGE) -> list[Path]:
    """Return the files behind a step, sorted: its modules, their imports in the package, data of subpackages."""
    found: set[Path] = set()
    waiting = [f"{package.name}.{step}", f"{package.name}.{step}.__main__"]
    while waiting:
        for file in _module_files(waiting.pop(), package):
            if file not in found:
                found.add(file)
                waiting += _imports(file, package)
    return sorted(found | set(_data_files(found, package)))


def _module_files(name: str, package: Path) -> Iterator[Path]:
    """Yield the file of a module and the `__init__.py` of each package around it, where they exist."""
    parts = name.split(".")[1:]
    for depth in range(len(parts) + 1):
        init = package.joinpath(*parts[:depth], "__init__.py")
        if init.is_file():
            yield init
    module = package.joinpath(*parts).with_suffix(".py")
    if parts and module.is_file():
        yield module


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes(), filename=file.name)


@cache
def _imports(file: Path, package: Path) -> list[str]:
    """Return the dotted names in the package that a file imports (a name may turn out to be no module)."""
    names: list[str] = []
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, file, package)
            names += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == package.name]


def _origin(node: ast.ImportFrom, file: Path, package: Path) -> str:
    """Return the absolute name of the module that a `from ... import` names."""
    if not node.level:
        return node.module or ""
    inside = file.parent.relative_to(package.parent).parts
    base = inside[: len(inside) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _data_files(modules: Iterable[Path], package: Path) -> Iterator[Path]:
    folders = {file.parent for file in modules} - {package}
    for folder in folders:
        yield from (file for file in folder.iterdir() if file.is_file() and file.suffix not in (".py", ".pyc"))


@cache
def _file_digest(file: Path) -> str:
    content = _canonical(_tree(file)).encode() if file.suffix == ".py" else file.read_bytes()
    return hashlib.sha256(content).hexdigest()


def _canonical(node: object) -> str:
    """Write a syntax tree as text: node types and non-empty fields, nothing of layout."""
    if isinstance(node, ast.Constant):
        return repr(node.value)
    if isinstance(node, list):
        return f"[{','.join(map(_canonical, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if name not in IGNORED_FIELDS)
    kept = ((name, _statements(value) if name == "body" else value) for name, value in fields)
    text = ",".join(f"{name}={_canonical(value)}" for name, value in kept if value not in (None, []))
    return f"{type(node).__name__}({text})"


def _statements(body: object) -> object:
    """Drop what changes no behaviour: the docstring, other bare strings, the version number."""
    if not isinstance(body, list):
        return body  # the body of a lambda or of a conditional expression
    return [statement for statement in body if not _is_idle(statement)]


def _is_idle(statement: ast.AST) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.Assign):
        return [ast.unparse(target) for target in statement.targets] == [IGNORED_ASSIGNMENT]
    return False
