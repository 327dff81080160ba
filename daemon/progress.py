"""A bar that shows how far long work has come: one line that moves on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

WIDTH = 30
PLAIN_SECONDS = 5.0
TERMINAL_SECONDS = 0.1


class Bar:
    """Writes progress to a stream, at most so often that nobody drowns in it."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._clock = out, clock
        self._terminal = out.isatty()
        self._shown_at: float | None = None
        self._phase = ""

    def show(self, phase: str, share: float | None, text: str) -> None:
        """Show that `phase` has come to `share` (0 to 1, None when unknown), with a `text` for a person."""
        now = self._clock()
        wait = TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS
        if phase == self._phase and self._shown_at is not None and now - self._shown_at < wait:
            return
        self._phase, self._shown_at = phase, now
        line = f"{phase:10} {_drawn(share)}  {text}"
        self._out.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        self._out.flush()

    def clear(self) -> None:
        """Take the moving line away."""
        if self._terminal and self._shown_at is not None:
            self._out.write("\r\x1b[K")
            self._out.flush()


def _drawn(share: float | None) -> str:
    if share is None:
        return "[" + "." * WIDTH + "]"
    filled = round(min(max(share, 0.0), 1.0) * WIDTH)
    return "[" + "#" * filled + "." * (WIDTH - filled) + "]"
