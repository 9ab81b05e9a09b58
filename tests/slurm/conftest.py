"""One cluster for all tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster import Cluster, running


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running() as started:
        yield started
