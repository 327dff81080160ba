"""The daemon as a user runs it: a process told by a file, seen through its log, its pages and its topics."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from daemon.kafka import KafkaBroker
from daemon.ports import Cursor
from daemon.types import Record, TopicPartition

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
WAIT_SECONDS = 120.0
LOOK_SECONDS = 0.02
STANDING_SECONDS = 10.0
TAIL_LINES = 100
TELLING = re.compile(r"longwatch_(turns|lag|transactions|broker_lost|partitions|ready|last_progress|samples|deliver)")


def settings(bootstrap: str, prefix: str, **over: object) -> dict[str, Any]:
    """Return settings that are quick and keep every score; `over` replaces whole sections."""
    return {
        "kafka": {
            "bootstrap_servers": [bootstrap],
            "group_id": f"{prefix}group",
            # a lasting name: a restart takes its partitions back at once
            "instance_id": f"{prefix}one",
            "session_timeout_seconds": 6,
            "transaction_timeout_seconds": 10,
        },
        "input": {"topics": [f"{prefix}metrics"], "poll_seconds": 0.1},
        "groups": [group()],
        "state": {"topic": f"{prefix}state", "flush_seconds": 1},
        "outputs": {
            "alerts": {"topic": f"{prefix}alerts"},
            "scores": {"topic": f"{prefix}scores", "keep": "all"},
            "dead_letters": {"topic": f"{prefix}dead-letters"},
            "models": {"topic": f"{prefix}models"},
        },
        "server": {"listen": f"{HOST}:0"},
        "logging": {"format": "json"},
        **over,
    }


def group(**over: object) -> dict[str, Any]:
    """Return a small group that learns nothing unless `over` says so."""
    return {
        "name": "all",
        "warmup_samples": 40,
        "model": {"hidden": 8, "window": 8, "bottleneck": 3},
        "learning": "frozen",
        **over,
    }


def environment() -> dict[str, str]:
    """Return this process's environment for a child that does its arithmetic on one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def longwatch(*arguments: str | Path, seconds: float = WAIT_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "daemon", *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def until(done: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Wait for `done`; fail, saying `what` was awaited, after `seconds`."""
    give_up, pause = time.monotonic() + seconds, threading.Event()
    while not done():
        assert time.monotonic() < give_up, f"waited {seconds:g} s in vain: {what}"
        pause.wait(LOOK_SECONDS)


