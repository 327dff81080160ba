"""A daemon that is killed again and again writes what one writes that nobody disturbs."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon import codec, explanation, model_topic
from daemon.alert_events import AlertEvent
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.models import ready
from daemon.types import Record, TopicPartition, TopicSpec
from detectors.dayzero import day_zero
from detectors.network import use_threads
from tests.e2e import feed, verdict
from tests.e2e.process import Daemon, Follower, Scores, longwatch, offsets_committed, settings
from tests.e2e.taught import LEARNT, UNTAUGHT, halves, publish_model

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(600)]

KILLS_WHILE_SCORING = 5
KILLS_WHILE_STARTING = 2
LEAD_RECORDS = 1500  # how far the producer runs ahead of the daemon that is killed
DELAY_SECONDS_MAX = 0.15
START_SECONDS_MAX = 1.5
TOLERANCE = 1e-6
TICKS_AT_ONCE = 25
ALERTS_MIN = 3


@dataclass(frozen=True, slots=True)
class Run:
    """One daemon with topics of its own for what it writes."""

    daemon: Daemon
    broker: KafkaBroker
    scores: Scores
    alerts: Follower


@dataclass(frozen=True, slots=True)
class Kill:
    """When to kill: once so many samples were scored, `delay_seconds` later; or while starting after such a kill."""

    after_samples: int
    delay_seconds: float
    again_seconds: float | None


@pytest.fixture
def seed() -> int:
    """What the kills are drawn from; LONGWATCH_TEST_SEED repeats a run as far as a clock can be repeated."""
    drawn = int(os.environ.get("LONGWATCH_TEST_SEED") or random.SystemRandom().randrange(10**6))
    sys.stdout.write(f"LONGWATCH_TEST_SEED={drawn}\n")
    return drawn


def kills(seed: int, samples: int) -> list[Kill]:
    """Return the kills of a run, spread over `samples`, some of them twice."""
    rng = random.Random(seed)
    share = samples / (KILLS_WHILE_SCORING + 1)
    twice = rng.sample(range(KILLS_WHILE_SCORING), KILLS_WHILE_STARTING)
    return [
        Kill(
            after_samples=int(share * (number + rng.uniform(0.4, 1.2))),
            delay_seconds=rng.uniform(0.0, DELAY_SECONDS_MAX),
            again_seconds=rng.uniform(0.0, START_SECONDS_MAX) if number in twice else None,
        )
        for number in range(KILLS_WHILE_SCORING)
    ]


@contextmanager
def running(
    bootstrap: str, shared: str, own: str, folder: Path, records_max: int, client: str = "kafka-python"
) -> Iterator[Run]:
    """Yield a daemon, not yet started, that reads the shared input and model and writes topics of its own."""
    told = settings(bootstrap, own, groups=halves())
    told["kafka"]["client"] = client
    told["input"] = {"topics": [f"{shared}metrics"], "poll_seconds": 0.1, "records_max": records_max}
    told["outputs"]["models"] = {"topic": f"{shared}models"}
    with ExitStack() as stack:
        broker = KafkaBroker(ConnectionSettings((bootstrap,), group_id=f"{own}group"))
        stack.callback(broker.close)
        daemon = Daemon(folder, told)
        stack.callback(daemon.kill)
        topics = (told["outputs"]["scores"]["topic"], told["outputs"]["alerts"]["topic"])
        for topic in topics:
            broker.ensure(TopicSpec(topic, feed.PARTITIONS, compacted=False))
        yield Run(daemon, broker, Scores(broker, topics[0]), Follower(broker, topics[1]))


class Flow:
    """The producer: writes tick after tick, ahead of the daemon that is killed, but not by much."""

    def __init__(self, broker: KafkaBroker, topic: str) -> None:
        self._broker, self._ticks = broker, feed.ticks(topic)
        self._at, self._written = 0, 0
        self.records = sum(map(len, self._ticks))

    def advance(self, scored: int) -> None:
        """Write the next ticks, unless the daemon, which has scored so many samples, is too far behind."""
        if self._written < min(scored + LEAD_RECORDS, self.records):
            batch = [record for tick in self._ticks[self._at : self._at + TICKS_AT_ONCE] for record in tick]
            self._broker.publish(batch)
            self._at, self._written = self._at + TICKS_AT_ONCE, self._written + len(batch)


class Disturbance:
    """Kills a daemon while its data flows, and starts it again each time."""

    def __init__(self, run: Run, flow: Flow) -> None:
        self._run, self._flow = run, flow
        self._pause = threading.Event()

    def reach(self, samples: int) -> None:
        """Let the data flow until so many samples are scored."""

        def reached() -> bool:
            self._flow.advance(self._run.scores.samples)
            return self._run.scores.reach(samples)

        try:
            self._run.daemon.until(reached, f"{samples} samples are scored")
        except AssertionError as error:
            scores = self._run.scores
            raise AssertionError(f"{error}\n{scores.samples} are read:\n{scores.standing()}") from None

    def kill(self, planned: Kill) -> None:
        """Carry out what was planned: one kill, or one more while the daemon comes back."""
        self.reach(planned.after_samples)
        self._restart(planned.delay_seconds)
        if planned.again_seconds is not None:
            daemon = self._run.daemon
            daemon.until(lambda: bool(daemon.said("listening")), "the daemon begins to start")
            self._restart(planned.again_seconds)

    def _restart(self, delay_seconds: float) -> None:
        self._pause.wait(delay_seconds)
        self._run.daemon.kill()
        self._run.daemon.start()


def assert_alike(calm: Run, killed: Run, topic: str) -> None:
    """Fail unless both have left the same: every sample scored once, the same alerts, all offsets committed."""
    ends = [calm.broker.bounds(TopicPartition(topic, number)).end for number in range(feed.PARTITIONS)]
    expected, found = verdict.scores(calm.scores.finish()), verdict.scores(killed.scores.finish())
    assert found.keys() == {(partition, offset) for partition, end in enumerate(ends) for offset in range(end)}
    verdict.assert_same(expected, found, TOLERANCE)
    changes = verdict.changes(calm.alerts.finish())
    assert verdict.changes(killed.alerts.finish()) == changes
    for name, silences in ((LEARNT, 0), (UNTAUGHT, len(feed.SILENT))):
        kinds = Counter((each.change, each.rule) for each in changes if each.group == name)
        assert kinds["open", "anomaly"] >= ALERTS_MIN <= kinds["close", "anomaly"], kinds
        assert kinds["open", "silence"] == kinds["close", "silence"] == silences, kinds
    assert offsets_committed(calm.broker, topic) == offsets_committed(killed.broker, topic) == ends


def assert_explained(calm: Run, killed: Run, models: str) -> None:
    """Fail unless the alerts rest on the same, to the last bit, and each gives its score again."""
    expected, found = (_openings(run.alerts.records) for run in (calm, killed))
    assert {each.alert_id: each.evidence for each in found} == {each.alert_id: each.evidence for each in expected}
    shelf = model_topic.read(killed.broker, models, LEARNT)
    use_threads(1)
    for event in found:
        told, model = explanation.read(event), shelf.models.get(event.model_id)
        assert (model is not None) == (event.group == LEARNT)
        detector = day_zero(told.settings)
        if model is not None and model.artefact is not None:
            detector = ready(model.artefact, event.model_id, told.settings).detector
        assert explanation.explained(event, told, detector).apart == 0.0, event.alert_id
    for name in (LEARNT, UNTAUGHT):
        one = next(each for each in found if each.group == name)
        ended = longwatch("explain", "--config", killed.daemon.config, one.alert_id)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert f"{one.score:.6g}, the same to the last bit" in ended.stdout


def _openings(records: Iterable[Record]) -> list[AlertEvent]:
    events = [codec.decode_alert(record.value or b"") for record in records]
    return [each for each in events if each.change == "open" and each.rule == "anomaly"]


@pytest.mark.parametrize("client", ["kafka-python", "librdkafka"])
def test_a_daemon_that_is_killed_scores_everything_once_and_raises_the_same_alerts(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, tmp_path: Path, seed: int, client: str
) -> None:
    metrics = TopicSpec(f"{topic_prefix}metrics", feed.PARTITIONS, compacted=False)
    broker.ensure(metrics)
    calm = running(kafka_bootstrap, topic_prefix, f"{topic_prefix}a-", tmp_path / "a", 5000)
    killed = running(kafka_bootstrap, topic_prefix, f"{topic_prefix}b-", tmp_path / "b", 250, client)
    with calm as a, killed as b:
        publish_model(a.daemon.config, tmp_path)
        a.daemon.start()
        b.daemon.start()
        flow = Flow(broker, metrics.name)
        disturbance = Disturbance(b, flow)
        for planned in kills(seed, flow.records):
            disturbance.kill(planned)
        disturbance.reach(flow.records)
        assert [b.daemon.metric("longwatch_model_info", group=each) for each in (LEARNT, UNTAUGHT)] == [1, 0]
        a.daemon.until(lambda: a.scores.reach(flow.records), "the undisturbed daemon has scored everything too")
        assert (a.daemon.stop(), b.daemon.stop()) == (0, 0)
        assert_alike(a, b, metrics.name)
        assert_explained(a, b, f"{topic_prefix}models")
