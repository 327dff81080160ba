"""What a turn frees, the next one takes again: memory that is handed back to the system must be fetched page by page.

Every turn needs some megabytes for a moment, for copies of the rows it moves. As it comes, the C library gives such
pieces back at once, and each new page costs the turn a fault: a quarter of a microsecond and more, for 1.4 rows.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

MIB: Final = 2**20
PIECE_BYTES_MAX: Final = 64 * MIB  # a larger piece is the system's own: the slabs, which live long, and grow by moving
KEPT_BYTES_MAX: Final = 256 * MIB
COLLECT_AFTER_OBJECTS: Final = 100_000  # more than the records of a turn are made of
_TRIM_THRESHOLD: Final = -1  # as <malloc.h> names them
_MMAP_THRESHOLD: Final = -3


def collect_seldom() -> None:
    """Let Python look for cycles of garbage once in many turns.

    As it comes, it does so after 700 new objects: some ten times a turn, over records that are all still in use.
    Whatever is no cycle is freed at once, as ever.
    """
    gc.set_threshold(COLLECT_AFTER_OBJECTS, *gc.get_threshold()[1:])


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, within the limits; return whether its C library can (glibc)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, PIECE_BYTES_MAX)) and bool(mallopt(_TRIM_THRESHOLD, KEPT_BYTES_MAX))