class Daemon:
    """`longwatch run` on a file of settings; never outlives the test that started it."""

    def __init__(self, folder: Path, told: Mapping[str, object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "longwatch.yaml"
        self.config.write_text(json.dumps(told), encoding="utf-8")  # JSON is YAML
        self._log = folder / "daemon.log"
        self._life_starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.token = ""  # shown to the pages, if there is one

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Begin a life."""
        self._life_starts = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                # asked to abort, it says where each of its threads stands
                [sys.executable, "-X", "faulthandler", "-m", "daemon", "run", str(self.config)],
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def children(self) -> list[int]:
        """The processes that this life has started itself, as Linux lists them."""
        assert self._process is not None
        listed = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text("ascii")
        return [int(each) for each in listed.split()]

    def kill(self) -> None:
        """End this life as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def stop(self, seconds: float = WAIT_SECONDS) -> int:
        """Ask for the end, as a supervisor does, and return the exit code."""
        self.send(signal.SIGTERM)
        return self.wait(seconds)

    def send(self, which: signal.Signals) -> None:
        """Send a signal to this life."""
        assert self._process is not None
        self._process.send_signal(which)

    @property
    def code(self) -> int | None:
        """The exit code of a life that has ended by itself or because it was asked to; None before that."""
        return self._process.poll() if self._process is not None else None

    def wait(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait for the end and return the exit code."""
        assert self._process is not None
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {seconds:g} s:\n{self.tail()}") from None
        self._process = None
        return code

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of this life's log that tell of `event`."""
        with self._log.open("rb") as log:
            log.seek(self._life_starts)
            lines = log.read().splitlines(keepends=True)
        told = [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}\n")]
        return [line for line in told if line.get("event") == event]

    def tail(self) -> str:
        """Return the end of the log, of all lives."""
        if not self._log.exists():
            return "(it was never started)"
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a page; (0, "") while nobody answers."""
        listening = [line for line in self.said("listening") if "worker" not in line]
        if not listening:
            return 0, ""
        connection = http.client.HTTPConnection(HOST, listening[-1]["port"], timeout=5)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"} if self.token else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that carry these labels; 0 while there are none."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def until(self, done: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait for `done` while the daemon lives; a failure shows the end of its log."""

        def looked() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"it ended with code {self._process.returncode}:\n{self.tail()}"
            return done()

        try:
            until(looked, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._standing()}") from None

    def _standing(self) -> str:
        """End this life, and return where it stood: what its metrics and its log said, and what each thread did."""
        if self._process is None or self._process.poll() is not None:
            return self.tail()
        pages = [line for line in self.get("/metrics")[1].splitlines() if TELLING.match(line)]
        self.send(signal.SIGABRT)
        self.wait()
        return "\n".join([*pages, self.tail()])

    def until_ready(self, seconds: float = WAIT_SECONDS) -> None:
        """Wait until every partition is restored."""
        self.until(lambda: self.get("/-/ready")[0] == http.client.OK, "the daemon is ready", seconds)


class Follower:
    """Reads every partition of a topic as any consumer would: committed records only, each once."""

    def __init__(self, broker: KafkaBroker, topic: str) -> None:
        until(lambda: broker.partitions(topic) is not None, f"topic {topic} is there")
        self._broker = broker
        self._partitions = [TopicPartition(topic, number) for number in range(broker.partitions(topic) or 0)]
        self._cursors = [broker.cursor(each, 0) for each in self._partitions]
        self.records: list[Record] = []

    def advance(self) -> list[Record]:
        """Take in what has come since, and return it."""
        came = [record for cursor in self._cursors for record in cursor.fetch(5000, LOOK_SECONDS)]
        self.records += came
        return came

    def finish(self) -> list[Record]:
        """Read on to where the topic ends now, and return all records since the beginning."""
        for came in self.rest():
            self.records += came
        return self.records

    def rest(self) -> list[list[Record]]:
        """Read on to where the topic ends now, and return what came of each partition."""
        return [self._rest(*each) for each in zip(self._partitions, self._cursors, strict=True)]

    def _rest(self, partition: TopicPartition, cursor: Cursor) -> list[Record]:
        end, came = self._broker.bounds(partition).end, list[Record]()
        give_up = time.monotonic() + WAIT_SECONDS
        while cursor.position < end:
            assert time.monotonic() < give_up, f"{partition} is stuck at {cursor.position} of {end}"
            came += cursor.fetch(5000, LOOK_SECONDS)
        return came

    def standing(self) -> str:
        """Return how far each partition was read, and how far a reader gets that begins now."""
        told = []
        for partition, cursor in zip(self._partitions, self._cursors, strict=True):
            fresh, give_up = self._broker.cursor(partition, 0), time.monotonic() + STANDING_SECONDS
            end = self._broker.bounds(partition).end
            while fresh.position < end and time.monotonic() < give_up:
                fresh.fetch(5000, LOOK_SECONDS)
            told.append(f"{partition}: at {cursor.position}, a new reader at {fresh.position}, the end at {end}")
            fresh.close()
        return "\n".join(told)

    def close(self) -> None:
        """Let go of the connections."""
        for cursor in self._cursors:
            cursor.close()


class Scores(Follower):
    """Follows the topic of scores, and counts the samples that have one."""

    samples = 0

    def advance(self) -> list[Record]:
        """Take in what has come since, and return it."""
        came = super().advance()
        self.samples += sum(len(json.loads(record.value or b"")["offset"]) for record in came)
        return came

    def reach(self, samples: int) -> bool:
        """Take in what has come since, and return whether so many samples are scored."""
        self.advance()
        return self.samples >= samples


def offsets_committed(broker: KafkaBroker, topic: str) -> list[int | None]:
    """Return the offset that the broker's group has committed in each partition of `topic`; asks without joining."""
    source = broker.source([topic])
    try:
        return [source.committed(TopicPartition(topic, each)) for each in range(broker.partitions(topic) or 0)]
    finally:
        source.close()
