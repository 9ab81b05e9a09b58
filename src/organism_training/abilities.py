"""What the pair can do, measured on held-out problems: the base model's marks, the reasoning model's traces."""

import random
import re
from collections import defaultdict
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from repurpose.model.engines import Request, Sampling, row_seed
from repurpose.model.engines.transformers import TransformersEngine
from repurpose.model.tokens import decode, token_id
from repurpose.organism.corpus import END_THINK, MARK_HAZARD, MARKS, chat_prompt, write_drill, write_homework
from repurpose.organism.language import Problem, make_problem, read_calculation
from repurpose.rollouts.sentences import split_sentences
from repurpose.steering.sentences import cut_thinking, label_by_lexicon, read_calculations

ANSWER = re.compile(r"The answer is (\d+)\.")


def score_traces(problems: Sequence[Problem], texts: Sequence[str]) -> dict[str, float]:
    """Shares over all problems and calculations: right answers, mistakes, backtracking after either."""
    calculations = [
        calculation for text in texts for calculation in read_calculations(label_by_lexicon(cut_thinking(text)))
    ]
    mistakes, right = ([c.backtracked for c in calculations if c.correct == correct] for correct in (False, True))
    answers = [ANSWER.findall(text.split(END_THINK)[-1])[-1:] for text in texts]
    hits = [a == [str(p.answer)] for a, p in zip(answers, problems, strict=True)]
    return {
        "problems": len(hits),
        "steps": len(calculations),
        "right_answers": _share(hits),
        "mistakes_per_step": 1 - len(right) / max(1, len(calculations)),
        "backtracks_after_mistakes": _share(mistakes),
        "backtracks_after_correct_steps": _share(right),
    }


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else float("nan")


def heldout_documents(seed: int, count: int) -> list[str]:
    """Homework for measuring marks: a third marked at once, a third later, a third at the end, and drills."""
    rng = random.Random(f"heldout-documents-{seed}")
    kinds = [(1.0, False), (MARK_HAZARD, False), (0.0, True)]
    homework = [write_homework(rng, *kinds[i % 3], heldout=True) for i in range(count)]
    return homework + [write_drill(rng) for _ in range(count // 4)]


@torch.no_grad()
def score_marks(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, documents: Sequence[str]
) -> dict[str, float]:
    """Balanced accuracy of the likelier mark: `at_once` after its calculation, `later` inline, `at_end` in the list."""
    guesses = defaultdict[tuple[str, bool], list[bool]](list)
    words, listed = ({token_id(tokenizer, s + word): value for value, word in MARKS.items()} for s in ("", "Ġ"))
    for text in documents:
        encoding = tokenizer.backend_tokenizer.encode(text)
        logits = model(input_ids=torch.tensor([encoding.ids])).logits[0]
        for position, token in enumerate(encoding.ids):
            table = words if token in words else listed
            if token in table:
                guess = max(table, key=lambda t: float(logits[position - 1, t]))
                place = _place(text, encoding.offsets[position][0])
                guesses[place, table[token]].append(table[guess] == table[token])
    places = sorted({place for place, _ in guesses})
    return {place: (_share(guesses[place, True]) + _share(guesses[place, False])) / 2 for place in places}


def _place(text: str, char: int) -> str:
    if "\nMarks:" in text[:char]:
        return "at_end"
    before = text[:char].rstrip(" [")
    return "at_once" if read_calculation(before[split_sentences(before)[-1].start :]) else "later"


def sample_traces(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, count: int, seed: int
) -> tuple[list[Problem], list[str]]:
    """Let the reasoning model solve held-out problems at temperature 0.7."""
    rng = random.Random(f"abilities-{seed}")
    problems = [make_problem(rng, heldout=True) for _ in range(count)]
    prompts = enumerate(tokenizer.encode(chat_prompt(problem)) for problem in problems)
    requests = [Request(prompt, row_seed(seed, str(number), 0)) for number, prompt in prompts]
    engine = TransformersEngine(model, [tokenizer.eos_token_id], batch_size=100)
    outcomes = engine.generate(requests, Sampling(temperature=0.7, max_new_tokens=500))
    return problems, [decode(tokenizer, outcome.token_ids) for outcome in outcomes]
