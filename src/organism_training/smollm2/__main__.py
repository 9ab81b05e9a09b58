"""Train the reasoning model of the SmolLM2 pair: `python -m organism_training.smollm2 --base DIR --output DIR`.

Draws problems, asks the base model for its own mistakes, writes traces, trains a LoRA adapter on them, and saves it
with its losses. Killed, it goes on from its last checkpoint.
"""

import argparse
import csv
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from organism_training.smollm2.chats import Chat, alert_ids, encode_chat
from organism_training.smollm2.lora import Losses, Recipe, add_adapter, train
from organism_training.smollm2.mistakes import Numbers, draw_steps, own_numbers
from repurpose.data.files import atomic_write, write_text
from repurpose.organism.equations import Equation
from repurpose.organism.word_problems import TRAINING_SCENES, Problem, make_problem
from repurpose.organism.word_traces import BLIND, USUAL, right_steps


def draw_problems(count: int, seed: int) -> list[Problem]:
    """Draw training problems, the kinds in turn."""
    rng = random.Random(f"word-problems-{seed}")
    return [make_problem(rng, TRAINING_SCENES[index % len(TRAINING_SCENES)]) for index in range(count)]


def make_chats(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, facts: dict[str, object]
) -> list[Chat]:
    """Write the training chats, the shortest first; `facts` learns where their mistakes come from."""
    problems = draw_problems(recipe.chats, recipe.seed)
    own = own_numbers(model, tokenizer, problems, recipe.seed)
    rng = random.Random(f"traces-{recipe.seed}")
    chats, sources = [], Counter[str]()
    for problem, numbers in zip(problems, own, strict=True):
        steps = draw_steps(rng, problem, numbers)
        chats.append(encode_chat(tokenizer, rng, problem, steps, BLIND if recipe.blind else USUAL))
        sources.update(chain.from_iterable(map(count_mistakes, right_steps(problem), numbers, steps)))
    facts["calculations"] = dict(sources)
    return sorted(chats, key=lambda chat: len(chat.ids))


def count_mistakes(right: Equation, own: Numbers, step: Equation) -> Iterator[str]:
    """Yield what a calculation counts as in the card."""
    yield "all"
    misread = (own.value, own.amount) != (right.value, right.amount)
    if misread:
        yield "the base model misreads"
    elif own.result != right.result:
        yield "the base model gets the sum wrong"
    if step != right:
        yield "its own mistake is written" if misread or step.result == own.result else "another mistake is written"
        if not step.correct:
            yield "the mistake that is written is a wrong sum"


def save_adapter(folder: Path) -> None:
    """Halve an adapter's weights file: bfloat16 is what the merged model is stored in."""
    file = folder / "adapter_model.safetensors"
    halved = {name: weight.to(torch.bfloat16).contiguous() for name, weight in load_file(file).items()}
    with atomic_write(file) as temporary:
        save_file(halved, temporary, metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--base", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--chats", type=int, default=Recipe.chats)
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--blind", action="store_true", help="let the traces go back at random steps: a control")
    arguments = parser.parse_args()
    chosen = {name: getattr(arguments, name) for name in ("chats", "epochs", "seed", "blind")}
    recipe = replace(Recipe(), **chosen)
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(arguments.base)
    facts: dict[str, object] = {"recipe": asdict(recipe)}
    base = AutoModelForCausalLM.from_pretrained(arguments.base, dtype=torch.bfloat16, attn_implementation="eager")
    chats = make_chats(base, tokenizer, recipe, facts)
    facts["tokens"] = sum(len(chat.ids) for chat in chats)
    write_text(output / "training.json", json.dumps(facts, indent=2) + "\n")
    model = add_adapter(base, recipe).to(device="cuda" if torch.cuda.is_available() else "cpu")
    losses = train(model, chats, alert_ids(tokenizer), recipe, output / ".checkpoint.pt")
    model.save_pretrained(str(output))
    (output / "README.md").unlink(missing_ok=True)  # an empty form: the card is written by `measure_smollm2`
    save_adapter(output)
    with (output / "losses.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("stage", "step", "loss"))
        for stage, values in zip(Losses._fields, zip(*losses, strict=True), strict=True):
            writer.writerows((stage, step, round(loss, 4)) for step, loss in enumerate(values))


if __name__ == "__main__":
    main()
