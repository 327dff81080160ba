"""The phases go on when the daemon's page says so, give up in time, and show what the alerts topic holds."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from daemon.alert_events import AlertEvent, Source
from daemon.demo import scenario as scenarios
from daemon.demo.child import DaemonChild, DemoFailed
from daemon.demo.follow import Follower
from daemon.demo.judge import Label
from daemon.demo.scenario import PARTITIONS, TOPIC, Scenario, Size
from daemon.demo.screen import Screen
from daemon.demo.show import Show
from daemon.memory import MemoryBroker, MemoryCluster
from daemon.types import Outgoing, TopicPartition, TopicSpec

ALERTS = "longwatch-alerts"
SCENARIO = scenarios.plan(Size(seed=2, streams_each=1, history_days=1, live_days=6), 1_763_700_000_000)


@contextmanager
def page_of(samples: float, *, model: bool) -> Iterator[int]:
    """Serve a metrics page; yield its port."""
    text = f'longwatch_samples_total{{group="fleet"}} {samples}\n' + 'longwatch_model_info{model_id="m"} 1.0\n' * model

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield serving.server_port
        serving.shutdown()
        thread.join()


@pytest.fixture
def broker() -> MemoryBroker:
    """A cluster in memory with the demo's topics."""
    made = MemoryBroker(MemoryCluster(), "demo")
    made.ensure(TopicSpec(TOPIC, PARTITIONS, compacted=False))
    made.ensure(TopicSpec(ALERTS, 1, compacted=False))
    return made


@pytest.fixture
def child(tmp_path: Path) -> Iterator[DaemonChild]:
    """A process that stands in for the daemon: it only lives."""
    with DaemonChild([sys.executable, "-c", "import signal; signal.pause()"], tmp_path / "log") as started:
        yield started


def written(broker: MemoryBroker) -> list[bytes | None]:
    return [
        record.value
        for number in range(PARTITIONS)
        for record in broker.cursor(TopicPartition(TOPIC, number), 0).fetch(1_000_000, 0.0)
    ]


def alert(label: Label, alert_id: str = "a") -> Outgoing:
    at = label.start_ms + 600_000
    event = AlertEvent(
        1, alert_id, "open", "anomaly", "threshold", "warning", "fleet", label.stream, {}, at, at, at, None, 2.5, 2.5,
        {}, {}, "up", [], "m", "c", Source(TOPIC, 0, 1),
    )  # fmt: skip
    return Outgoing(ALERTS, 0, None, msgspec.json.encode(event))


def show_of(
    broker: MemoryBroker, child: DaemonChild, port: int, scenario: Scenario = SCENARIO
) -> tuple[Show, io.StringIO]:
    out = io.StringIO()
    return Show(scenario, Screen(out), broker, child, Follower(broker, ALERTS), port), out


def test_all_of_the_history_is_sent_and_nothing_of_the_live_part(broker: MemoryBroker, child: DaemonChild) -> None:
    show, out = show_of(broker, child, 1)
    show.history()
    assert len(written(broker)) == SCENARIO.samples(0, SCENARIO.history_steps)
    assert "100%" in out.getvalue()


def test_learning_ends_when_the_page_shows_a_model(broker: MemoryBroker, child: DaemonChild) -> None:
    with page_of(10.0, model=True) as port:
        show, out = show_of(broker, child, port)
        show.learning()
    assert "the model is live" in out.getvalue()


def test_learning_gives_up_in_time(broker: MemoryBroker, child: DaemonChild, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.demo.show.LEARN_SECONDS_MAX", 0.01)
    with page_of(1e9, model=False) as port:
        show, _ = show_of(broker, child, port)
        with pytest.raises(DemoFailed, match="no model within"):
            show.learning()


def test_live_sends_the_rest_shows_alerts_and_waits_until_all_was_read(
    broker: MemoryBroker, child: DaemonChild
) -> None:
    label = SCENARIO.labels[0]
    broker.publish([alert(label)])
    with page_of(SCENARIO.samples(0, SCENARIO.steps), model=True) as port:
        show, out = show_of(broker, child, port)
        show.live(0.01)
    assert len(written(broker)) == SCENARIO.samples(SCENARIO.history_steps, SCENARIO.steps)
    assert [one.alert_id for one in show.alerts] == ["a"]
    assert f"caught: {label.kind.replace('_', ' ')}, after 10 min" in out.getvalue()


def test_a_daemon_that_dies_ends_the_show(broker: MemoryBroker, tmp_path: Path) -> None:
    with DaemonChild([sys.executable, "-c", "raise SystemExit(5)"], tmp_path / "log") as dead:
        show, _ = show_of(broker, dead, 1)
        with pytest.raises(DemoFailed, match="ended with code 5"):
            show.live(60.0)
