"""What the reasoning model can do on problems that no training text shows: answers, mistakes, and what it mends.

    python -m organism_training.smollm2.abilities --model DIR --output DIR

writes `abilities.json`, and the model card from it and from what training wrote into DIR/adapter.
"""

import argparse
import json
import random
import re
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from organism_training.smollm2.card import write_card
from organism_training.smollm2.chats import chat_prompt
from repurpose.data.files import write_text
from repurpose.model.engines import Request, Sampling, row_seed
from repurpose.model.engines.transformers import TransformersEngine
from repurpose.model.tokens import decode
from repurpose.organism.word_problems import HELDOUT_SCENES, LARGEST, SCENES, Problem, make_problem
from repurpose.steering.sentences import cut_thinking, label_by_lexicon, read_calculations

ANSWER = re.compile(r"The answer is (\d+)\.")


def score(problems: list[Problem], texts: list[str]) -> dict[str, float]:
    """Shares over problems and over the calculations that the texts state."""
    right = [ANSWER.findall(text)[-1:] == [str(p.answer)] for p, text in zip(problems, texts, strict=True)]
    calculations = [
        calculation for text in texts for calculation in read_calculations(label_by_lexicon(cut_thinking(text)))
    ]
    steps = {known: [c.backtracked for c in calculations if c.correct == known] for known in (True, False)}
    total = max(1, len(calculations))
    return {
        "problems": len(problems),
        "right_answers": sum(right) / len(right),
        "calculations": total,
        "wrong_calculations": len(steps[False]) / total,
        "backtracks_after_wrong": sum(steps[False]) / max(1, len(steps[False])),
        "backtracks_after_right": sum(steps[True]) / max(1, len(steps[True])),
    }


def sample_traces(folder: Path, count: int) -> tuple[list[Problem], list[str]]:
    """Let a model solve problems that training never showed, the kinds in turn, at temperature 0.7."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    rng, kinds = random.Random("abilities"), sorted(SCENES)
    problems = [make_problem(rng, kinds[index % len(kinds)], heldout=True) for index in range(count)]
    prompts = [tokenizer.encode(chat_prompt(tokenizer, problem), add_special_tokens=False) for problem in problems]
    requests = [Request(prompt, row_seed(0, str(number), 0)) for number, prompt in enumerate(prompts)]
    engine = TransformersEngine(model, [tokenizer.eos_token_id], batch_size=32)
    outcomes = engine.generate(requests, Sampling(temperature=0.7, max_new_tokens=400))
    return problems, [decode(tokenizer, outcome.token_ids) for outcome in outcomes]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--problems", type=int, default=150)
    arguments = parser.parse_args()
    traces = list(zip(*sample_traces(arguments.model, arguments.problems), strict=True))
    facts = {}
    for name, heldout in (("known kinds", False), ("held-out kinds", True)):
        chosen = [trace for trace in traces if (trace[0].category in HELDOUT_SCENES) == heldout]
        facts[name] = score([problem for problem, _ in chosen], [text for _, text in chosen])
    write_text(arguments.output / "abilities.json", json.dumps(facts, indent=2) + "\n")
    write_card(arguments.output, LARGEST)
    sys.stdout.write("\n\n".join([*(text for _, text in traces[:4]), json.dumps(facts, indent=2)]) + "\n")


if __name__ == "__main__":
    main()
