"""The paper's claims, read from `claims.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from repurpose.results.claims import rules
from repurpose.results.claims.claim import Claim
from repurpose.results.names import bounded


def read_claim(entry: Mapping[str, Any]) -> Claim:
    """Return an entry typed; a key or a rule that does not exist is an error."""
    written = {name: entry[name] for name in ("measure", "instead") if name in entry}
    measures = {name: bounded(value) if isinstance(value, str) else tuple(value) for name, value in written.items()}
    return Claim(**{**entry, **measures, "rule": getattr(rules, entry["rule"])})


FILE = Path(__file__).with_name("claims.yaml")
CONTENT = yaml.safe_load(FILE.read_text(encoding="utf-8"))
PAPER: dict[str, str] = CONTENT["paper"]
"""The paper's six claims in our words, and what is asked beyond them."""
CLAIMS: tuple[Claim, ...] = tuple(read_claim(entry) for entry in CONTENT["claims"])
