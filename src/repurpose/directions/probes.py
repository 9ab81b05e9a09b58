"""Probes by layer: do a model's activations tell what comes next, and whether the last step was right?

    repurpose probes results/<study> [--labels lexicon] [--output probes.csv]

Two probes of each stored window, fitted on training prompts and scored on held-out ones:

    means    w = mean(D+) - mean(D-)                           (as our vectors; Marks & Tegmark 2023 call it mass-mean)
    linear   w = (S + a tr(S)/d I)^-1 (mean(D+) - mean(D-))    (Fisher's discriminant, its covariance S shrunk)

`a` is chosen on folds of the training prompts. Two questions: `behaviour`, whether the sentence that the window
stands before is of the study's behaviour; and `mistake`, where calculations can be judged, whether the last one that
ended before the window is wrong. Where a linear probe of the BASE model finds mistakes, the base model represents them;
where the means do not, the vector misses what is there. It needs nothing but what a finished study has stored.

Legend: n windows, d width.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from repurpose.data.csv_tables import to_csv
from repurpose.data.files import TableError, atomic_write, read_provenance, read_table
from repurpose.data.statistics import UNDEFINED, Array, count_pairs, draw_weights, estimate_auroc, spread
from repurpose.directions.projections import follow_calculations
from repurpose.directions.store import read_layer, stored_layers
from repurpose.directions.vectors import SENTENCE
from repurpose.study.errors import one_line_errors
from repurpose.study.pair_files import ROLES

Row = dict[str, Any]
RESAMPLES, LEVEL, SEED = 2000, 0.95, 0
SHRINKAGES, FOLDS = (1.0, 0.1, 0.01, 0.001), 5
LEAST = 20
"""Of either kind, in training and in held-out windows; below, nothing is fitted or scored."""


def means_probe(vectors: Array, positive: NDArray[np.bool_], _: NDArray[np.int64]) -> Array:
    """The difference (d,) of the means of positive and other windows (n, d)."""
    return _difference(vectors, positive)


def _difference(vectors: Array, positive: NDArray[np.bool_]) -> Array:
    difference: Array = vectors[positive].mean(0) - vectors[~positive].mean(0)
    return difference


def linear_probe(vectors: Array, positive: NDArray[np.bool_], prompts: NDArray[np.int64]) -> Array:
    """Fisher's discriminant (d,) of windows (n, d), shrunk as serves folds of their prompts (n,) best."""
    wins = np.zeros(len(SHRINKAGES))
    for fold in range(FOLDS):
        out = prompts % FOLDS == fold
        if all((kind & part).sum() > 1 for kind in (positive, ~positive) for part in (out, ~out)):
            fitted = _discriminants(vectors[~out], positive[~out], SHRINKAGES)
            nobody = np.zeros(out.sum(), int)
            wins += [count_pairs(vectors[out] @ one, positive[out], nobody, 1)[0].item() for one in fitted]
    return next(_discriminants(vectors, positive, [SHRINKAGES[int(wins.argmax())]]))


def _discriminants(vectors: Array, positive: NDArray[np.bool_], shrinkages: Sequence[float]) -> Iterator[Array]:
    """Yield the discriminant (d,) under each shrinkage, in shares of the mean variance."""
    means = np.where(positive[:, None], vectors[positive].mean(0), vectors[~positive].mean(0))
    covariance = np.cov(vectors - means, rowvar=False)
    mean_variance, one = np.trace(covariance) / len(covariance), np.eye(len(covariance))
    for shrinkage in shrinkages:
        yield np.linalg.solve(covariance + shrinkage * mean_variance * one, _difference(vectors, positive))


PROBES = {"means": means_probe, "linear": linear_probe}


def judge_ends(sentences: pl.DataFrame, window_length: int, window_starts: Sequence[int]) -> pl.DataFrame:
    """Whether the last calculation before each window's last token is wrong: SENTENCE, window_start, mistake.

    Null where there is none, or where it ends inside the window, whose first tokens would not know of it.
    """
    rows = []
    for (prompt, sample), texts in sentences.sort(SENTENCE).group_by("prompt_id", "sample", maintain_order=True):
        told = texts.to_dicts()
        states = follow_calculations(told, max(one["token_end"] for one in told) + 1)
        for one in told:
            for start in window_starts:
                first = one["token_start"] + start
                correct, since = states[first + window_length - 1] if first >= 0 else (None, None)
                known = correct is not None and since is not None and since >= window_length - 1
                rows.append((prompt, sample, one["sentence"], start, not correct if known else None))
    schema = {"prompt_id": pl.String, **dict.fromkeys((*SENTENCE[1:], "window_start"), pl.Int64), "mistake": pl.Boolean}
    return pl.DataFrame(rows, schema, orient="row")


