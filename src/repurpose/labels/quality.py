"""How good an annotator is where the truth is known: precision, recall and F1 of each label.

    python -m repurpose.labels.quality [--language word-problems] [--traces N] [--seed S]

scores `lexicon` on freshly made traces of one of our pairs' languages, whose sentences carry their label. It also
says how many sentences more than one of its patterns would name, so that their order decides.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from repurpose.labels import lexicon
from repurpose.organism import language, word_problems, word_traces
from repurpose.study.settings import BEHAVIOURS

Sentences = Sequence[language.Spoken] | Sequence[word_traces.Said]
MISTAKE_RATE = 0.4
"""Of the calculations of word problems; the embedded pair's language has its own."""


class Score(NamedTuple):
    """Quality of one label; shares from 0 to 1, NaN where there is nothing to share."""

    label: str
    support: int
    """Sentences that truly have the label."""
    precision: float
    recall: float
    f1: float


def score_labels(truth: Sequence[str | None], labels: Sequence[str | None]) -> list[Score]:
    """Score each behaviour; None (no label) is neither truth nor find of any. A ValueError where the lengths differ."""
    hits = Counter(one for one, other in zip(truth, labels, strict=True) if one == other)
    scores = []
    for label in BEHAVIOURS:
        both, true, named = hits[label], truth.count(label), labels.count(label)
        scores.append(Score(label, true, _share(both, named), _share(both, true), _share(2 * both, true + named)))
    return scores


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _embedded_trace(rng: random.Random) -> Sentences:
    return language.make_trace(rng, language.make_problem(rng))


def _word_trace(rng: random.Random) -> Sentences:
    problem = word_problems.make_problem(rng, rng.choice(sorted(word_problems.SCENES)))
    return word_traces.make_trace(rng, problem, word_traces.slipped_steps(rng, problem, MISTAKE_RATE))


LANGUAGES: dict[str, Callable[[random.Random], Sentences]] = {
    "organism": _embedded_trace,
    "word-problems": _word_trace,
}
"""How a trace of each is made; named as the prompts of the pair are."""


def make_sentences(traces: int, seed: int, name: str = "organism") -> Sentences:
    """Return the sentences of fresh traces of a language, with their truth."""
    rng = random.Random(f"quality-{seed}")
    made: list[Any] = [sentence for _ in range(traces) for sentence in LANGUAGES[name](rng)]
    return made


def count_ambiguous(sentences: Sentences) -> Counter[tuple[str, ...]]:
    """Count sentences by the labels whose patterns they match, where these are more than one."""
    matched = (lexicon.matching_labels(sentence.text) for sentence in sentences)
    return Counter(labels for labels in matched if len(labels) > 1)


def report_lexicon(sentences: Sentences) -> list[str]:
    """Return the table of `lexicon` as lines."""
    truth, labels = [s.label for s in sentences], [lexicon.label_sentence(s.text) for s in sentences]
    lines = [f"{'label':<24}{'support':>8}{'precision':>11}{'recall':>8}{'F1':>8}"]
    lines += ["{:<24}{:>8}{:>11.3f}{:>8.3f}{:>8.3f}".format(*row) for row in score_labels(truth, labels)]
    ambiguous = count_ambiguous(sentences)
    share = 100 * ambiguous.total() / len(sentences)
    lines.append(f"{ambiguous.total()} of {len(sentences)} sentences ({share:.2f} %) match patterns of several labels")
    return lines + [f"  {' and '.join(labels)}: {count}" for labels, count in ambiguous.most_common()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--language", choices=sorted(LANGUAGES), default="organism", help="whose traces")
    parser.add_argument("--traces", type=_positive, default=400, help="how many traces are made")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.stdout.write(
        "\n".join(report_lexicon(make_sentences(arguments.traces, arguments.seed, arguments.language))) + "\n"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


if __name__ == "__main__":
    main()
