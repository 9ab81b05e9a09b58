"""repurpose: steering vectors in reasoning models, from rollouts to verdicts.

`repurpose.open("results/<study>")` opens a finished study.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from repurpose.study.memory import refuse_little_address_space

if TYPE_CHECKING:
    from repurpose.steering.opened import open_study as open

__all__ = ["open"]
__version__ = "0.1.0"

refuse_little_address_space()


def __getattr__(name: str) -> Any:
    """`open` is loaded when it is asked for: the Snakefile imports this package, and may load nothing heavy."""
    if name == "open":
        return import_module("repurpose.steering.opened").open_study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
