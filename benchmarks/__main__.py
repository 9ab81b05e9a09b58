"""Measure everything beside the peers, and write results.json, README.md and speed.svg here: `make bench`.

    python -m benchmarks [--only extraction sweep] [--rounds 3] [--page]

`--page` measures nothing: it writes page and figure from results.json. `--only` measures some parts, and leaves the
others' numbers as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import environments, machine
from benchmarks.figure import draw
from benchmarks.page import render
from benchmarks.parts import FULL, PARTS, Results, measure

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument("--rounds", type=int, default=3, help="how often each entry runs")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page from results.json")
    arguments = parser.parse_args()
    results: Results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not arguments.page:
        for peer in environments.PEERS:
            environments.build(peer)
        for part in arguments.only:
            sys.stderr.write(f"{part}\n")
            results[part] = {**machine.describe(), "rounds": arguments.rounds, **measure(part, FULL, arguments.rounds)}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(render(results))
    draw(results, HERE / "speed.svg")
    sys.stdout.write(f"{HERE / 'README.md'}\n")


if __name__ == "__main__":
    main()
