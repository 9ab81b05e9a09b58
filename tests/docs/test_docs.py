"""README and docs: what is made by a command is what the command makes, links and commands lead somewhere."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

import make_sample
import make_tables
from organism_training.card import format_verdict, write_card
from organism_training.smollm2.card import write_card as write_smollm2_card
from repurpose.data.csv_tables import read_csv
from repurpose.organism.word_problems import LARGEST
from repurpose.study.pair_files import check_models
from repurpose.study.plan import plan_study, read_shape
from repurpose.study.settings import read_study
from repurpose.study.study_file import load_study

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "resources").rglob("*.md")])


def test_the_page_of_tables_is_that_of_the_schemas() -> None:
    assert make_tables.PAGE.read_text() == make_tables.write_page(), "run `make docs`"


def test_the_page_of_tables_names_every_schema_and_column() -> None:
    page = make_tables.PAGE.read_text()
    assert len(make_tables.schemas()) >= 14
    for name, (said, schema) in make_tables.schemas().items():
        section = page.split(f"### `{make_tables.FILES[name]}`")[1].split("\n### ")[0].split("\n## ")[0]
        assert said.split()[0] in section
        assert [column for column in schema.names if f"`{column}` (" not in section] == []


def test_the_readmes_numbers_are_those_recorded() -> None:
    assert make_sample.fill(README.read_text()) == README.read_text(), "run `make docs`"
    assert make_sample.COMPARISON.read_text() == "\n".join(make_sample.write_comparison()) + "\n", "run `make docs`"


def test_the_block_of_numbers_follows_what_is_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another number in the record is another README, and nothing outside the block changes."""
    shutil.copytree(make_sample.ORGANISM / "seeds", tmp_path / "seeds")
    first = tmp_path / "seeds" / "0.json"
    first.write_text(first.read_text().replace('"estimate": 0.164792', '"estimate": 0.5'))
    monkeypatch.setattr(make_sample, "ORGANISM", tmp_path)
    before = README.read_text()
    after = make_sample.fill(before)
    changed = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
    assert [(old.count("+16.5 points"), new.count("+50.0 points")) for old, new in changed] == [(1, 1)]


def test_every_part_that_was_published_is_a_claim() -> None:
    assert set(make_sample.PUBLISHED) <= set(make_sample.columns()[0].claims)


def test_the_model_card_is_what_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "seeds").symlink_to(make_sample.ORGANISM / "seeds")
    facts = yaml.safe_load((make_sample.ORGANISM / "abilities.json").read_text())
    write_card(tmp_path, facts)
    assert (tmp_path / "MODEL_CARD.md").read_text() == (make_sample.ORGANISM / "MODEL_CARD.md").read_text()


def test_the_model_card_of_the_real_pair_is_what_is_recorded(tmp_path: Path) -> None:
    recorded = make_sample.SMOLLM2.parent
    for name in ("adapter", "abilities.json"):
        (tmp_path / name).symlink_to(recorded / name)
    write_smollm2_card(tmp_path, LARGEST)
    assert (tmp_path / "MODEL_CARD.md").read_text() == (recorded / "MODEL_CARD.md").read_text()


def test_differences_of_shares_are_told_in_points() -> None:
    """By each claim's own rule: what is a change of a share, and only that."""
    claims = read_csv(make_sample.SMOLLM2 / "claims.csv").to_dicts()
    changes = {c["part"] for c in claims if c["rule"].startswith("change ") and c["unit"] not in ("nats", "times")}
    assert changes == {c["part"] for c in claims if c["unit"] == "difference of shares"}
    one = {"unit": "difference of shares", "estimate": -0.380952, "low": -0.622055, "high": -0.0166}
    assert format_verdict({**one, "verdict": "supported"}) == "−38.1 points (−62.2 to −1.7): supported"


def test_the_readme_is_a_door() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 120
    outside = make_sample.BEGIN.join(make_sample.fill(README.read_text()).split(make_sample.BEGIN)[:1])
    assert not re.search(r"\d \(\d", outside)  # an estimate with its interval stands in the block alone


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [unquote(target) for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    for target in (target for target in targets if "://" not in target):
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_and_studies_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", text, re.MULTILINE)) <= targets
    named = {name for name in re.findall(r"studies/[\w.-]+\.yaml", text) if "mine" not in name}
    assert all((ROOT / name).exists() for name in named)


def own_study() -> dict[str, object]:
    """The README's example of a study, over the default one that it extends."""
    (block,) = re.findall(r"```yaml\n(extends: .*?)```", README.read_text(), re.DOTALL)
    changes = yaml.safe_load(block)
    assert len(block.splitlines()) == 6 and changes.pop("extends") == "../config.yaml"
    study = yaml.safe_load((ROOT / "config.yaml").read_text())
    for key, value in changes.items():
        study[key] = {**study[key], **value} if isinstance(value, dict) else value
    return dict(study)


def test_the_example_of_published_chains_is_a_study(tmp_path: Path) -> None:
    """Over the published study, which it extends, with a file of as many records as the field's."""
    page = (ROOT / "docs" / "labels.md").read_text()
    (block,) = re.findall(r"```yaml\n(extends: paper.*?)```", page, re.DOTALL)
    record = {"reasoning_chain": "So 7.", "annotated_chain": '["deduction"]So 7.["end-section"]'}
    (tmp_path / "chains.json").write_text(json.dumps([{**record, "problem": f"{n}?"} for n in range(300)]))
    text = block.replace("annotated_chains.json", str(tmp_path / "chains.json"))
    (tmp_path / "study.yaml").write_text(text.replace("paper.yaml", str(ROOT / "studies" / "paper.yaml")))
    study = load_study(tmp_path / "study.yaml")
    check_models(study)
    assert (study.prompts.train, study.prompts.heldout, study.labels.unit) == (240, 60, "span")
    assert set(study.labels.annotators) == {"ward", "lexicon"}


def test_the_readmes_own_pair_can_be_planned() -> None:
    """As it stands its settings are good; with the models that ship in place of the hub's it is planned."""
    study = own_study()
    assert read_study(study).study == "mine"
    default = yaml.safe_load((ROOT / "config.yaml").read_text())
    study["pair"] = {**default["pair"]}
    typed = read_study(study)
    assert plan_study(typed, read_shape(typed))[1].value == "300"
