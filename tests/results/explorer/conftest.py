"""Chromium without a window, and a page that fails its test for any error, message or request."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
from looked_at import (
    Explorer,
    Visitor,
    in_half_precision,
    read_made_up,
    with_copies,
    with_hostile_text,
    with_sweeps,
    with_thinking,
    write_explorer,
)
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = ("chromium", "chromium-headless-shell", "google-chrome")


@pytest.fixture(scope="module")  # Playwright's event loop runs as long, and asyncio starts no other beside it
def browser() -> Iterator[Browser]:
    """The system's Chromium; `make .venv/browser.stamp` installs it where it may."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    assert found is not None, f"none of {', '.join(CHROMIUM)} is installed"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Explorer:
    """The page of the made-up study, with two annotators."""
    return write_explorer(read_made_up(), tmp_path_factory.mktemp("explorer") / "explorer.html")


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Explorer:
    """The same page with attacks for text."""
    return write_explorer(with_hostile_text(read_made_up()), tmp_path_factory.mktemp("hostile") / "explorer.html")


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Explorer:
    """The same page with 512 rollouts."""
    return write_explorer(with_copies(read_made_up(), 32), tmp_path_factory.mktemp("many") / "explorer.html")


@pytest.fixture(scope="session")
def half(tmp_path_factory: pytest.TempPathFactory) -> Explorer:
    """The same page of a pair in half precision."""
    return write_explorer(in_half_precision(read_made_up()), tmp_path_factory.mktemp("half") / "explorer.html")


@pytest.fixture(scope="session")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Explorer:
    """The same page with the sweeps of selection and ablation, too."""
    inputs = with_sweeps(read_made_up(), ("selection", "reasoning"), ("ablation", "reasoning"))
    return write_explorer(inputs, tmp_path_factory.mktemp("sweeps") / "explorer.html")


@pytest.fixture(scope="session")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> Explorer:
    """The same page of rollouts that never end their thinking."""
    return write_explorer(with_thinking(read_made_up()), tmp_path_factory.mktemp("thinking") / "explorer.html")


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Explorer:
    """The same page of labels by one annotator."""
    made_up = read_made_up()
    inputs = replace(made_up, labels=made_up.labels.filter(annotator="lexicon"), annotators=["lexicon"])
    return write_explorer(inputs, tmp_path_factory.mktemp("alone") / "explorer.html")


@pytest.fixture
def visit(browser: Browser, explorer: Explorer, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A visitor of the page, or of the one that a parameter names; the test fails if anything went wrong."""
    options = getattr(request, "param", {})
    shown = request.getfixturevalue(options["page"]) if "page" in options else explorer
    size = {"width": options.get("width", 1300), "height": options.get("height", 850)}
    context = browser.new_context(viewport=size, color_scheme=options.get("scheme", "light"))
    context.set_default_timeout(15_000)
    visitor = Visitor(context.new_page(), shown)
    yield visitor
    context.close()
    assert visitor.problems == []
    asked = {url.partition("#")[0] for url in visitor.requests} - {"about:blank"}
    assert asked <= {shown.path.as_uri()}, "the page asks for nothing but itself"
