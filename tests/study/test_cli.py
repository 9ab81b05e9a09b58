"""The command `repurpose`: its list of steps is that of the source, and it runs them as `python -m` does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from repurpose.study.cli import PACKAGE, choose_step, find_steps

SCRIPT = (
    "import sys; sys.argv[0] = 'repurpose'\n"
    "from repurpose.study.cli import main\n"
    "try: main()\n"
    "finally: print(sorted({'torch', 'polars', 'numpy'} & set(sys.modules)), file=sys.stderr)\n"
)


def call(*arguments: str, script: str = "from repurpose.study.cli import main; main()") -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


def test_every_module_that_runs_is_a_step_with_a_line() -> None:
    steps = find_steps()
    sources = [file for file in PACKAGE.rglob("*.py") if 'if __name__ == "__main__":' in file.read_text()]
    assert len(steps) == len(sources) >= 20
    for name, does in steps.items():
        assert len(does) > 20 and does[0].isupper(), name


def test_the_list_needs_no_library() -> None:
    status, out, err = call("steps", script=SCRIPT)
    assert (status, err) == (0, "[]\n")
    assert [line.split()[0] for line in out.splitlines() if line][:-1] == list(find_steps())


def test_a_step_runs_as_its_module_does(tmp_path: Path) -> None:
    """Its help, its output and the one line and status of its error are the step's own."""
    status, out, _ = call("plan", "--help")
    assert status == 0 and "What a study will take" in out
    status, out, err = call("plan", str(tmp_path / "none.yaml"))
    assert (status, out) == (1, "") and err.startswith(f"repurpose plan: {tmp_path}/none.yaml: cannot be read")


def test_plan_prints_the_plan() -> None:
    status, out, _ = call("plan", str(PACKAGE.parents[1] / "config.yaml"))
    assert status == 0 and out.startswith("jobs") and "disk, at most" in out


@pytest.mark.parametrize(
    ("asked", "found"), [("labels.compare", "labels.compare"), ("compare", "labels.compare"), ("plan", "study.plan")]
)
def test_a_step_is_named_in_full_or_by_its_last_part(asked: str, found: str) -> None:
    assert choose_step(asked, {"labels.compare": "", "study.plan": "", "results.plans": ""}) == found


def test_a_name_that_several_steps_have_is_refused() -> None:
    steps = {"a.check": "", "b.check": "", "check": ""}
    assert choose_step("check", steps) == "check"
    del steps["check"]
    with pytest.raises(ValueError, match=r"several steps are called so: a\.check, b\.check"):
        choose_step("check", steps)


def test_an_unknown_name_ends_in_one_line() -> None:
    assert call("nothing") == (1, "", "repurpose: nothing: no such step; `repurpose steps` lists them\n")


def test_no_argument_shows_the_usage() -> None:
    status, out, err = call()
    assert (status, out) == (1, "") and err.startswith("usage: repurpose steps")
    assert call("--help") == (0, err.removesuffix("\n"), "")
