"""The code digest: what changes it, what does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from repurpose.study.code_digest import PACKAGE, code_digest, step_files

FILES = {
    "__init__.py": '"""A package."""\n__version__ = "1"\n',
    "tables.py": "import math\nfrom pack import __version__\n\ndef write(x):\n    return math.floor(x)\n",
    "words.py": "LIST = ['wait']\n",
    "unused.py": "X = 1\n",
    "rollouts.py": "from pack.engines import load\nfrom . import tables\n\ndef main():\n    return load(tables)\n",
    "engines/__init__.py": "def load(x):\n    from .local import go\n    return go(x)\n",
    "engines/local.py": "from ..words import LIST\n\ndef go(x):\n    return LIST\n",
    "engines/names.txt": "a\n",
    "figures/__init__.py": "",
    "figures/__main__.py": "import pack.tables as t\n",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / "pack" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "pack"


def digest_after(package: Path, name: str, text: str, step: str = "rollouts") -> bool:
    """Whether the step's digest changes when a file gets another text."""
    forget()
    before = code_digest(step, package)
    (package / name).write_text(text)
    forget()
    return code_digest(step, package) != before


def forget() -> None:
    from repurpose.study import code_digest as digest

    for function in (digest.code_digest, digest._tree, digest._imports, digest._file_digest):
        function.cache_clear()


def test_files_are_the_step_and_its_imports_however_indirect(package: Path) -> None:
    found = [file.relative_to(package).as_posix() for file in step_files("rollouts", package)]
    assert found == [
        "__init__.py",
        "engines/__init__.py",
        "engines/local.py",
        "engines/names.txt",
        "rollouts.py",
        "tables.py",
        "words.py",
    ]


def test_a_package_is_run_by_its_main_module(package: Path) -> None:
    found = [file.relative_to(package).as_posix() for file in step_files("figures", package)]
    assert found == ["__init__.py", "figures/__init__.py", "figures/__main__.py", "tables.py"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tables.py", "# Why.\n" + FILES["tables.py"]),
        ("tables.py", '"""New words."""\n' + FILES["tables.py"]),
        ("tables.py", FILES["tables.py"].replace("(x):\n", '(x):\n    """Says."""\n')),
        ("tables.py", FILES["tables.py"].replace("math.floor(x)", "(\n        math.floor( x )\n    )")),
        ("words.py", 'LIST = ["wait"]\n"""Said of LIST."""\n'),
        ("__init__.py", FILES["__init__.py"].replace('"1"', '"2"')),
        ("unused.py", "X = 2\n"),
    ],
)
def test_unchanged_by(package: Path, name: str, text: str) -> None:
    assert not digest_after(package, name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("words.py", "LIST = ['hmm']\n"),
        ("tables.py", FILES["tables.py"].replace("floor", "ceil")),
        ("tables.py", FILES["tables.py"].replace("write(x)", "write(x, y=0)")),
        ("engines/names.txt", "b\n"),
        ("words.py", "LIST = [True]\n"),
    ],
)
def test_changed_by(package: Path, name: str, text: str) -> None:
    assert digest_after(package, name, text)


def test_a_number_is_not_its_text_or_its_truth(package: Path) -> None:
    (package / "words.py").write_text("LIST = 1\n")
    assert digest_after(package, "words.py", "LIST = True\n")
    assert digest_after(package, "words.py", "LIST = '1'\n")
    assert digest_after(package, "words.py", "LIST = 1.0\n")


def test_a_step_without_a_module_has_a_digest_too(package: Path) -> None:
    assert code_digest("missing", package) != code_digest("rollouts", package)


def test_functions_moved_between_modules_are_noticed(package: Path) -> None:
    (package / "tables.py").write_text(FILES["words.py"])
    assert digest_after(package, "words.py", FILES["tables.py"])


def test_digests_of_the_package_are_quick() -> None:
    module = "from repurpose.study.code_digest import code_digest"
    code = f"import time; {module}; code_digest('steering.sweeps'); print(time.process_time())"
    seconds = run_python("-c", code, PYTHONPATH=str(PACKAGE.parent))
    assert float(seconds) < 1.5


def test_only_the_standard_library_pydantic_and_yaml_are_imported() -> None:
    names = ("catalogue", "code_digest", "locks", "pair_files", "resources", "schema", "settings", "study_file")
    modules = ", ".join(f"repurpose.study.{name}" for name in names)
    known = "{name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)"
    code = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); before = {known}"
    code += f"; import pydantic.dataclasses, yaml; allowed = {known}; import {modules}"
    code += f"; print(*sorted({known} - allowed), *sorted(allowed - before))"
    found = run_python("-I", "-c", code).split()
    assert found[0] == "repurpose"
    assert not {"torch", "numpy", "polars", "transformers", "snakemake"} & set(found)


def run_python(*arguments: str, **environment: str) -> str:
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()
