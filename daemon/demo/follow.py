"""Follows the alerts topic outside of any group, as any consumer of the daemon's alerts may."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from daemon.alert_events import AlertEvent
from daemon.demo.judge import Alert
from daemon.ports import Broker, Cursor
from daemon.types import TopicPartition

RECORDS_MAX = 500
DRAIN_SECONDS = 0.2

_decoder = msgspec.json.Decoder(AlertEvent)


def alert_of(event: AlertEvent) -> Alert:
    """Return what judging and showing need of an alert event."""
    score = math.nan if event.score is None else event.score
    return Alert(
        event.alert_id, event.change, event.stream, event.rule, event.started_at_ms, event.detected_at_ms, score
    )


class Follower:
    """Reads every partition of the alerts topic from its beginning; the topic may not exist yet."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._broker = broker
        self._topic = topic
        self._cursors: dict[TopicPartition, Cursor] = {}

    def read(self, wait_seconds: float) -> list[Alert]:
        """Return the alerts that have arrived, waiting at most `wait_seconds` in each partition."""
        self._open()
        return [alert for cursor in self._cursors.values() for alert in self._fetch(cursor, wait_seconds)]

    def drain(self) -> list[Alert]:
        """Return all alerts up to the present end of the topic."""
        self._open()
        found: list[Alert] = []
        for partition, cursor in self._cursors.items():
            end = self._broker.bounds(partition).end
            while cursor.position < end:
                found += self._fetch(cursor, DRAIN_SECONDS)
        return found

    def close(self) -> None:
        """Release the connections."""
        for cursor in self._cursors.values():
            cursor.close()
        self._cursors.clear()

    def _open(self) -> None:
        if not self._cursors:
            for number in range(self._broker.partitions(self._topic) or 0):
                partition = TopicPartition(self._topic, number)
                self._cursors[partition] = self._broker.cursor(partition, 0)

    def _fetch(self, cursor: Cursor, wait_seconds: float) -> Iterable[Alert]:
        records = cursor.fetch(RECORDS_MAX, wait_seconds)
        return [alert_of(_decoder.decode(record.value)) for record in records if record.value is not None]
