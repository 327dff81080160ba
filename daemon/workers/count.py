"""How many workers a machine is good for."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final, Literal

QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def count(setting: int | Literal["auto"], quota: Path = QUOTA) -> int:
    """Return how many workers `setting` asks for; `auto` is one for each core that this process may use.

    A container's share of the machine stands in `quota`: microseconds of computing and of time, or "max".
    """
    if setting != "auto":
        return setting
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _allowed(quota)))


def _allowed(quota: Path) -> int:
    try:
        share, period = quota.read_text("utf-8").split()
        return math.ceil(int(share) / int(period))
    except (OSError, ValueError):  # no such file, or no limit in it
        return os.cpu_count() or 1
