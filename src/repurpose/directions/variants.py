"""Variants of the vector: with what might explain its effect projected out of it, at every site and of both readers.

`without-keywords`: the rows of the reader's unembedding for the keywords' tokens. What then is left of the effect is
not that the direction writes "Wait" itself (without the final norm between them, as in the lens).
`without-uncertainty`: the vector of uncertainty-estimation at the same site. What is left is not that the model is made
unsure.

Legend: d width, k directions that are projected out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from repurpose.data.command import run_step
from repurpose.data.schemas import VECTORS
from repurpose.data.statistics import Array
from repurpose.model.loading import common_vocabulary
from repurpose.model.tokens import keyword_ids, load_tokenizer
from repurpose.model.unembedding import unembedding_rows
from repurpose.study.pair_files import ROLES
from repurpose.study.settings import Role, variants

Row = dict[str, Any]
UNCERTAINTY = "uncertainty-estimation"


def project_out(vector: Array, directions: Array) -> Array:
    """A vector (d,) without what of it lies in the span of directions (k, d)."""
    _, sizes, axes = np.linalg.svd(directions, full_matrices=False)
    axes = axes[sizes > 1e-6 * sizes[0]]
    left: Array = vector - axes.T @ (axes @ vector)
    return left


def make_variants(vectors: pl.DataFrame, behaviour: str, keyword_rows: Mapping[Role, Array]) -> Iterator[Row]:
    """Yield the VECTORS rows; `keyword_rows` has each reader's unembedding (k, d) of the keywords.

    At a site that has no vector of uncertainty-estimation there is none without it.
    """
    site = ("reader", "layer", "window_start")
    known = {(row["name"], *(row[key] for key in site)): row for row in vectors.iter_rows(named=True)}
    for row in vectors.filter(name=behaviour).iter_rows(named=True):
        uncertain = known.get((UNCERTAINTY, *(row[key] for key in site)))
        removed = [keyword_rows[row["reader"]], None if uncertain is None else _numbers(uncertain)[None]]
        for name, directions in zip(variants(behaviour), removed, strict=False):
            if directions is not None:
                left = project_out(_numbers(row), directions)
                halves = dict.fromkeys(("split_half_cosine", "split_half_low", "split_half_high"))
                made = {"norm": float(np.linalg.norm(left)), "vector": left.astype(np.float32).tobytes()}
                yield {**row, **halves, **made, "name": name, "kind": "variant"}


def _numbers(row: Row) -> Array:
    """A stored vector (d,)."""
    return np.frombuffer(row["vector"], np.float32).astype(np.float64)


def main() -> None:
    with run_step("directions.variants", __doc__, many=["vectors"]) as step:
        settings, rows = step.settings, {}
        common = common_vocabulary(settings.pair)
        for role in ROLES:
            ids = [i for i in keyword_ids(load_tokenizer(settings.pair, role), settings.keywords) if i < common]
            rows[role] = unembedding_rows(settings.pair, role, ids).astype(np.float64)
        step.write(list(make_variants(step.read("vectors"), settings.vectors.behaviour, rows)), VECTORS)


if __name__ == "__main__":
    main()
