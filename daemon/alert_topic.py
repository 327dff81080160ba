"""The alerts topic read back: its newest records, and all that it tells of one alert."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from daemon import codec
from daemon.alert_events import AlertEvent
from daemon.ports import Broker
from daemon.types import Record, TopicPartition

SEARCHED_MAX: Final = 200_000  # records of each partition, the newest
FETCH_RECORDS_MAX: Final = 1000
FETCH_WAIT_SECONDS: Final = 0.5


def newest(broker: Broker, topic: str, records_max: int) -> Iterator[Record]:
    """Yield the newest records of each partition, in order, up to where it ends by now. Raises BrokerUnavailable."""
    for number in range(broker.partitions(topic) or 0):
        partition = TopicPartition(topic, number)
        bounds = broker.bounds(partition)
        cursor = broker.cursor(partition, max(bounds.first, bounds.end - records_max))
        try:
            while cursor.position < bounds.end:
                yield from cursor.fetch(FETCH_RECORDS_MAX, FETCH_WAIT_SECONDS)
        finally:
            cursor.close()


def events_of(broker: Broker, topic: str, alert_id: str) -> list[AlertEvent]:
    """Return every event of the alerts whose ids begin with `alert_id`, those of a stream in their order.

    Looks at the newest SEARCHED_MAX records of each partition. Raises BrokerUnavailable.
    """
    wanted = f'"{alert_id}'.encode()  # most records need no more than this look
    near = (each.value for each in newest(broker, topic, SEARCHED_MAX) if each.value and wanted in each.value)
    return [each for each in map(event_of, near) if each is not None and each.alert_id.startswith(alert_id)]


def event_of(value: bytes) -> AlertEvent | None:
    """Return the event that a record holds, None when it is another version's or another writer's."""
    try:
        return codec.decode_alert(value)
    except msgspec.MsgspecError:
        return None
