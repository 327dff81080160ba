"""What the tests of deploy/ share: where it is, and the tools of others that check it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.programs import found


@pytest.fixture(scope="session")
def deploy() -> Path:
    """Return the folder under test."""
    return Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="session")
def tool() -> Callable[[str, str], str]:
    """Return a function that finds a program, given its name and the Debian package that brings it.

    Without the program the test is skipped, but never in CI: there it fails.
    """
    return found
