"""The host memory that this process may take: the machine's, or less where a limit was set on it.

Standard library only: the package imports it before anything else.
"""

import os
import resource
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
GROUP_OF_PROCESS = Path("/proc/self/cgroup")
STEP_MEGABYTES = {"numpy": (100, 90), "polars": (1_700, 600), "pyarrow": (1_700, 600), "torch": (2_400, 600)}
"""Address space of a step of the default study that imports the library, and how much of it is for one core's threads:
measured with the pinned releases on one and two cores, rounded up."""
CUDA_MEGABYTES = 2_900
"""What CUDA's libraries add to torch: they are mapped whole, GPU or no GPU."""
MOST_CORES = 16
"""No more are counted, because nothing was measured beyond."""


def memory_limit() -> int:
    """Bytes: the smallest of the machine's memory, its control group's limit (Slurm, a container) and `ulimit -v`."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), resource.getrlimit(resource.RLIMIT_AS)[0]]
    text = GROUP_OF_PROCESS.read_text() if GROUP_OF_PROCESS.is_file() else ""
    return min(limit for limit in (*limits, *group_limits(text, GROUPS)) if limit != resource.RLIM_INFINITY)


def group_limits(text: str, mounted: Path) -> Iterator[int]:
    """Limits, in bytes, of a process's control groups and of the groups around them, where these are mounted.

    The text is that of /proc/<pid>/cgroup: lines `number:controllers:path`, the controllers empty in version 2.
    """
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (mounted / "memory", "memory.limit_in_bytes") if controllers else (mounted, "memory.max")
        inner = root / path.strip("/")
        for group in (inner, *inner.parents):
            if group.is_relative_to(root) and (file := group / name).is_file():
                value = file.read_text().strip()
                yield from [int(value)] if value.isdigit() else []


def refuse_little_address_space() -> None:
    """Under a `ulimit -v` that is too small, end in one line when one of the large libraries is first imported.

    Left alone, each of them fails in its own way: a traceback, a crash, or OpenBLAS asking for memory for ever. Without
    a limit nothing is watched.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event != "import" or (library := str(arguments[0])) not in STEP_MEGABYTES:
            return
        if (room := limit // 1_000_000) < (needed := step_megabytes(library)):
            sys.exit(
                f"repurpose: a step with {library} needs {needed:,} MB of address space here, `ulimit -v` leaves "
                f"{room:,} MB; raise that limit, or ask the cluster for a job with more memory"
            )

    sys.addaudithook(watch)


def step_megabytes(library: str) -> int:
    """Megabytes of address space that a step with one of the large libraries needs on this machine."""
    alone, for_each_core = STEP_MEGABYTES[library]
    torch = PathFinder.find_spec("torch") if library == "torch" else None
    cuda = torch is not None and Path(torch.origin or "").with_name("lib").joinpath("libtorch_cuda.so").exists()
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return alone + CUDA_MEGABYTES * cuda + for_each_core * min(cores, MOST_CORES)
