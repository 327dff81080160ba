"""Which samples no model may learn from: those under an alert, as the alerts topic tells them, a label or maintenance.

What was abnormal once must not become normal by being learnt. An alert that ended as `accepted` is released: its level
has persisted and is the usual one since. A silence covers nothing, for there was nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from daemon import alert_topic
from daemon.alert_events import AlertEvent
from daemon.maintenance import Calendar
from daemon.ports import Broker
from daemon.types import Record
from detectors.train import StreamHistory

RECORDS_MAX = 50_000  # of each partition of the alerts topic, the newest
FOR_EVER_MS = np.iinfo(np.int64).max

Span = tuple[int, int]  # event times: first and last sample covered


@dataclass(slots=True)
class Covered:
    """The spans under alerts of one group, by stream and alert."""

    group: str
    _spans: dict[str, dict[str, Span]] = field(default_factory=dict)

    def add(self, records: Iterable[Record]) -> None:
        """Take in records of the alerts topic in their order; those of other groups are passed over."""
        for record in records:
            event = alert_topic.event_of(record.value or b"")
            if event is not None and event.group == self.group and event.rule != "silence":
                self._take(event)

    def _take(self, event: AlertEvent) -> None:
        alerts = self._spans.setdefault(event.stream, {})
        if event.change == "close" and event.reason == "accepted":
            alerts.pop(event.alert_id, None)
        else:
            ended_ms = FOR_EVER_MS if event.ended_at_ms is None else event.ended_at_ms
            alerts[event.alert_id] = event.started_at_ms, ended_ms

    def spans(self) -> Mapping[str, Sequence[Span]]:
        """Return the spans of each stream, in no order."""
        return {stream: list(alerts.values()) for stream, alerts in self._spans.items() if alerts}


def by_alerts(broker: Broker, topic: str, group: str) -> Mapping[str, Sequence[Span]]:
    """Return what the alerts of `group` covered, as the newest records of `topic` tell it. Raises BrokerUnavailable."""
    covered = Covered(group)
    covered.add(alert_topic.newest(broker, topic, RECORDS_MAX))
    return covered.spans()


def without(history: StreamHistory, spans: Sequence[Span]) -> StreamHistory:
    """Return the history with what the spans cover missing: it is neither learnt nor a hole in time."""
    return missing(history, _within(history.times_ms, spans))


def by_windows(history: StreamHistory, calendar: Calendar) -> StreamHistory:
    """Return the history with what the windows of maintenance cover missing."""
    return missing(history, calendar.covers(history.times_ms)) if calendar else history


def missing(history: StreamHistory, covered: NDArray[np.bool_]) -> StreamHistory:
    """Return the history with the samples `covered` (T,) missing."""
    if not covered.any():
        return history
    return replace(history, values=np.where(covered[:, None], np.nan, history.values))


def _within(times_ms: NDArray[np.int64], spans: Sequence[Span]) -> NDArray[np.bool_]:
    result = np.zeros(len(times_ms), dtype=bool)
    for first_ms, last_ms in spans:
        result |= (times_ms >= first_ms) & (times_ms <= last_ms)
    return result
