"""A cluster for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster import Cluster, running


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as started:
        yield started
