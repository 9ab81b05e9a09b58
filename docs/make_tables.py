"""Write docs/tables.md from the tables' schemas: what a file holds is said once, under its schema in the code.

python docs/make_tables.py [FILE]
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyarrow as pa

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "repurpose"
PAGE = ROOT / "docs" / "tables.md"
FILES = {
    "PROMPTS": "prompts.parquet",
    "ROLLOUTS": "rollouts/<shard>.parquet",
    "SENTENCES": "sentences/<shard>.parquet",
    "LABELS": "labels/<annotator>/<shard>.parquet",
    "USAGE": "labels/<annotator>/usage.parquet",
    "ACTIVATIONS": "activations/<reader>/<shard>.parquet",
    "VECTORS": "vectors/<reader>.parquet, vectors/variants.parquet, vectors/rivals.parquet",
    "COSINES": "cosines.parquet",
    "SWEEPS": "sweeps/<sweep>/<target>.parquet",
    "STEERED_LABELS": "steered_labels/<annotator>/<sweep>/<target>.parquet",
    "LIKELIHOODS": "likelihoods/<sweep>/<target>.parquet",
    "MEASUREMENTS": "measurements/<sweep>/<target>.parquet",
    "LOGODDS": "logodds/<target>.parquet",
    "PERMUTATIONS": "permutations.parquet",
    "LENS": "lens.parquet",
    "PROJECTIONS": "projections/<reader>.parquet",
    "TRACES": "traces/<reader>.parquet",
}
"""Where each schema's table lies in results/<study>/."""
OPENING = """\
# Tables

<!-- Written by `make docs` from the schemas in the code. Do not edit: change the schema's docstring instead. -->

A study's numbers are in two kinds of table, all under `results/<study>/`. Every step hands on a Parquet file; its
columns are the contract with the next step. At the end stand small CSV files, one for each figure, with the numbers
that one would quote.

Words such as reader, target, dose and multiple are explained in [method.md](method.md).

## Parquet files

Each file carries its provenance in its metadata under the key `repurpose`: the settings, their digest, the package's
version and commit, the versions of libraries, the type of machine. polars, pandas and DuckDB read the files:

```python
import polars as pl

pl.read_parquet("results/organism/measurements/two_by_two/reasoning.parquet")
```
"""
CSV_OPENING = """\
## CSV files

They lie in `tables/`; `figures/x.svg` is drawn from `tables/x.csv` and nothing else. Where a number was not measured,
the field is empty.

- A share is from 0 to 1. `share` is the share of keywords among all words.
- `low` and `high` are the ends of the interval, by default 95 %, from resampling whole prompts. `x_low` and `x_high`
  are those of column `x`.
- `events` of `trials` is what a share is counted from: keywords of words, and in columns that begin so sentences of the
  behaviour of sentences (`backtracking_`), calculations that are backtracked from of calculations (`after_wrong_`,
  `after_right_`).
- `change` and the columns that end in `_change` are differences from the unsteered rows of the same prompts.
- `selected` marks the magnitude that was chosen on training prompts, `coherent` the rows whose text holds together
  (method.md, Coherence), `nll` the nats per token that say so; `finished` and `correct` are the shares of texts that
  end and whose answer is right.
- `annotator` labelled the sentences; `kappa`, where that is not the study's own, is how far the two agree.
- `family` says of which kind a direction is: the behaviour, another label, random, shuffle and so on; `variant` is made
  of the behaviour's own vector.
"""
CSV_CLOSING = """\
Two more are written where a study has several annotators: `agreement.csv` has Cohen's kappa for each pair of them, in
all and by label, `confusion.csv` how often each label of the one met each label of the other.

`claims.csv` stands beside `tables/`: a row for each part of a claim, with its estimate, interval, threshold, rule and
verdict. A number that was not measured, or has no bound, is empty; `note` says why. It also says what a threshold is
that of, and why nobody can tell where the interval does not show it, as of too little data: [method.md](method.md) has
the rules. `claims.md` is the same to read.
"""


def find_module(*names: str) -> ModuleType:
    """The module of the package that defines these names at its top level.

    Raises:
        LookupError: where there is none.
    """
    for file in sorted(PACKAGE.rglob("*.py")):
        if {*names} <= dict(_assigned(ast.parse(file.read_bytes()))).keys():
            return importlib.import_module(".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts))
    raise LookupError(f"docs/make_tables.py: nothing in {PACKAGE.name} defines {', '.join(names)}")


def _assigned(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names that a module assigns at its top level, each with the docstring under it."""
    for statement, following in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True):
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
        said = following.value if isinstance(following, ast.Expr) else None
        text = said.value if isinstance(said, ast.Constant) else ""
        yield from ((target.id, str(text)) for target in targets if isinstance(target, ast.Name))


def schemas() -> dict[str, tuple[str, pa.Schema]]:
    """Each documented schema's docstring and columns, in the order of the code."""
    module = find_module("PROMPTS", "ROLLOUTS", "SWEEPS")
    said = dict(_assigned(ast.parse(inspect.getsource(module))))
    found = {name: getattr(module, name) for name, text in said.items() if text}
    return {name: (said[name], value) for name, value in found.items() if isinstance(value, pa.Schema)}


def describe_schemas() -> Iterator[str]:
    """A section for each Parquet table."""
    for name, (said, schema) in schemas().items():
        columns = ", ".join(f"`{field.name}` ({word_type(field.type)})" for field in schema)
        yield f"### `{FILES[name]}`\n\n{inspect.cleandoc(said)}\n\nColumns: {columns}.\n"


def word_type(kind: pa.DataType) -> str:
    """A column's type as one would say it."""
    if pa.types.is_list(kind):
        return f"list of {kind.value_type}"
    return {"string": "text", "double": "float64", "binary": "bytes"}.get(str(kind), str(kind))


def describe_csvs() -> Iterator[str]:
    """A line for each CSV table: its maker's docstring."""
    makers = find_module("MAKERS").MAKERS
    for name, maker in makers.items():
        yield f"- `{name}.csv`: {' '.join((inspect.getdoc(maker) or '').split())}"


def write_page() -> str:
    """The whole page."""
    return "\n".join([OPENING, *describe_schemas(), CSV_OPENING, *describe_csvs(), "", CSV_CLOSING.rstrip()]) + "\n"


def main() -> None:
    Path(*(sys.argv[1:2] or [str(PAGE)])).write_text(write_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
