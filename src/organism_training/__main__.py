"""Train the embedded pair: `python -m organism_training --output DIR [--seed N] [--scale X]`.

Writes DIR/base and DIR/reasoning (model directories with the shared tokenizer), the loss curve and the model card.
Killed, it goes on from its last checkpoint; `--scale` shortens every stage for a test.
"""

import argparse
import json
from pathlib import Path

from torch.multiprocessing.spawn import spawn

from organism_training.card import draw_losses, write_card
from organism_training.pair import measure, train_pair
from repurpose.data.files import write_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and data (the shipped pair: 0)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of each stage's steps")
    parser.add_argument("--workers", type=int, default=2, help="processes that share each batch")
    parser.add_argument("--compile", action="store_true", help="use torch.compile (needs a C++ compiler)")
    arguments = parser.parse_args()
    output, workers = arguments.output, arguments.workers
    (output / ".checkpoints").mkdir(parents=True, exist_ok=True)
    (output / ".checkpoints" / "meeting").unlink(missing_ok=True)
    settings = (workers, output, arguments.seed, arguments.scale, arguments.compile)
    if workers > 1:
        spawn(train_pair, settings, nprocs=workers)
    else:
        train_pair(0, *settings)
    facts = measure(output, arguments.seed, arguments.scale)
    write_text(output / "abilities.json", json.dumps(facts, indent=2) + "\n")
    draw_losses(output / "losses.csv", output / "losses.png")
    write_card(output, facts)


if __name__ == "__main__":
    main()
