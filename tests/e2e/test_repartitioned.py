"""An input without keys, written round robin, is scored as if it had come keyed; also by a daemon that is killed."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.types import Outgoing, Record, TopicPartition, TopicSpec
from tests.e2e import feed, verdict
from tests.e2e.process import Daemon, Follower, Scores, settings

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(300)]

TICKS = 450
KILLED_AT = 1500  # samples
DELAY_SECONDS_MAX = 0.3
TOLERANCE = 1e-6

Told = Counter[tuple[str, int, bool]]


def keyed(topic: str) -> list[Outgoing]:
    """Return the records, each in the partition that is its stream's home."""
    ticks = [record for tick in feed.ticks(topic)[:TICKS] for record in tick]
    return [record._replace(partition=crc32(b"all\x00" + (record.key or b"")) % feed.PARTITIONS) for record in ticks]


def keyless(records: Sequence[Outgoing], topic: str) -> list[Outgoing]:
    """Return the same without keys, round robin over the partitions, and one that nobody can read."""
    plain = [Outgoing(topic, None, None, record.value) for record in records]
    plain.insert(len(plain) // 2, Outgoing(topic, None, None, b"no JSON"))
    return [record._replace(partition=number % feed.PARTITIONS) for number, record in enumerate(plain)]


def scores(records: Sequence[Record]) -> tuple[Told, dict[tuple[str, int], float]]:
    """Return how often each sample was told, with a score or without, and the scores."""
    told, found = Told(), dict[tuple[str, int], float]()
    for record in records:
        columns = json.loads(record.value or b"")
        for place, time_ms, score in zip(columns["stream"], columns["time_ms"], columns["score"], strict=True):
            stream = columns["streams"][place]
            told[stream, time_ms, score is None] += 1
            if score is not None:
                found[stream, time_ms] = score
    return told, found


class Run:
    """One daemon with topics of its own for all that it writes."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path, **reading: object) -> None:
        self.prefix, self.door = prefix, KafkaBroker(ConnectionSettings((bootstrap,), group_id=f"{prefix}group"))
        for topic in ("metrics", "scores", "alerts"):
            self.door.ensure(TopicSpec(f"{prefix}{topic}", feed.PARTITIONS, compacted=False))
        told: dict[str, Any] = settings(bootstrap, prefix)
        told["input"] |= {"repartition_topic": f"{prefix}between", **reading}
        self.daemon = Daemon(folder, told)
        self.scores = Scores(self.door, f"{prefix}scores")

    def reach(self, samples: int) -> None:
        """Wait until so many samples are scored."""
        self.daemon.until(lambda: self.scores.reach(samples), f"{samples} samples are scored")

    def restart(self, rng: random.Random) -> None:
        """Kill the daemon in a moment, and start it again."""
        threading.Event().wait(rng.uniform(0, DELAY_SECONDS_MAX))
        self.daemon.kill()
        self.daemon.start()

    def finish(self) -> tuple[Told, dict[tuple[str, int], float], list[verdict.Change]]:
        """Stop the daemon, and return what it told: samples, scores and alerts, these without their place."""
        assert self.daemon.stop() == 0
        alerts = Follower(self.door, f"{self.prefix}alerts")
        changes = [each._replace(partition=0, offset=None) for each in verdict.changes(alerts.finish())]
        found = scores(self.scores.finish())
        alerts.close()
        return (*found, sorted(changes, key=str))

    def close(self) -> None:
        """Let go of everything."""
        self.daemon.kill()
        self.scores.close()
        self.door.close()


def test_a_killed_daemon_scores_a_keyless_input_once_and_raises_the_alerts_of_a_keyed_one(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("LONGWATCH_TEST_SEED") or random.SystemRandom().randrange(10**6))
    sys.stdout.write(f"LONGWATCH_TEST_SEED={seed}\n")
    rng = random.Random(seed)
    calm = Run(kafka_bootstrap, f"{topic_prefix}calm-", tmp_path / "calm")
    killed = Run(kafka_bootstrap, f"{topic_prefix}killed-", tmp_path / "killed", repartition=True, records_max=150)
    given = keyed(f"{calm.prefix}metrics")
    try:
        calm.door.publish(given)
        killed.door.publish(keyless(given, f"{killed.prefix}metrics"))
        calm.daemon.start()
        killed.daemon.start()
        killed.reach(KILLED_AT)
        killed.restart(rng)
        killed.reach(len(given))
        calm.reach(len(given))
        assert killed.daemon.metric("longwatch_repartitioning") == 1
        assert killed.daemon.metric("longwatch_repartitioned_readings_total") > 0
        lag = {"topic": f"{killed.prefix}metrics"}
        killed.daemon.until(lambda: killed.daemon.metric("longwatch_lag_records", **lag) == 0, "its lag is told")
        expected, found = calm.finish(), killed.finish()
        letters = verdict.letters(Follower(killed.door, f"{killed.prefix}dead-letters").finish())
        ends = [killed.door.bounds(TopicPartition(f"{killed.prefix}metrics", n)).end for n in range(feed.PARTITIONS)]
    finally:
        calm.close()
        killed.close()
    assert found[0] == expected[0]
    assert found[0].total() == len(given)
    assert found[1] == pytest.approx(expected[1], rel=TOLERANCE, abs=TOLERANCE)
    assert found[2] == expected[2]
    assert sum(each.change == "open" for each in found[2]) >= 5
    assert [(each.reason, each.value) for each in letters] == [("undecodable", b"no JSON")]
    assert sum(ends) == len(given) + 1
