"""Study files: what one of them extends, what stays of it, and the schema that editors check them against."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from repurpose.study.guard import check_named
from repurpose.study.schema import schema_text, study_schema
from repurpose.study.settings import SettingsError, Study
from repurpose.study.study_file import load_study, load_values, resolve_extends

ROOT = Path(__file__).parents[2]
STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
MODELINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")


def write(file: Path, values: Any) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(values))
    return file


@pytest.fixture
def default(tmp_path: Path) -> Path:
    return write(tmp_path / "config.yaml", load_values(ROOT / "studies" / "organism.yaml"))


def assert_fault(file: Path, message: str) -> None:
    with pytest.raises(SettingsError) as problem:
        load_study(file)
    assert str(problem.value).startswith(message)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_shipped_studies_are_valid_and_name_their_schema(file: Path) -> None:
    assert isinstance(load_study(file), Study)
    jsonschema.validate(yaml.safe_load(file.read_text()), study_schema())
    named = MODELINE.match(file.read_text())
    assert named and (file.parent / named[1]).samefile(ROOT / "workflow" / "schemas" / "study.schema.json")


def test_a_study_says_only_what_differs(default: Path, tmp_path: Path) -> None:
    chosen = {"activations": {"window_starts": [0]}, "sweeps": {"ablation": {"prompts": 3}}}
    mine = write(tmp_path / "studies" / "mine.yaml", {"extends": "../config.yaml", "study": "mine", **chosen})
    expected = load_values(default)
    expected["study"] = "mine"
    expected["activations"]["window_starts"] = [0]
    expected["sweeps"]["ablation"]["prompts"] = 3
    assert load_values(mine) == expected


def test_a_chain_counts_each_path_from_the_file_that_says_it(default: Path, tmp_path: Path) -> None:
    write(tmp_path / "one" / "a.yaml", {"extends": f"../{default.name}", "study": "a", "seed": 1, "engine": "vllm"})
    b = write(tmp_path / "two" / "b.yaml", {"extends": "../one/a.yaml", "study": "b", "seed": 2})
    study = load_study(b)
    assert (study.study, study.seed, study.engine, study.prompts.train) == ("b", 2, "vllm", 240)


@pytest.mark.usefixtures("default")
def test_null_takes_a_mapping_away_and_is_a_value_elsewhere(tmp_path: Path) -> None:
    server = {"kind": "llm", "llm": {"endpoint": {"model": "m", "temperature": 1.0}}}
    one = {"extends": "config.yaml", "study": "one", "labels": {"annotators": {"model": server}}}
    write(tmp_path / "one.yaml", {**one, "statistics": {"bootstrap": 7}})
    changed = {"model": {"llm": {"endpoint": {"temperature": None}}}}
    two = {"extends": "one.yaml", "study": "two", "sweeps": {"ablation": None}, "statistics": None}
    study = load_study(write(tmp_path / "two.yaml", {**two, "labels": {"annotators": changed}}))
    assert set(study.sweeps) == {"selection", "two_by_two", "baselines"}
    assert study.statistics.bootstrap == 2000
    llm = study.labels.annotators["model"].llm
    assert llm is not None and llm.endpoint.temperature is None


@pytest.mark.usefixtures("default")
def test_own_keys_come_first_in_their_own_order(tmp_path: Path) -> None:
    sweeps = {"baselines": {"prompts": 2}, "two_by_two": {"prompts": 2}}
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump({"extends": "config.yaml", "study": "mine", "sweeps": sweeps}, sort_keys=False)
    )
    assert list(load_values(tmp_path / "mine.yaml")["sweeps"])[:2] == list(sweeps)


@pytest.mark.usefixtures("default")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "study: missing setting; what extends another study needs a name of its own"),
        ({"study": "organism"}, "study: missing setting; what extends another study needs a name of its own"),
        ({"study": "mine", "extends": "none.yaml"}, "extends: no file at 'none.yaml'; give a study file's path"),
        ({"study": "mine", "extends": 3}, "extends: no file at 3; give a study file's path"),
        ({"study": "mine", "extends": "mine.yaml"}, "extends: mine.yaml -> mine.yaml goes round in a circle"),
        ({"study": "mine", "extends": "yours.yaml"}, "extends: mine.yaml -> yours.yaml -> mine.yaml goes round in a"),
        ({"study": "mine", "sweeps": {"ablatoin": None}}, "sweeps.ablatoin: None is not a mapping of settings"),
        ({"study": "mine", "seed": None}, "seed: None is not of type int"),
    ],
)
def test_a_fault_is_one_line(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    write(tmp_path / "yours.yaml", {"extends": "mine.yaml", "study": "yours"})
    assert_fault(write(tmp_path / "mine.yaml", {"extends": "config.yaml", **values}), message)


def test_a_file_that_is_no_study(tmp_path: Path) -> None:
    assert_fault(tmp_path / "none.yaml", f"{tmp_path}/none.yaml: cannot be read: ")
    (tmp_path / "broken.yaml").write_text("a: [")
    assert_fault(tmp_path / "broken.yaml", f"{tmp_path}/broken.yaml: cannot be read: ")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert_fault(tmp_path / "binary.yaml", f"{tmp_path}/binary.yaml: cannot be read: ")
    assert_fault(write(tmp_path / "list.yaml", ["a"]), f"{tmp_path}/list.yaml: ['a'] is not a mapping of settings")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert_fault(tmp_path / "empty.yaml", f"{tmp_path}/empty.yaml: is empty; give a mapping of settings")


@pytest.mark.parametrize("line", ["seed: 1\nseed: 2", "seed: 1:30", "study: [", "seed: 0", "- a", ""])
def test_the_plan_says_in_one_line_which_file_is_wrong(tmp_path: Path, line: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"{line}\n")
    command = [sys.executable, "-m", "repurpose.study.plan", "--check", "mine.yaml"]
    found = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=found, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("repurpose plan: mine.yaml: ") and done.stderr.count("\n") == 1


@pytest.mark.workflow
@pytest.mark.parametrize(("line", "said"), [("seed: 7", "the key is given twice"), ("seed: 1:30", "several ways")])
def test_snakemake_reads_a_study_as_strictly(tmp_path: Path, line: str, said: str) -> None:
    text = (ROOT / "studies" / "organism.yaml").read_text()
    assert "\nseed: " in text
    text = f"{text}\n{line}\n" if line == "seed: 7" else re.sub(r"\nseed: .*", f"\n{line}", text)
    (tmp_path / "mine.yaml").write_text(text)
    command = [sys.executable, "-m", "snakemake", "-n", "-s", ROOT / "Snakefile", "--configfile", "mine.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    (told,) = [one for one in done.stderr.splitlines() if one.startswith("mine.yaml: cannot be read: line ")]
    assert said in told


MERGED = "a: &a {x: 1}\n" + "".join(
    f"{after}: &{after} {{{', '.join(f'k{i}: *{before}' for i in range(10))}}}\n"
    for before, after in zip("abcdefghi", "bcdefghij", strict=True)
)
NO_STUDIES = {
    "empty": b"",
    "a list": b"- a",
    "broken": b"a: [1, 2\nb: 3",
    "UTF-16": "study: a".encode("utf-16"),
    "deep": b"[" * 3000,
    "itself": b"a: &a {b: *a}",
    "a bomb": MERGED.encode(),
    "a template": b"__use_yte__: true\nstudy: ?open('made', 'w')",
    "missing": None,
}
"""What Snakemake's own reader takes for something else, tells without a name, or never ends with."""


