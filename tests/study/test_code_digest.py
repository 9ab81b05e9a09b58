"""The code digest: what changes it, what does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from repurpose.study import code_digest as digest
from repurpose.study.code_digest import PACKAGE, choices, step_parts

FILES = {
    "__init__.py": '"""A package."""\n__version__ = "1"\n',
    "study/settings.py": "import re\nNAMES = ('a', 'b')\nWORD = re.compile('|'.join(NAMES))\nclass Settings: pass\n",
    "study/conditions.py": (
        "from .settings import Settings\n\ndef grid(x: Settings):\n    return cells(x)\n\n"
        "def cells(x):\n    return 1\n\ndef other():\n    return 1\n"
    ),
    "data/schemas.py": (
        "def make(*columns):\n    return columns\n\nwhole, text = 1, 2\nROWS = make(whole, text)\nOTHER = 1\n"
    ),
    "data/tables.py": "from pack.data.schemas import ROWS\n\ndef write(x):\n    return x\n",
    "model/words.py": "LIST = ['wait']\n",
    "model/gpus.py": "def lease():\n    return 0\n",
    "model/engines/__init__.py": "def load(x):\n    from .vllm import go\n    return go(x)\n",
    "model/engines/vllm.py": (
        "from ..words import LIST\nfrom ..gpus import lease\n\ndef go(x):\n    return LIST, lease\n"
    ),
    "model/engines/names.txt": "a\n",
    "rollouts/__init__.py": "",
    "rollouts/unused.py": "X = 1\n",
    "rollouts/sampling.py": (
        "import math\nfrom pack.data.tables import ROWS, write\nfrom pack.model.engines import load\n"
        "from ..study.conditions import grid\nfrom pack.study.settings import WORD, Settings\n\n"
        "def main(x):\n    return load(grid, ROWS, WORD, write, math.floor(x))\n"
    ),
    "figures/__init__.py": "",
    "figures/__main__.py": "import pack.model.words as w\n",
}
STEP = "rollouts.sampling"


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    for name, text in FILES.items():
        file = tmp_path / "pack" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    yield tmp_path / "pack"
    forget()


def changes(package: Path, name: str, text: str, step: str = STEP, **chosen: str) -> bool:
    """Whether the step's digest changes when a file gets another text."""
    before = digest_of(step, package, **chosen)
    (package / name).write_text(text)
    return digest_of(step, package, **chosen) != before


def digest_of(step: str, package: Path, **chosen: str) -> str:
    forget()
    return digest.code_digest(step, frozenset((kind, frozenset([value])) for kind, value in chosen.items()), package)


def forget() -> None:
    for function in vars(digest).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def names_of(step: str, package: Path, **chosen: str) -> list[str]:
    files, _ = step_parts(step, {kind: frozenset([value]) for kind, value in chosen.items()}, package)
    return [file.relative_to(package).as_posix() for file in files]


def test_files_are_the_step_and_what_it_imports_that_computes_however_indirectly(package: Path) -> None:
    assert names_of(STEP, package) == [
        "model/engines/__init__.py",
        "model/engines/names.txt",
        "model/engines/vllm.py",
        "model/words.py",
        "rollouts/__init__.py",
        "rollouts/sampling.py",
    ]
    _, symbols = step_parts(STEP, {}, package)
    assert {symbol.name for symbol in symbols} == {"ROWS", "WORD", "grid"}


def test_an_engine_that_is_not_chosen_drags_nothing_in(package: Path) -> None:
    assert names_of(STEP, package, engine="vllm") == names_of(STEP, package)
    left = {"model/engines/vllm.py", "model/words.py"}
    assert names_of(STEP, package, engine="transformers") == [n for n in names_of(STEP, package) if n not in left]
    assert not changes(package, "model/words.py", "LIST = ['hmm']\n", engine="transformers")
    assert changes(package, "model/words.py", "LIST = ['no']\n", engine="vllm")


def test_a_package_is_run_by_its_main_module(package: Path) -> None:
    assert names_of("figures", package) == ["figures/__init__.py", "figures/__main__.py", "model/words.py"]


