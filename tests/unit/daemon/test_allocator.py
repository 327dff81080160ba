"""The process keeps what it frees and looks for garbage seldom."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from daemon.allocator import COLLECT_AFTER_OBJECTS, KEPT_BYTES_MAX, PIECE_BYTES_MAX, collect_seldom

# how often new pages were asked for while a piece of 8 MiB was taken, filled and freed again and again
FAULTS = """
import resource, sys
import numpy as np
from daemon.allocator import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(77)
faults = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [np.ones(2**20), np.ones(2**20)]
    del pieces
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[10:]))
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_memory_that_was_freed_is_taken_again_without_a_fault() -> None:
    assert faults("keep") * 4 < max(faults("leave"), 40)


def test_what_is_kept_is_bounded() -> None:
    assert PIECE_BYTES_MAX < KEPT_BYTES_MAX <= 2**28


def test_garbage_is_looked_for_seldom() -> None:
    before = gc.get_threshold()
    try:
        collect_seldom()
        assert gc.get_threshold() == (COLLECT_AFTER_OBJECTS, *before[1:])
    finally:
        gc.set_threshold(*before)
