"""Service notifications reach a real datagram socket, in the form that systemd reads."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """Open a socket such as systemd does; yield its address, as the environment has it, and the socket."""
    path = str(tmp_path / "notify") if request.param == "path" else f"@longwatch-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + path[1:] if path.startswith("@") else path)
        listening.settimeout(5)
        yield path, listening


def test_each_message_arrives_in_the_managers_words(manager: tuple[str, socket.socket]) -> None:
    address, listening = manager
    notifier = Notifier(address)
    assert notifier.ready("watching 3 partitions")
    assert notifier.reloading(12.5)
    assert notifier.stopping("draining")
    notifier.close()
    assert listening.recv(500) == b"READY=1\nSTATUS=watching 3 partitions"
    assert listening.recv(500) == b"RELOADING=1\nMONOTONIC_USEC=12500000"
    assert listening.recv(500) == b"STOPPING=1\nSTATUS=draining"


def test_a_status_is_one_line_and_sent_when_it_changes(manager: tuple[str, socket.socket]) -> None:
    address, listening = manager
    notifier = Notifier(address)
    assert notifier.status("restoring\n2 of 3")
    assert not notifier.status("restoring 2 of 3")
    notifier.close()
    assert listening.recv(500) == b"STATUS=restoring 2 of 3"
    listening.settimeout(0.0)
    with pytest.raises(BlockingIOError):
        listening.recv(500)


def test_the_watchdog_is_fed_at_a_third_of_its_time(manager: tuple[str, socket.socket]) -> None:
    address, listening = manager
    notifier = Notifier.from_env({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, pid=7)
    fed = [now for now in range(100, 131) if notifier.beat(float(now))]
    notifier.close()
    assert fed == [100, 110, 120, 130]
    assert listening.recv(500) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    "variables",
    [
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
        {},
    ],
)
def test_a_watchdog_that_is_not_ours_is_not_fed(manager: tuple[str, socket.socket], variables: dict[str, str]) -> None:
    notifier = Notifier.from_env({"NOTIFY_SOCKET": manager[0], **variables}, pid=7)
    assert not notifier.beat(0.0)
    notifier.close()


def test_a_beat_that_was_not_taken_is_tried_again_at_once(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "later"), watchdog_seconds=30)
    assert not notifier.beat(0.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "later"))
        assert notifier.beat(0.1)
    notifier.close()


def test_a_full_socket_does_not_stop_the_loop(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "full"))
        notifier = Notifier(str(tmp_path / "full"))
        taken = [notifier.status(f"{number}") for number in range(100_000)]
        notifier.close()
    assert taken[0]
    assert not taken[-1]


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234"])
def test_without_a_manager_nothing_is_sent(address: str | None) -> None:
    notifier = Notifier(address, watchdog_seconds=1)
    assert not notifier.ready("here")
    assert not notifier.beat(0.0)
    notifier.close()
