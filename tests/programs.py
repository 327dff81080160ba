"""Programs of others that tests run for real."""

from __future__ import annotations

import os
import shutil

import pytest


def found(name: str, package: str) -> str:
    """Return where a program is that the Debian `package` brings; without it the test is skipped, but never in CI."""
    path = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    if path is None:
        missing = f"{name} is not installed; Debian has it in the package {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return path
