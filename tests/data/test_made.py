"""Files are known again by the notes of their making: what is not as it was made stops a step, in one line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.tiny import StepMaker

from repurpose.data import verify as command
from repurpose.data.command import run_step
from repurpose.data.files import TableError, read_provenance, read_table
from repurpose.data.made import note_path
from repurpose.data.verify import verify
from repurpose.study.jobs.parameters import section_digests
from repurpose.study.settings import canonical_json

SCHEMA = pa.schema([("number", pa.int64())])
Make = Callable[..., Path]


@pytest.fixture
def make(make_step: StepMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Make:
    """Run a step as the workflow does, in a folder of its own; it writes the numbers of its inputs, and one more."""
    monkeypatch.chdir(tmp_path)

    def run(step: str, output: str, *inputs: Path, study: str = "small", by_hand: bool = False, **changes: Any) -> Path:
        sections = changes.pop("sections", None)
        values = {**make_step(step, sections=sections, **changes).values, **({} if by_hand else {"code": "0123"})}
        path = Path("results", study, output)
        told = ["--settings", canonical_json(values), "--output", str(path), "--inputs", *map(str, inputs)]
        monkeypatch.setattr(sys, "argv", ["step", *told])
        with run_step(step, "Add.", maybe=["inputs"]) as running:
            numbers = [{"number": len(inputs)}]
            for one in inputs:
                numbers += read_table(one).to_dicts()
            running.write(numbers, SCHEMA)
        return path

    return run


def make_study(make: Make, study: str = "small", **changes: Any) -> dict[str, Path]:
    """Prompts, two shards of rollouts, sentences of one and what is said of them."""
    prompts = make("rollouts.prompts", "prompts.parquet", study=study, **changes)
    shards = [
        make("rollouts.sampling", f"rollouts/{n}.parquet", prompts, study=study, shard=n, **changes) for n in (0, 1)
    ]
    sentences = make("rollouts.sentences", "sentences/0.parquet", shards[0], study=study, **changes)
    vectors = make(
        "directions.vectors", "vectors/base.parquet", sentences, *shards, study=study, reader="base", **changes
    )
    return {"prompts": prompts, "zero": shards[0], "one": shards[1], "sentences": sentences, "vectors": vectors}


SENTENCES = ("rollouts.sentences", "sentences/0.parquet")


def refused(make: Make, *arguments: Any, **changes: Any) -> str:
    """The line with which a step ends."""
    with pytest.raises(SystemExit) as problem:
        make(*arguments, **changes)
    said = str(problem.value)
    assert said.startswith("repurpose ") and "\n" not in said
    return said


def test_a_note_says_how_a_file_was_made_and_holds_no_path_of_this_machine(make: Make, tmp_path: Path) -> None:
    files = make_study(make)
    note = json.loads(note_path(files["sentences"]).read_text())
    assert (note["step"], list(note["inputs"])) == ("rollouts.sentences", ["../rollouts/0.parquet"])
    assert note["settings_digest"] == read_provenance(files["sentences"])["settings_digest"]
    rollouts = json.loads(note_path(files["zero"]).read_text())
    assert note["inputs"]["../rollouts/0.parquet"] == rollouts["sha256"] and rollouts["settings"]["seed"] == 0
    assert not list(tmp_path.rglob("*.part")) and str(tmp_path) not in note_path(files["vectors"]).read_text()


@pytest.mark.faults
def test_a_shard_of_another_study_put_in_place_is_refused(make: Make) -> None:
    files, other = make_study(make), make_study(make, "other", sections={"rollouts": {"max_new_tokens": 9}})
    shutil.copy(make("rollouts.prompts", "more.parquet", files["zero"], study="other"), files["zero"])
    said = refused(make, *SENTENCES, files["zero"])
    assert said == (
        "repurpose rollouts.sentences: results/small/rollouts/0.parquet: it is not what rollouts.sampling wrote there; "
        "remove it, and run again"
    )
    shutil.copy(other["zero"], files["zero"])  # and its note with it
    shutil.copy(note_path(other["zero"]), note_path(files["zero"]))
    said = refused(make, "directions.vectors", "vectors/base.parquet", files["zero"], files["one"], reader="base")
    assert "1.parquet: it was made with other settings (rollouts) than results/small/rollouts/0.parquet" in said


def test_a_file_of_another_seed_is_refused_with_its_note(make: Make) -> None:
    files, other = make_study(make), make_study(make, "other", sections={"seed": 7})
    for path in (Path("prompts.parquet"), Path(".made", "prompts.parquet.json")):
        shutil.copy(other["prompts"].parent / path, files["prompts"].parent / path)
    said = refused(make, "rollouts.sampling", "rollouts/0.parquet", files["prompts"], shard=0)
    assert "prompts.parquet: it was made with another seed than the study has; remove it, and run again" in said


def test_a_file_of_unknown_making_is_refused_by_the_workflow_alone(make: Make) -> None:
    files = make_study(make)
    note_path(files["zero"]).unlink()
    assert "0.parquet: no step says that it wrote it; remove it" in refused(make, *SENTENCES, files["zero"])
    make(*SENTENCES, files["zero"], by_hand=True)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"rollouts": {"max_new_tokens": 9}}, "rollouts"),
        ({"rollouts": {"temperature": 0.1}}, "rollouts"),
        ({"engine": "vllm", "vllm": {}}, "engine"),
        ({"rollouts": {"batch_size": 5}}, None),
        ({"pair": {"parameters": 7.0}}, None),
        ({"statistics": {"bootstrap": 9}}, None),
    ],
    ids=["length", "temperature", "engine", "batches", "parameters", "another section"],
)
def test_all_shards_of_other_settings_are_refused_with_their_notes(
    make: Make, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any], said: str | None
) -> None:
    """They are alike, and the step that reads them has none of these settings itself; the workflow tells them all."""
    files, other = make_study(make), make_study(make, "other", sections=sections)
    own = json.loads(note_path(files["zero"]).read_text())["settings"]
    monkeypatch.setenv("REPURPOSE_SECTIONS", canonical_json(section_digests(own)))
    make(*SENTENCES, files["zero"])
    for name in ("zero", "one"):
        shutil.copy(other[name], files[name])
        shutil.copy(note_path(other[name]), note_path(files[name]))
    if said is None:
        make(*SENTENCES, files["zero"])
    else:
        told = f"0.parquet: it was made with other settings ({said}) than the study has; remove it, and run again"
        assert told in refused(make, *SENTENCES, files["zero"])
    make(*SENTENCES, files["zero"], by_hand=True)


@pytest.mark.faults
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_truncated_table_is_one_line(make: Make, kept: float) -> None:
    shard = make_study(make)["zero"]
    content = shard.read_bytes()
    shard.write_bytes(content[: int(kept * len(content))])
    assert "0.parquet: it is not what rollouts.sampling wrote there" in refused(make, *SENTENCES, shard)
    note_path(shard).unlink()
    said = refused(make, *SENTENCES, shard, by_hand=True)
    assert said.startswith("repurpose rollouts.sentences: results/small/rollouts/0.parquet: cannot be read (")
    with pytest.raises(TableError, match="cannot be read"):
        read_provenance(shard)


def test_a_finished_study_is_as_it_was_made(
    make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(make)
    Path("results/small/logs").mkdir()
    Path("results/small/logs/a.log").touch()
    Path("results/small/rollouts/.spool-1").touch()
    assert verify(Path("results/small")) == ([], 5)
    shutil.copytree("results/small", "elsewhere")
    assert run_verify(monkeypatch, "elsewhere") == 0
    assert capsys.readouterr().out == "All 5 files are as they were made\n"


def run_verify(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """The exit status of `repurpose verify`."""
    monkeypatch.setattr(sys, "argv", ["verify", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    return ended.value.code


def test_each_bad_file_is_a_line(
    make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_study(make)
    content = bytearray(files["one"].read_bytes())
    content[len(content) // 3] ^= 1
    files["one"].write_bytes(content)
    files["sentences"].unlink()
    Path("results/small/claims.csv").write_text("by hand")
    note_path(files["prompts"]).write_text("{")
    assert run_verify(monkeypatch, "results/small") == 1
    lines = capsys.readouterr().out.splitlines()
    where = "results/small"
    assert [line.split(" (")[0] for line in lines] == [
        f"{where}/claims.csv: no step says that it wrote it",
        f"{where}/prompts.parquet: the note of its making cannot be read",
        f"{where}/rollouts/1.parquet: it is not what rollouts.sampling wrote there",
        f"{where}/sentences/0.parquet: it is missing; rollouts.sentences wrote it",
        f"{where}/vectors/base.parquet: it was made from another {where}/rollouts/1.parquet than is there now; it was "
        f"made from {where}/sentences/0.parquet, which is missing",
        "5 of 6 files are bad",
    ]


def test_what_was_made_from_an_older_file_is_bad(make: Make) -> None:
    files = make_study(make)
    make("rollouts.sampling", "rollouts/1.parquet", files["prompts"], files["prompts"], shard=1)
    bad, _ = verify(Path("results/small"))
    assert bad == [f"{files['vectors']}: it was made from another {files['one']} than is there now"]


def test_a_file_of_another_study_is_bad_with_its_note(make: Make) -> None:
    make_study(make)
    make_study(make, "other", sections={"seed": 7, "rollouts": {"max_new_tokens": 9}})
    for name in ("0.parquet", ".made/0.parquet.json"):
        shutil.copy(Path("results/other/rollouts", name), Path("results/small/rollouts", name))
    bad, _ = verify(Path("results/small"))
    told = next(line for line in bad if line.startswith("results/small/rollouts/0"))
    assert "it was made with another seed than the study has" in told
    assert "another results/small/prompts.parquet than is there now" in told


@pytest.mark.faults
@pytest.mark.parametrize(
    "note",
    [
        "[" * 100_000,
        "[]",
        '{"step": "x\\u001b[2J", "sha256": "", "inputs": {"\\u0000": 1}, "settings": {}}',
        '{"step": "x", "sha256": "", "inputs": {}, "settings": {"sweeps": [1], "rollouts": 3}}',
        '{"step": "x", "sha256": "", "inputs": [["a", {}]], "settings": {"labels": []}}',
        "\udc80",
    ],
    ids=["deep", "a list", "signs", "sections", "labels", "no text"],
)
def test_a_hostile_note_is_one_line(
    make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, note: str
) -> None:
    shard = make_study(make)["zero"]
    note_path(shard).write_bytes(note.encode("utf-8", "surrogateescape"))
    assert len(said := refused(make, *SENTENCES, shard)) < 500 and said.isprintable()
    assert run_verify(monkeypatch, "results/small") == 1
    told, _ = capsys.readouterr().out.splitlines()
    assert told.startswith(f"{shard}: ") and told.isprintable() and len(told) < 500


def test_no_folder_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        run_verify(monkeypatch, "results/none")
        == "repurpose verify: results/none: no such folder; give results/<study>"
    )
