"""The check of annotators: what is wrong is named with its annotator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.endpoint import KEY, KEY_VARIABLE, MODEL, serve

from repurpose.labels.check_annotators import check_annotators
from repurpose.study.settings import Annotator, Endpoint, Llm, SettingsError

WARD = str(Path(__file__).parent / "published" / "ward.json")


def model_at(url: str, **changes: Any) -> Annotator:
    endpoint = Endpoint(model=MODEL, base_url=url, key_variable=KEY_VARIABLE, timeout=20.0)
    return Annotator("llm", llm=Llm(endpoint=replace(endpoint, **changes)))


def test_each_annotator_is_checked_in_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with serve() as fake:
        check_annotators({"m": model_at(fake.url), "w": Annotator("published", file=WARD), "l": Annotator("lexicon")})
    assert fake.paths.total() == 1


@pytest.mark.parametrize(
    ("annotator", "said"),
    [
        (Annotator("published", file="none.json"), "none.json: no such file"),
        (model_at("http://127.0.0.1:9/v1", retries=0), "endpoint.base_url: http://127.0.0.1:9/v1 cannot be reached"),
        (model_at("https://api.invalid/v1"), f"the environment variable {KEY_VARIABLE} is not set"),
    ],
)
def test_a_fault_is_told_with_its_annotator(monkeypatch: pytest.MonkeyPatch, annotator: Annotator, said: str) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(SettingsError) as problem:
        check_annotators({"lexicon": Annotator("lexicon"), "one": annotator})
    assert str(problem.value).startswith(f"labels.annotators.one: {said}") and "\n" not in str(problem.value)
