"""Measurements: one row of metrics for each steered rollout.

A sweep whose hook did not steer every position that it should have is an error here, so that no figure can be
drawn from steering that silently stopped (after the prompt, say).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from repurpose.data.command import run_step
from repurpose.data.files import TableError, read_table
from repurpose.data.schemas import MEASUREMENTS
from repurpose.steering import metrics
from repurpose.steering.sentences import (
    Said,
    count_calculations,
    count_grammatical,
    count_labels,
    cut_thinking,
    label_by_grammar,
    label_by_lexicon,
)
from repurpose.study.settings import StepSettings

BY_LABEL = (
    *("sentences", "backtracking_sentences", "backtracking_share", "keyword_sentences"),
    *("keyword_backtracking_sentences", "wrong_calculations_backtracked", "right_calculations_backtracked"),
)
"""Metrics that nobody knows where no annotator labels the text."""
Labels = Sequence[str | None]
"""Of one text's sentences that an annotator was asked for, in order; None where it gave no valid one."""


@dataclass(frozen=True)
class Measuring:
    """What the metrics of a study's texts depend on."""

    keywords: Collection[str]
    behaviour: str
    """Which label the `backtracking_` metrics count."""
    tagged: bool = True
    """Whether the generator ends its thinking with a tag, before which no answer is one."""
    is_embedded: bool = False
    """Whether the texts are in the embedded pair's language, whose grammar then says what backtracks."""
    annotator: str = "lexicon"
    lexicon: Mapping[str, str] | None = field(default_factory=dict)
    """How labels are renamed where the annotator is the lexicon, which labels here; null: labels are given, if any."""


def measure_text(row: dict[str, Any], how: Measuring, labels: Labels | None = None) -> dict[str, Any]:
    """Return the metrics of a SWEEPS row; `labels` are those of another annotator than the lexicon, if one gave any."""
    ids, text = row["token_ids"], row["text"]
    count = metrics.count_keywords(text, how.keywords)
    return {
        "words": count.words,
        "keyword_words": count.keywords,
        "keyword_share": _share(count.keywords, count.words),
        **measure_sentences(cut_thinking(text), how, labels),
        "distinct_2": metrics.distinct_2(ids),
        "longest_run": metrics.longest_run(ids),
        "compression_ratio": metrics.compression_ratio(text),
        "length": len(ids),
        "finished": row["finish_reason"] != "length",
        "correct": metrics.is_correct(text, row["answer"], how.tagged),
    }


def measure_sentences(said: list[Said], how: Measuring, labels: Labels | None) -> dict[str, Any]:
    """Return what is counted in a text's sentences, and whose labels that stands on."""
    if how.lexicon is not None:
        said, is_labelled = label_by_lexicon(said, how.lexicon), True
    else:
        said, is_labelled = with_labels(said, labels or []), labels is not None
    by_grammar = label_by_grammar(said) if how.is_embedded else None
    counts: dict[str, Any] = count_labels(said, how.keywords, how.behaviour)
    counts["backtracking_share"] = _share(counts["backtracking_sentences"], counts["sentences"])
    counts |= count_calculations(by_grammar or said)
    if not is_labelled:
        counts |= {name: None for name in BY_LABEL if by_grammar is None or not name.endswith("backtracked")}
    nothing = dict.fromkeys(count_grammatical([]))
    counts |= nothing if by_grammar is None else count_grammatical(by_grammar)
    return {"annotator": how.annotator if is_labelled else None, **counts}


def with_labels(said: list[Said], labels: Labels) -> list[Said]:
    """The sentences with the labels of those that an annotator was asked for."""
    given = iter(labels)
    return [one._replace(label=next(given, None)) if one.is_prose else one for one in said]


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


def measure_sweep(
    sweep: pl.DataFrame, how: Measuring, nll: pl.Series | None = None, labels: Sequence[Labels] | None = None
) -> pl.DataFrame:
    """Return the MEASUREMENTS of a sweep, row by row; TableError for a sweep without rows.

    Args:
        nll: of each row, as `likelihood` has it; left out, nothing is known of it.
        labels: of each row, of an annotator that does not label here.
    """
    if sweep.is_empty():
        raise TableError("the sweep holds no rows; run it again")
    texts = sweep.select("token_ids", "text", "answer", "finish_reason").iter_rows(named=True)
    given: Sequence[Labels | None] = [None] * sweep.height if labels is None else labels
    rows = [measure_text(row, how, own) for row, own in zip(texts, given, strict=True)]
    measured = pl.DataFrame(pa.Table.from_pylist(rows, pa.schema([f for f in MEASUREMENTS if f.name in rows[0]])))
    unread = pl.Series("nll", [None] * sweep.height, dtype=pl.Float64)
    measured = measured.with_columns((unread if nll is None else nll).alias("nll"))
    return pl.concat([sweep.drop("token_ids", "text"), measured], how="horizontal")


def read_nll(sweep: pl.DataFrame, likelihoods: pl.DataFrame) -> pl.Series:
    """The likelihoods of a sweep's rows; a TableError where they are of other rows."""
    if sweep["prompt_id"].to_list() != likelihoods["prompt_id"].to_list():
        raise TableError("the likelihoods are of other rows than the sweep has; score its texts again")
    return likelihoods["nll"]


def by_row(sweep: pl.DataFrame, labels: pl.DataFrame) -> Iterator[Labels]:
    """Yield the labels of each row of a sweep; a TableError where the sentences are not those of its texts."""
    cells = labels.filter(pl.col("status") != "skipped").partition_by("cell", as_dict=True, maintain_order=True)
    for cell, text in enumerate(sweep["text"]):
        own = cells.get((cell,), labels.clear())
        asked = sum(one.is_prose for one in cut_thinking(text))
        if asked != own.height:
            raise TableError(f"row {cell} has {asked} sentences, {own.height} of them are labelled; label them again")
        yield own["label"].to_list()


def has_tags(rollouts: pl.Series) -> bool:
    """Whether any rollout marks its thinking; where none does, as of many instruct models, all of a text is answer."""
    return bool(rollouts.str.contains("</?think>").any())


def measuring(settings: StepSettings, tagged: bool) -> Measuring:
    """What a study's metrics depend on, of its settings."""
    name = settings.labels.annotator
    annotator = settings.labels.annotators[name]
    own = annotator.mapping if annotator.kind == "lexicon" else None
    is_embedded = settings.prompts.source == "organism"
    return Measuring(settings.keywords, settings.vectors.behaviour, tagged, is_embedded, name, own)


def main() -> None:
    one, many, maybe = ["sweep", "likelihoods"], ["rollouts"], ["labels"]
    with run_step("steering.measurements", __doc__, one, many, maybe=maybe) as step:
        sweep, given = step.read("sweep"), step.given
        check_steered(sweep)
        how = measuring(step.settings, has_tags(read_table(given.rollouts, ["text"])["text"]))
        nll = read_nll(sweep, step.read("likelihoods"))
        labels = list(by_row(sweep, step.read("labels"))) if given.labels else None
        step.write(measure_sweep(sweep, how, nll, labels), MEASUREMENTS)


if __name__ == "__main__":
    main()