SAMPLING, TABLES, SCHEMAS = (FILES[name] for name in ("rollouts/sampling.py", "data/tables.py", "data/schemas.py"))
SETTINGS, CONDITIONS = FILES["study/settings.py"], FILES["study/conditions.py"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rollouts/sampling.py", "# Why.\n" + SAMPLING),
        ("rollouts/sampling.py", '"""New words."""\n' + SAMPLING),
        ("rollouts/sampling.py", SAMPLING.replace("(x):\n", '(x):\n    """Says."""\n')),
        ("rollouts/sampling.py", SAMPLING.replace("math.floor(x)", "(\n        math.floor( x )\n    )")),
        ("model/words.py", 'LIST = ["wait"]\n"""Said of LIST."""\n'),
        ("model/gpus.py", "def lease():\n    return 1\n"),
        ("__init__.py", FILES["__init__.py"].replace('"1"', '"2"')),
        ("rollouts/unused.py", "X = 2\n"),
        ("data/tables.py", TABLES.replace("return x", "return x, 1")),
        ("data/schemas.py", SCHEMAS.replace("OTHER = 1", "OTHER = 2")),
        ("study/conditions.py", CONDITIONS.replace("other():\n    return 1", "other():\n    return 2")),
        ("study/settings.py", SETTINGS.replace("pass", "x = 1")),
        ("study/settings.py", "SMALL = 1\n" + SETTINGS),
    ],
)
def test_unchanged_by(package: Path, name: str, text: str) -> None:
    assert not changes(package, name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model/words.py", "LIST = ['hmm']\n"),
        ("model/words.py", "LIST = [True]\n"),
        ("model/engines/names.txt", "b\n"),
        ("rollouts/sampling.py", SAMPLING.replace("floor", "ceil")),
        ("rollouts/sampling.py", SAMPLING.replace("main(x)", "main(x, y=0)")),
        ("study/conditions.py", CONDITIONS.replace("(x: Settings)", "(x: Settings, y=0)")),
        ("study/conditions.py", CONDITIONS.replace("cells(x):\n    return 1", "cells(x):\n    return 2")),
        ("data/schemas.py", SCHEMAS.replace("make(whole, text)", "make(text, whole)")),
        ("data/schemas.py", SCHEMAS.replace("1, 2", "1, 3")),
        ("data/schemas.py", SCHEMAS.replace("return columns", "return columns[:1]")),
        ("study/settings.py", SETTINGS.replace("'b'", "'c'")),
        ("study/settings.py", SETTINGS + "NAMES += ('c',)\n"),
        ("data/tables.py", TABLES.replace("from pack.data.schemas import ROWS", "ROWS = 7")),
    ],
)
def test_changed_by(package: Path, name: str, text: str) -> None:
    assert changes(package, name, text)


def test_a_schema_may_move_to_another_module(package: Path) -> None:
    before = digest_of(STEP, package)
    (package / "data" / "tables.py").write_text(SCHEMAS + "\ndef write(x):\n    return x\n")
    (package / "data" / "schemas.py").unlink()
    assert digest_of(STEP, package) == before


def test_a_number_is_not_its_text_or_its_truth(package: Path) -> None:
    (package / "model" / "words.py").write_text("LIST = 1\n")
    for text in ("LIST = True\n", "LIST = '1'\n", "LIST = 1.0\n"):
        assert changes(package, "model/words.py", text)


def test_a_step_without_a_module_has_a_digest_too(package: Path) -> None:
    assert digest_of("missing", package) != digest_of(STEP, package)


def test_functions_moved_between_modules_are_noticed(package: Path) -> None:
    (package / "model" / "words.py").write_text(FILES["model/engines/vllm.py"])
    assert changes(package, "model/engines/vllm.py", FILES["model/words.py"])


@pytest.mark.parametrize(
    ("step", "settings", "expected"),
    [
        ("rollouts.sampling", {"engine": "vllm", "rollouts": {"engine": None}}, {"engine": {"vllm"}}),
        ("rollouts.sampling", {"engine": "vllm", "rollouts": {"engine": "openai"}}, {"engine": {"openai"}}),
        ("steering.sweeps", {"engine": "transformers"}, {"engine": {"transformers"}}),
        ("steering.check_parity", {"engine": "vllm"}, {"engine": {"vllm", "transformers"}}),
        ("labels.labelling", {"labels": {"annotators": {"a": {"kind": "llm"}}}}, {"annotator": {"llm"}}),
        ("directions.lens", {"keywords": ["wait"]}, {}),
    ],
)
def test_what_settings_choose(step: str, settings: dict[str, object], expected: dict[str, set[str]]) -> None:
    assert choices(step, settings) == expected


def test_the_names_in_the_tables_of_modules_are_modules() -> None:
    for name in (*digest.COMPUTING, *digest.NOT_COMPUTING, *digest.ONLY_FOR):
        assert (PACKAGE / name).exists(), name


def test_the_package_itself_decides_no_value() -> None:
    """Its `__init__` is in no digest: the version, what it calls of `study`, and `open`, which no step asks for."""
    file = PACKAGE / "__init__.py"
    assert {module.split(".")[1] for module, _ in digest._imports(file, PACKAGE)} <= {"study", "steering"}
    names = digest._definitions(file)
    assert set(names) == {"__version__", "__all__", "__getattr__"}
    assert not [f for f in PACKAGE.rglob("*.py") if ("repurpose", "open") in digest._imports(f, PACKAGE)]


def test_what_computes_nothing_is_imported_by_name() -> None:
    """A module that is imported whole would count with none of its constants."""
    for file in PACKAGE.rglob("*.py"):
        for module, name in digest._imports(file, PACKAGE):
            whole = f"{module}.{name}".rstrip(".").removeprefix("repurpose.").replace(".", "/") + ".py"
            computes = whole in digest.COMPUTING or whole.split("/")[0] not in digest.SUPPORT
            assert computes or not (PACKAGE / whole).is_file(), f"{file.name} imports all of {whole}"


def test_digests_of_the_package_are_quick() -> None:
    module = "from repurpose.study.code_digest import code_digest"
    code = f"import time; {module}; code_digest('steering.sweeps', frozenset()); print(time.process_time())"
    seconds = run_python("-c", code, PYTHONPATH=str(PACKAGE.parent))
    assert float(seconds) < 1.5


def test_only_the_standard_library_pydantic_and_yaml_are_imported() -> None:
    names = ("catalogue", "code_digest", "jobs.locks", "pair_files", "resources", "schema", "settings", "study_file")
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
