"""The embedded broker: it starts, answers, restarts, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from daemon.embedded import EmbeddedBroker, prepare
from daemon.embedded.probe import answers
from daemon.errors import BrokerUnavailable

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
CHILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may have had it ignored
from daemon.embedded import EmbeddedBroker
with EmbeddedBroker() as broker:
    print(broker.bootstrap, broker.pid, broker.log.parent, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs a broker and has said which."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def wait_until_gone(broker: psutil.Process, directory: Path) -> None:
    psutil.wait_procs([broker], timeout=10)
    give_up = time.monotonic() + 10
    while directory.exists() and time.monotonic() < give_up:
        os.sched_yield()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_broker_and_no_directory_outlive_a_parent_that_ends(
    parent: subprocess.Popen[str], how: signal.Signals
) -> None:
    assert parent.stdout is not None
    bootstrap, pid, directory = parent.stdout.readline().split()
    host, port = bootstrap.split(":")
    broker = psutil.Process(int(pid))
    assert answers(host, int(port))

    parent.send_signal(how)
    wait_until_gone(broker, Path(directory))

    assert not broker.is_running()
    assert not Path(directory).exists()
    assert not answers(host, int(port))


def test_a_killed_broker_comes_back_on_its_port_with_its_data_and_leaves_nothing_when_closed() -> None:
    with EmbeddedBroker() as broker:
        host, port = broker.bootstrap.split(":")
        directory, first = broker.log.parent, broker.pid
        formatted = (directory / "data" / "meta.properties").read_text()

        broker.kill()
        assert broker.pid is None
        assert not answers(host, int(port))

        broker.restart()
        assert broker.pid != first
        assert answers(host, int(port))
        assert (directory / "data" / "meta.properties").read_text() == formatted
    assert not directory.exists()
    assert not answers(host, int(port))


def test_a_given_directory_is_kept(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "kafka") as broker:
        assert broker.pid is not None
    assert (tmp_path / "kafka" / "data" / "meta.properties").exists()


def test_a_taken_port_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerUnavailable, match=f"port {port} .* in use"), EmbeddedBroker(port=port):
            pass


def test_a_broker_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "meta.properties").write_text("version=1\ncluster.id=somebody-elses\nnode.id=9\n")
    with pytest.raises(BrokerUnavailable, match=r"(?s)ended with code.*node id"), EmbeddedBroker(tmp_path):
        pass


def test_jars_that_are_there_are_used_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "one.jar").write_bytes(b"12345")
    (tmp_path / "jars.list").write_text("5 one.jar\n")
    said: list[str] = []
    assert prepare(said.append, tmp_path) == (tmp_path / "one.jar",)
    assert said == []
