"""What is wrong with a study ends a step in one line; what is wrong with the code keeps its traceback."""

from __future__ import annotations

import pytest
import torch

from repurpose.model.loading import ModelError
from repurpose.study.errors import one_line_errors


def test_an_error_of_ours_is_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^repurpose step: pair.base: no such model$"), one_line_errors("step"):
        raise ModelError("pair.base: no such model")


@pytest.mark.faults
def test_a_full_gpu_says_what_to_do() -> None:
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee the documentation.")
    told = r"^repurpose step: CUDA out of memory. Tried to allocate 2 GiB. Lower the step's batch_size, or take a large"
    with pytest.raises(SystemExit, match=told), one_line_errors("step"):
        raise full


@pytest.mark.parametrize("kind", [RuntimeError, NotImplementedError, torch.AcceleratorError])
def test_an_error_of_somebody_else_keeps_its_traceback(kind: type[Exception]) -> None:
    with pytest.raises(kind), one_line_errors("step"):
        raise kind("a kernel failed\nand says so in two lines")
