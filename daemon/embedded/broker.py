"""Starts an Apache Kafka broker as a child process and makes sure that it never outlives its parent."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from daemon.embedded.addresses import HOST, free_ports, is_free
from daemon.embedded.jars import Progress, cache_directory, java, keep, prepare
from daemon.embedded.probe import answers
from daemon.embedded.properties import CLUSTER_ID, Place, jvm_options, server_properties
from daemon.errors import BrokerUnavailable

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_TAIL_LINES = 20
# Reading ends when the parent closes the pipe or dies, however it dies.
_WATCHDOG = 'read -r line; kill -s KILL -- "-$1" 2>/dev/null; if [ -n "$2" ]; then rm -rf -- "$2"; fi'


class EmbeddedBroker:
    """A Kafka broker in a child process: `with EmbeddedBroker() as broker: connect(broker.bootstrap)`.

    `directory` keeps the broker's data between runs; without one, a temporary directory is used and removed.
    `port` 0 picks a free one; `properties` are set over those of `server.properties`. `place` makes it a node of an
    EmbeddedCluster, and names the ports. Entering raises BrokerUnavailable, with the end of the broker's log, when it
    cannot start.
    """

    def __init__(
        self,
        directory: Path | None = None,
        port: int = 0,
        *,
        progress: Progress = lambda line: None,
        properties: Mapping[str, str] = MappingProxyType({}),
        place: Place | None = None,
    ) -> None:
        self._given = directory
        self._directory = directory or Path()
        self._place = place or _alone(port)
        self._progress = progress
        self._properties = properties
        self._broker: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The address that clients connect to, as `host:port`."""
        return f"{HOST}:{self._place.port}"

    @property
    def pid(self) -> int | None:
        """The broker's process id, None while it does not run."""
        return self._broker.pid if self._broker else None

    @property
    def log(self) -> Path:
        """The file that the broker logs to."""
        return self._directory / "broker.log"

    def __enter__(self) -> Self:
        self.open()
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Take a directory, which `close` gives back; nothing runs yet."""
        self._directory = self._given or Path(tempfile.mkdtemp(prefix="longwatch-kafka-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        atexit.register(self.close)

    def start(self) -> None:
        """Start the broker and wait for its first answer, at most a minute."""
        self.launch()
        self.await_answer()

    def launch(self) -> None:
        """Start the broker's process; it answers some seconds later, once most nodes of its cluster run."""
        if not is_free(self._place.port):
            raise BrokerUnavailable(f"port {self._place.port} of {HOST} is in use: choose another, or 0 for a free one")
        classpath = os.pathsep.join(str(jar) for jar in prepare(self._progress))
        command = [str(java()), *jvm_options(self._place), "-cp", classpath]
        properties = self._directory / "server.properties"
        data = self._directory / "data"
        properties.write_text(server_properties(data, self._place, self._properties), encoding="utf-8")
        if not (data / "meta.properties").exists():
            self._format(data, [*command, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties)])
        self._spawn([*command, "kafka.Kafka", str(properties)])

    def await_answer(self) -> None:
        """Wait until the launched broker serves, at most a minute. Raises BrokerUnavailable when it does not."""
        assert self._broker is not None
        give_up = time.monotonic() + _START_SECONDS
        while not answers(HOST, self._place.port):
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._broker.wait(timeout=0.05)
                raise BrokerUnavailable(f"the embedded broker ended with code {code}:\n{self._tail()}")
            if time.monotonic() > give_up:
                raise BrokerUnavailable(f"the embedded broker is silent after {_START_SECONDS:.0f} s:\n{self._tail()}")

    def kill(self) -> None:
        """End the broker at once, as a power cut would; data and port stay reserved for `restart`."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the broker as its operators would: it hands over what it leads first, for at most ten seconds."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Start the broker again on the same port and data, killing it first when it still runs."""
        self.kill()
        self.start()

    def suspend(self) -> None:
        """Stop the broker's process without ending it: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let a suspended broker go on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End the broker and remove what is temporary; harmless when called twice."""
        atexit.unregister(self.close)
        self._end(signal.SIGTERM if self._given else signal.SIGKILL)
        if self._given is None and self._directory != Path():
            shutil.rmtree(self._directory, ignore_errors=True)

    def _format(self, data: Path, command: list[str]) -> None:
        """Make an empty data directory: as another broker made it before, which saves the start of a Java machine."""
        template = cache_directory() / f"formatted-{self._place.node}"
        if template.is_dir() and not self._properties:
            shutil.copytree(template, data, dirs_exist_ok=True)
            return
        with self.log.open("ab") as log:
            result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        if result.returncode != 0:
            raise BrokerUnavailable(f"the embedded broker cannot format its data in {self._directory}:\n{self._tail()}")
        if not self._properties:
            keep(data, template)

    def _spawn(self, command: list[str]) -> None:
        with self.log.open("ab") as log:
            self._broker = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        temporary = "" if self._given else str(self._directory)
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "longwatch-watchdog", str(self._broker.pid), temporary],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _end(self, how: signal.Signals) -> None:
        broker, self._broker = self._broker, None
        watchdog, self._watchdog = self._watchdog, None
        if broker is None:
            return
        if how != signal.SIGKILL and broker.poll() is None:
            os.killpg(broker.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                broker.wait(timeout=_STOP_SECONDS)
        # The watchdog ends after the broker got its signal and before the broker's id can belong to somebody else.
        if broker.returncode is None:
            os.killpg(broker.pid, signal.SIGKILL)
        if watchdog is not None:
            watchdog.kill()
            watchdog.communicate()
        broker.wait()

    def _signal(self, which: signal.Signals) -> None:
        if self._broker is not None:
            os.killpg(self._broker.pid, which)

    def _tail(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return "(no log)"
        return "\n".join(lines[-_TAIL_LINES:]) or f"(nothing in {self.log})"


def _alone(port: int) -> Place:
    others = [each for each in free_ports(3) if each != port]
    return Place(0, ((port or others[0], others[1]),))


@contextlib.contextmanager
def broker_at(bootstrap: str | None) -> Iterator[str]:
    """Yield the address of the given broker, or of one of our own that ends with the context."""
    if bootstrap is not None:
        yield bootstrap
        return
    with EmbeddedBroker() as broker:
        yield broker.bootstrap
