"""Measurements: one row of metrics for each steered rollout.

A sweep whose hook did not steer every position that it should have is an error here, so that no figure can be
drawn from steering that silently stopped (after the prompt, say).
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from repurpose.data.command import run_step
from repurpose.data.files import TableError, read_table
from repurpose.data.schemas import MEASUREMENTS
from repurpose.labels.lexicon import label_sentence
from repurpose.organism.corpus import END_THINK
from repurpose.organism.equations import Account
from repurpose.rollouts.sentences import split_sentences
from repurpose.steering import metrics


class Calculation(NamedTuple):
    """One calculation of a trace: is it right, and does a backtracking sentence follow before the next?"""

    correct: bool
    backtracked: bool


def measure_text(
    token_ids: list[int],
    text: str,
    answer: str | None,
    finish_reason: str,
    keywords: Collection[str],
    behaviour: str,
    tagged: bool = True,
) -> dict[str, Any]:
    """Return the metrics of one generated text; the `backtracking_` ones count the study's own behaviour.

    `tagged`: whether the generator ends its thinking with a tag, before which no answer is one.
    """
    count = metrics.count_keywords(text, keywords)
    sentences = metrics.count_sentences(text, keywords, behaviour)
    return {
        "words": count.words,
        "keyword_words": count.keywords,
        "keyword_share": _share(count.keywords, count.words),
        "sentences": sentences.sentences,
        "backtracking_sentences": sentences.labelled,
        "backtracking_share": _share(sentences.labelled, sentences.sentences),
        "keyword_sentences": sentences.with_keyword,
        "keyword_backtracking_sentences": sentences.both,
        **count_calculations(text),
        "distinct_2": metrics.distinct_2(token_ids),
        "longest_run": metrics.longest_run(token_ids),
        "compression_ratio": metrics.compression_ratio(text),
        "length": len(token_ids),
        "finished": finish_reason != "length",
        "correct": metrics.is_correct(text, answer, tagged),
    }


def count_calculations(text: str) -> dict[str, int]:
    """Count the calculations by truth, and those that a backtracking sentence follows before the next.

    Known of the languages of our own pairs; other texts rarely end a sentence with such a calculation.
    """
    calculations = read_calculations(text)
    wrong = [calculation.backtracked for calculation in calculations if not calculation.correct]
    right = [calculation.backtracked for calculation in calculations if calculation.correct]
    return {
        "wrong_calculations": len(wrong),
        "wrong_calculations_backtracked": sum(wrong),
        "right_calculations": len(right),
        "right_calculations_backtracked": sum(right),
    }


def read_calculations(text: str) -> list[Calculation]:
    """The calculations that sentences of a trace end with, whoever wrote it, in order."""
    found, account = list[Calculation](), Account()
    for span in split_sentences(text.split(END_THINK)[0]):
        sentence = text[span.start : span.end]
        if (correct := account.judge(sentence)) is not None:
            found.append(Calculation(correct, False))
        elif found and label_sentence(sentence) == "backtracking":
            found[-1] = found[-1]._replace(backtracked=True)
    return found


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def check_steered(sweep: pl.DataFrame) -> None:
    """Raise a TableError that names condition and row where one was not steered at every position asked for."""
    wrong = sweep.with_row_index("row").filter(pl.col("steered_positions").ne_missing(pl.col("expected_positions")))
    if wrong.is_empty():
        return
    row = wrong.row(0, named=True)
    keys = ("sweep", "target", "direction", "reader", "layer", "window_start", "magnitude")
    condition = ", ".join(f"{key} {row[key]}" for key in keys)
    raise TableError(
        f"{condition}: row {row['row']} (prompt {row['prompt_id']}, sample {row['sample']}) was steered at "
        f"{row['steered_positions']} positions, expected {row['expected_positions']}; "
        f"{wrong.height} of {sweep.height} rows are wrong"
    )


def measure_sweep(sweep: pl.DataFrame, keywords: Collection[str], behaviour: str, tagged: bool = True) -> pl.DataFrame:
    """Return the MEASUREMENTS of a sweep, row by row (see `measure_text`); TableError for a sweep without rows."""
    if sweep.is_empty():
        raise TableError("the sweep holds no rows; run it again")
    columns = ("token_ids", "text", "answer", "finish_reason")
    how = (keywords, behaviour, tagged)
    rows = [
        measure_text(row["token_ids"], row["text"], row["answer"], row["finish_reason"], *how)
        for row in sweep.select(columns).iter_rows(named=True)
    ]
    measured = pa.Table.from_pylist(rows, pa.schema([f for f in MEASUREMENTS if f.name in rows[0]]))
    return pl.concat([sweep.drop("token_ids", "text"), pl.DataFrame(measured)], how="horizontal")


def has_tags(rollouts: pl.Series) -> bool:
    """Whether any rollout marks its thinking; where none does, as of many instruct models, all of a text is answer."""
    return bool(rollouts.str.contains("</?think>").any())


def main() -> None:
    with run_step("steering.measurements", __doc__, one=["sweep"], many=["rollouts"]) as step:
        sweep, settings = step.read("sweep"), step.settings
        check_steered(sweep)
        tagged = has_tags(read_table(step.given.rollouts, ["text"])["text"])
        step.write(measure_sweep(sweep, settings.keywords, settings.vectors.behaviour, tagged), MEASUREMENTS)


if __name__ == "__main__":
    main()
