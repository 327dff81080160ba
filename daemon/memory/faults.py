"""Where a test may make the in-memory broker fail: before each operation, and once after a commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Operation = Literal[
    "open",
    "begin",
    "send",
    "offsets",
    "commit",
    "after_commit",
    "poll",
    "resume",
    "committed",
    "bounds",
    "cursor",
    "fetch",
    "leave",
    "publish",
]
"""Steps at which the hook is called. `send` comes once a record; `after_commit` when all is done but the answer."""

Faults = Callable[[Operation], None]
"""Called with the step about to happen. What it raises passes through, as if the process had died just there."""


def no_faults(operation: Operation) -> None:
    """Let every operation happen."""
