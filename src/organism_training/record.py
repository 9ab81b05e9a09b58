"""Put what the embedded pair's study says of a pair into the model card: a JSON file a training seed, the card anew.

`python -m organism_training.record --pair DIR --results results/organism [--card resources/organism]`

DIR is a folder that the training command wrote; the shipped pair's is `resources/organism`. Weights of further seeds
are not shipped, their numbers are.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from organism_training.card import write_card
from repurpose.data.csv_tables import read_csv
from repurpose.data.files import write_text

CLAIM_FIELDS = ("part", "text", "estimate", "low", "high", "unit", "threshold", "verdict")


def record(pair: Path, results: Path, card: Path) -> Path:
    """Write `card/seeds/<seed>.json` and return its path; a FileNotFoundError where abilities or claims are missing."""
    abilities: dict[str, Any] = json.loads((pair / "abilities.json").read_text())
    claims = read_csv(results / "claims.csv").select(CLAIM_FIELDS).to_dicts()
    path = card / "seeds" / f"{abilities['seed']}.json"
    kept = {name: abilities[name] for name in ("seed", "stages", "marks", "traces")}
    write_text(path, json.dumps({**kept, "claims": claims}, indent=2) + "\n")
    write_card(card, json.loads((card / "abilities.json").read_text()))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pair", required=True, type=Path)
    parser.add_argument("--results", required=True, type=Path)
    parser.add_argument("--card", type=Path, default=Path("resources/organism"))
    arguments = parser.parse_args()
    try:
        sys.stdout.write(f"{record(arguments.pair, arguments.results, arguments.card)}\n")
    except FileNotFoundError as missing:
        sys.exit(f"repurpose record: {missing.filename} is missing")


if __name__ == "__main__":
    main()
