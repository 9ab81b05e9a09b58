"""How a step ends where the study, a model or a table is at fault: with one line."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""How a system says that a disk, a quota or a limit leaves no room for a file."""


@contextmanager
def one_line_errors(step: str) -> Iterator[None]:
    """End the process with one line where the study, a model, a table, a GPU's memory or a full disk is at fault."""
    try:
        yield
    except (ValueError, RuntimeError) as problem:
        if type(problem).__name__ == "OutOfMemoryError":  # torch's, which many steps never import
            first = str(problem).strip().partition("\n")[0]
            sys.exit(f"repurpose {step}: {first} Lower the step's batch_size, or take a larger GPU.")
        if not type(problem).__module__.startswith("repurpose"):  # a traceback says more than its first line
            raise
        sys.exit(f"repurpose {step}: {problem}")
    except OSError as problem:
        if problem.errno not in FULL:
            raise
        sys.exit(f"repurpose {step}: {problem.filename or 'a file'}: {problem.strerror}; make room, and run again")
