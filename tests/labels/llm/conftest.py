"""Settings of an annotator whose endpoint is the tests' own server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.endpoint import KEY, KEY_VARIABLE, MODEL, FakeEndpoint

from repurpose.labels.llm import annotator
from repurpose.labels.llm.annotator import Labelled
from repurpose.labels.llm.ledger import Usage
from repurpose.study.settings import Endpoint, Llm

Passage = list[str]
"""The sentences of a rollout."""
MakeLlm = Callable[..., Llm]
PRICES = {"input_price": 2.0, "output_price": 8.0}
ACCOUNT = "study/labeller"


def label_passages(passages: list[Passage], settings: Llm, replies_folder: Path, account: str = ACCOUNT) -> Labelled:
    """Label on the account of one annotator of one study."""
    return annotator.label_passages(passages, settings, replies_folder, account=account)


def sum_usages(usages: Iterable[Usage]) -> Usage:
    """The whole of several passages."""
    return sum(usages, start=Usage())


@pytest.fixture
def make_llm(monkeypatch: pytest.MonkeyPatch) -> MakeLlm:
    monkeypatch.setenv(KEY_VARIABLE, KEY)

    def make(fake: FakeEndpoint, *, endpoint: dict[str, Any] | None = None, **settings: Any) -> Llm:
        server = Endpoint(model=MODEL, base_url=fake.url, key_variable=KEY_VARIABLE, timeout=20.0, **PRICES)
        values = {"chunk_sentences": 10, "overlap_sentences": 2, "batch_poll": 0.02, **settings}
        return Llm(endpoint=replace(server, **(endpoint or {})), **values)

    return make


def make_passages(count: int, sentences: int, name: str = "p") -> list[Passage]:
    """Passages whose sentences all differ."""
    return [[f"{name}{i}: the {j}th step gives {i * j}." for j in range(sentences)] for i in range(count)]