def read_windows(paths: Sequence[Path], layer: int) -> tuple[pl.DataFrame, NDArray[Any]]:
    """Keys and vectors (n, d) of one layer's windows, of all shards."""
    read = [read_layer(path, layer) for path in paths]
    return pl.concat([keys for keys, _ in read]), np.concatenate([vectors for _, vectors in read])


def score(windows: pl.DataFrame, vectors: NDArray[Any], question: str) -> Iterator[Row]:
    """Yield a row for each probe of one reader's windows (n, d) at one site, whose answers are in `question`."""
    positive = windows[question].to_numpy().astype(bool)
    train = (windows["split"] == "train").to_numpy()
    few = min(int((part & kind).sum()) for part in (train, ~train) for kind in (positive, ~positive)) < LEAST
    numbers = [windows.filter(part)["prompt_id"].rank("dense").to_numpy().astype(int) - 1 for part in (train, ~train)]
    weights = draw_weights(len(set(numbers[1])), RESAMPLES, SEED)
    for name, fit in PROBES.items():
        found = UNDEFINED
        if not few:
            numeric = vectors.astype(np.float64)
            scores = numeric[~train] @ fit(numeric[train], positive[train], numbers[0])
            found = estimate_auroc(scores, positive[~train], numbers[1], weights, LEVEL)
        counts = {"train_positives": int(positive[train].sum()), "positives": int(positive[~train].sum())}
        yield {"question": question, "probe": name, **spread("auroc", found, ""), **counts, "prompts": len(weights[0])}


def probe_reader(paths: Sequence[Path], answers: pl.DataFrame, starts: Sequence[int]) -> Iterator[Row]:
    """Yield the rows of one reader: each layer, window start, question and probe."""
    for layer in stored_layers(paths):
        keys, vectors = read_windows(paths, layer)
        known = keys.with_row_index("row").join(answers, on=[*SENTENCE, "window_start"], maintain_order="left")
        for start in starts:
            for question in ("behaviour", "mistake"):
                here = known.filter(pl.col("window_start") == start, pl.col(question).is_not_null())
                for row in score(here, vectors[here["row"].to_numpy()], question):
                    yield {"layer": layer, "window_start": start, **row}


def probe_study(folder: Path, annotator: str | None) -> pl.DataFrame:
    """Return the AUROC of each probe in a finished study's folder; a TableError where it has not what that needs."""
    labels = sorted((folder / "labels").glob(f"{annotator or '*'}/[0-9]*.parquet"))
    known = sorted({path.parent.name for path in labels})
    if len(known) != 1:
        there = ", ".join(sorted(path.name for path in (folder / "labels").glob("*/"))) or "none"
        raise TableError(f"{folder}: labels of one annotator are needed, and there are {there}; name one by --labels")
    sentences = read_table(list(map(str, labels)))
    rows = []
    for reader in ROLES:
        paths = sorted((folder / "activations" / reader).glob("*.parquet"))
        if not paths:
            raise TableError(f"{folder}: no activations of the {reader} model; a finished study has them")
        reading = read_provenance(paths[0])["settings"]["activations"]
        behaviour = read_provenance(folder / f"vectors/{reader}.parquet")["settings"]["vectors"]["behaviour"]
        starts = sorted(reading["window_starts"])
        judged = judge_ends(sentences, reading["window_length"], starts)
        labelled = sentences.filter(status="ok").select(*SENTENCE, "split", behaviour=pl.col("label") == behaviour)
        answers = judged.join(labelled.filter(pl.col("behaviour").is_not_null()), on=SENTENCE)
        rows += [{"reader": reader, **row} for row in probe_reader(paths, answers, starts)]
    return pl.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="results/<study>")
    parser.add_argument("--labels", help="whose, where the study has several annotators")
    parser.add_argument("--output", type=Path, help="a CSV file; left out, it is printed")
    given = parser.parse_args()
    with one_line_errors("probes"):
        table = to_csv(probe_study(given.folder, given.labels))
        if given.output is None:
            sys.stdout.write(table)
        else:
            with atomic_write(given.output) as temporary:
                Path(temporary).write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