@pytest.mark.faults
@pytest.mark.workflow
@pytest.mark.parametrize("name", NO_STUDIES)
def test_a_bare_call_of_snakemake_says_in_one_line_which_file_is_wrong(tmp_path: Path, name: str) -> None:
    if (content := NO_STUDIES[name]) is not None:
        (tmp_path / "mine.yaml").write_bytes(content)
    command = [sys.executable, "-m", "snakemake", "-n", "-s", ROOT / "Snakefile", "--configfile", "mine.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    first, told = done.stderr.splitlines()
    assert done.returncode == 1 and first.startswith("Using workflow specific profile")
    assert told.startswith("mine.yaml: ") and len(told) < 300
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("call", [["--configfile", "{}"], ["--configfile={}"], ["-n", "--configfiles", "{}", "{}"]])
def test_files_are_read_before_snakemake_however_they_are_named(default: Path, tmp_path: Path, call: list[str]) -> None:
    check_named([*(part.format(default) for part in call), "--", "results/x"])
    write(bad := tmp_path / "bad.yaml", ["a"])
    with pytest.raises(SystemExit, match=rf"^{bad}: \['a'\] is not a mapping of settings$"):
        check_named([*(part.format(default) for part in call[:-1]), call[-1].format(bad), "--config", "seed=3"])
    check_named(["-n", "--config", f"file={bad}"])


def test_values_merged_from_several_files_extend_what_one_of_them_names(default: Path, tmp_path: Path) -> None:
    """As Snakemake merges them: `--configfile studies/mine.yaml more.yaml --config seed=5`."""
    values = {"extends": "../config.yaml", "study": "mine"}
    mine, more = write(tmp_path / "studies" / "mine.yaml", values), write(tmp_path / "more.yaml", {"seed": 4})
    resolved = resolve_extends({**values, "seed": 5}, [mine, more])
    assert resolved == {**load_values(default), "study": "mine", "seed": 5}
    write(more, {"extends": "config.yaml"})
    with pytest.raises(SettingsError, match=r"^extends: .*mine.yaml and .*more.yaml both say it"):
        resolve_extends(values, [mine, more])


@pytest.mark.workflow
def test_snakemake_reads_what_a_study_extends_and_the_command_line_over_it(tmp_path: Path) -> None:
    extends = os.path.relpath(ROOT / "config.yaml", tmp_path)
    write(tmp_path / "mine.yaml", {"extends": extends, "study": "mine", "seed": 4, "statistics": {"bootstrap": 9}})
    command = [sys.executable, "-m", "snakemake", "-n", "-p", "-s", ROOT / "Snakefile", "--configfile", "mine.yaml"]
    done = subprocess.run([*command, "--config", "seed=5"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"seed":5' in done.stdout and '"seed":4' not in done.stdout and '"bootstrap":9' in done.stdout


def test_the_schema_file_is_that_of_the_typed_settings() -> None:
    file = ROOT / "workflow" / "schemas" / "study.schema.json"
    assert file.read_text() == schema_text(), "run `make schema`"


@pytest.mark.parametrize("extends", [{}, {"extends": "config.yaml"}])
@pytest.mark.parametrize(
    "changes", [{"zzz": 1}, {"prompts": {"zzz": 1}}, {"sweeps": {"two_by_two": {"zzz": 1}}}, {"seed": -1}]
)
def test_the_schema_allows_no_other_key_or_value_either(extends: dict[str, str], changes: dict[str, Any]) -> None:
    values = load_values(ROOT / "config.yaml") | extends
    jsonschema.validate(values, study_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**values, **changes}, study_schema())


def test_the_schema_wants_a_whole_study_where_none_is_extended() -> None:
    part: dict[str, Any] = {"study": "mine", "sweeps": {"ablation": None, "two_by_two": {"prompts": 3}}}
    jsonschema.validate({**part, "extends": "config.yaml"}, study_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(part, study_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"extends": "config.yaml"}, study_schema())


def test_the_schema_says_what_each_setting_is() -> None:
    described = study_schema()["$defs"]["Vectors"]["properties"]["estimator"]["description"]
    assert described.startswith("Mean before the behaviour")
