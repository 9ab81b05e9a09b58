"""How far annotators agree: Cohen's kappa of each pair with its interval, and the confusion matrices, as two CSVs."""

from itertools import combinations
from pathlib import Path

import polars as pl

from repurpose.data.command import run_step
from repurpose.data.csv_tables import to_csv
from repurpose.data.files import TableError, write_text
from repurpose.data.statistics import draw_weights, spread
from repurpose.labels.agreement import CATEGORIES, estimate_agreement
from repurpose.labels.annotation import Row
from repurpose.study.settings import StepSettings

KEY = ("prompt_id", "sample", "sentence")


def pair_labels(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Both labels of each sentence that either was asked for, sorted by prompt.

    Raises:
        TableError: where they did not label the same sentences.
    """
    both = one.join(other, on=KEY, how="full", suffix="_other", coalesce=True).sort(KEY)
    if both.height != one.height or both.height != other.height:
        names = f"{one['annotator'][0]} and {other['annotator'][0]}"
        raise TableError(f"{names} did not label the same sentences; label them again")
    return both.filter((pl.col("status") != "skipped") | (pl.col("status_other") != "skipped"))


def compare(one: pl.DataFrame, other: pl.DataFrame, settings: StepSettings) -> tuple[list[Row], list[Row]]:
    """Rows of the two tables for one pair of annotators."""
    both, names = pair_labels(one, other), {"one": one["annotator"][0], "other": other["annotator"][0]}
    prompts, statistics = both["prompt_id"].n_unique(), settings.statistics
    weights = draw_weights(prompts, statistics.bootstrap, settings.seed)
    first, second, ids = (both[name].to_list() for name in ("label", "label_other", "prompt_id"))
    found = estimate_agreement(first, second, ids, weights, statistics.level)
    kappas = [
        {**names, "prompts": prompts, "sentences": both.height, "label": label, **spread("kappa", kappa, "")}
        for label, kappa in {"all": found.kappa, **found.by_label}.items()
    ]
    counts = [
        {**names, "label": label, "other_label": other_label, "sentences": int(count)}
        | {"share": count / row.sum() if row.any() else None, **spread("kappa", found.kappa)}
        for label, row in zip(CATEGORIES, found.counts, strict=True)
        for other_label, count in zip(CATEGORIES, row, strict=True)
    ]
    return kappas, counts


def main() -> None:
    with run_step("labels.compare_annotators", __doc__, many=["labels"], outputs=True) as step:
        tables = step.read("labels").partition_by("annotator", maintain_order=True)
        found = [compare(one, other, step.settings) for one, other in combinations(tables, 2)]
        for path, rows in zip(step.given.output, zip(*found, strict=True), strict=True):
            table = pl.DataFrame([row for part in rows for row in part], infer_schema_length=None)
            write_text(Path(path), to_csv(table))


if __name__ == "__main__":
    main()
