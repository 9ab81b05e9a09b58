"""Merge a sweep's parts, each of some of the prompts, into the table that one job would have written, byte for byte.

In that table rows are in the order of conditions, then prompts, then samples; part k of n has the prompts k, k + n, ...
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from repurpose.data.command import run_step
from repurpose.data.files import TableError, read_provenance, read_table, write_table
from repurpose.data.schemas import SWEEPS


def whole_order(rows: Sequence[int], prompts: int, samples: int) -> NDArray[np.int64]:
    """Places of a whole table's rows among the parts' own rows, one part after the other.

    Args:
        rows: numbers of rows of the parts, in their order.
        prompts: of the whole sweep.
        samples: of each prompt.

    Raises:
        TableError: where the parts are not those of one sweep.
    """
    parts = len(rows)
    prompts_of = [len(range(part, prompts, parts)) for part in range(parts)]
    conditions = rows[0] // (prompts_of[0] * samples)
    if list(rows) != [conditions * own * samples for own in prompts_of]:
        raise TableError(f"parts of {', '.join(map(str, rows))} rows are not of one sweep of {prompts} prompts")
    condition, prompt, sample = np.indices((conditions, prompts, samples)).reshape(3, -1)
    part = prompt % parts
    first, own = np.concatenate([[0], np.cumsum(rows)])[part], np.array(prompts_of)[part]
    place: NDArray[np.int64] = first + (condition * own + prompt // parts) * samples + sample
    return place


def merge(tables: Sequence[pl.DataFrame], prompts: int, samples: int) -> pl.DataFrame:
    """The whole table from its parts, in their order."""
    return pl.concat(tables)[whole_order([len(table) for table in tables], prompts, samples)]


def main() -> None:
    with run_step("steering.merge_sweep", __doc__, many=["parts"]) as step:
        sweep, paths = step.settings.sweeps[step.settings.sweep], step.given.parts
        whole = merge([read_table(path) for path in paths], sweep.prompts, sweep.samples)
        # It says of its making what each part says: that it was merged changes nothing in it.
        write_table(step.given.output, whole.rechunk(), SWEEPS, read_provenance(paths[0]))


if __name__ == "__main__":
    main()
