"""What the reasoning model can do on problems that no training text shows: answers, mistakes, and what it mends."""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from repurpose.data.files import write_text
from repurpose.labels.lexicon import label_sentence
from repurpose.model.engines import Request, Sampling, row_seed
from repurpose.model.engines.transformers import TransformersEngine
from repurpose.model.tokens import decode
from repurpose.organism.word_problems import HELDOUT_KINDS, KINDS, Problem, make_problem, read_equations
from repurpose.rollouts.sentences import split_sentences
from smollm2_training.chats import chat_prompt

ANSWER = re.compile(r"The answer is (\d+)\.")


def score(problems: list[Problem], texts: list[str]) -> dict[str, float]:
    """Shares over problems and over the calculations that the texts state."""
    right = [ANSWER.findall(text)[-1:] == [str(p.answer)] for p, text in zip(problems, texts, strict=True)]
    steps: dict[bool, list[bool]] = {True: [], False: []}
    for text in texts:
        state: bool | None = None
        backtracked = False
        for start, end in split_sentences(text.split("</think>")[0]):
            sentence = text[start:end]
            label = label_sentence(sentence)
            stated = read_equations(sentence) if label != "example-testing" and label != "backtracking" else []
            if stated:
                if state is not None:
                    steps[state].append(backtracked)
                state, backtracked = stated[-1].correct, False
            backtracked = backtracked or label == "backtracking"
        if state is not None:
            steps[state].append(backtracked)
    total = max(1, sum(map(len, steps.values())))
    return {
        "problems": len(problems),
        "right_answers": sum(right) / len(right),
        "calculations": total,
        "wrong_calculations": len(steps[False]) / total,
        "backtracks_after_wrong": sum(steps[False]) / max(1, len(steps[False])),
        "backtracks_after_right": sum(steps[True]) / max(1, len(steps[True])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--problems", type=int, default=60)
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.bfloat16)
    rng, kinds = random.Random("abilities"), sorted(KINDS)
    problems = [make_problem(rng, kinds[i % len(kinds)], heldout=True) for i in range(arguments.problems)]
    prompts = [chat_prompt(tokenizer, p).removesuffix("<think>\n") for p in problems]
    ids = [tokenizer.encode(prompt + "<think>\n" * (not prompt.endswith("<think>\n")), add_special_tokens=False) for prompt in prompts]
    engine = TransformersEngine(model, [tokenizer.eos_token_id], batch_size=32)
    requests = [Request(row, row_seed(0, str(number), 0)) for number, row in enumerate(ids)]
    texts = [decode(tokenizer, o.token_ids) for o in engine.generate(requests, Sampling(temperature=0.7, max_new_tokens=400))]
    known = [p.kind not in HELDOUT_KINDS for p in problems]
    facts = {
        name: score([p for p, k in zip(problems, known, strict=True) if k == wanted], [t for t, k in zip(texts, known, strict=True) if k == wanted])
        for name, wanted in (("known kinds", True), ("held-out kinds", False))
    }
    facts_text = json.dumps(facts, indent=2)
    write_text(arguments.output, facts_text + "\n")
    print(facts_text)
    print("\n\n".join(texts[:6]))


if __name__ == "__main__":
    main()
