"""The environment and the files that the configurations of these tests name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

CONTENTS = {
    "ca.pem": b"stands for certificates\n",
    "kafka-ca.pem": b"stands for certificates\n",
    "client.pem": b"stands for a certificate\n",
    "client.key": b"stands for a key\n",
    "client-key-password": b"hunter2-of-the-key\n",
    "password": b"hunter2-from-file\n",
    "kafka-password": b"hunter2-from-file\n",
    "token": b"stands for a token\n",
    "empty": b"\n",
    "not-text": b"\xff\xfe",
    "large": b"x" * 70_000,
}


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that configurations name."""
    folder = tmp_path_factory.mktemp("files")
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def env(files: Path) -> Mapping[str, str]:
    """Return the environment that the configurations of these tests expect."""
    return {
        "FILES": str(files),
        "CREDENTIALS_DIRECTORY": str(files),
        "HOSTNAME": "longwatch-0",
        "PASSWORD": "hunter2-from-env",
        "PORT": "9092",
        "EMPTY": "",
        "NOT_TEXT": "\udcff",
    }
