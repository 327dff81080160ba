"""What a turn frees, the next one takes again: memory that is handed back to the system must be fetched page by page.

Every turn needs some megabytes for a moment, for copies of the rows it moves. As it comes, the C library gives such
pieces back at once, and each new page costs the turn a fault: a quarter of a microsecond and more, for 1.4 rows.
"""

from __future__ import annotations

import ctypes
from typing import Final

MIB: Final = 2**20
PIECE_BYTES_MAX: Final = 64 * MIB  # a larger piece is the system's own: the slabs, which live long, and grow by moving
KEPT_BYTES_MAX: Final = 256 * MIB
_TRIM_THRESHOLD: Final = -1  # as <malloc.h> names them
_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, within the limits; return whether its C library can (glibc)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, PIECE_BYTES_MAX)) and bool(mallopt(_TRIM_THRESHOLD, KEPT_BYTES_MAX))
