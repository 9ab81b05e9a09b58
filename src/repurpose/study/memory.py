"""The host memory that this process may take: the machine's, or less where a limit was set on it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
GROUP_OF_PROCESS = Path("/proc/self/cgroup")


def memory_limit() -> int:
    """Bytes: the smallest of the machine's memory, its control group's limit (Slurm, a container) and `ulimit -v`."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    own = machine if soft == resource.RLIM_INFINITY else soft
    text = GROUP_OF_PROCESS.read_text() if GROUP_OF_PROCESS.is_file() else ""
    return min(machine, own, *group_limits(text, GROUPS))


def group_limits(text: str, mounted: Path) -> Iterator[int]:
    """Limits, in bytes, of a process's control groups and of the groups around them.

    Args:
        text: of /proc/<pid>/cgroup; lines `number:controllers:path`, the controllers empty in version 2.
        mounted: where the groups are mounted.
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
