"""Takes the alerts topic to one receiver: every committed change at least once, those of a stream in their order.

The topic is the outbox. The loop that scores never waits for a receiver, and a receiver that is away for a day is told
afterwards. How far it has been told is committed to Kafka after it has been; where a process ends in between, the last
few notices are told again, with the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from daemon import events
from daemon.alert_events import AlertEvent
from daemon.alert_topic import FETCH_RECORDS_MAX, FETCH_WAIT_SECONDS, SEARCHED_MAX, event_of
from daemon.errors import BrokerUnavailable, NoticeRefused, ReceiverUnavailable, TransactionFailed
from daemon.notices import Notice
from daemon.ports import Broker, Source, Writer
from daemon.receivers import Receiver, bodies
from daemon.types import Bounds, Labels, Polled, Record, TopicPartition

RECORDS_MAX: Final = 200  # of one turn
POLL_SECONDS: Final = 0.5
RETRY_SECONDS: Final = 1.0  # after a receiver's first failure; twice as long after each further one, up to ...
RETRY_SECONDS_MAX: Final = 60.0
CLOSED_SECONDS: Final = 300.0  # for so long a closed alert is told again with the open ones
OPEN_MAX: Final = 10_000  # alerts of a partition that are told again; beyond it the oldest are not
MEASURE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Around:
    """What a delivery needs of its surroundings; `broker` is a door of its own, to the group of this receiver."""

    broker: Broker
    identity: str
    receiver: Receiver
    notice: Callable[[AlertEvent], Notice | None]  # None: it is not this receiver's
    note: Callable[[events.Event], None]
    monotonic: Callable[[], float]


@dataclass(slots=True)
class _Share:
    """One partition of the alerts topic: up to where it is told, and what is told again: the last of each labels."""

    offset: int
    last: dict[Labels, tuple[Notice, float]] = field(default_factory=dict)  # with when it was told first

    def keep(self, notices: Iterable[Notice], now: float) -> None:
        """Tell these again from `now` on, in the place of older ones with their labels; OPEN_MAX of all are kept."""
        for notice in notices:
            self.last.pop(notice.labels, None)
            self.last[notice.labels] = notice, now
        for labels in list(self.last)[: max(len(self.last) - OPEN_MAX, 0)]:
            del self.last[labels]

    def forget_closed(self, before: float) -> None:
        """Tell those no more that are over, and were told so before then."""
        over = [labels for labels, (notice, told) in self.last.items() if notice.ends_ms is not None and told < before]
        for labels in over:
            del self.last[labels]


class Delivery:
    """One receiver's share of the alerts topic. Everything happens on the thread that calls `turn`."""

    def __init__(self, name: str, topic: str, around: Around) -> None:
        self.name = name
        self._topic, self._around = topic, around
        self._writer: Writer = around.broker.writer(around.identity)
        self._writer_open = False
        self._source: Source | None = None
        self._shares: dict[TopicPartition, _Share] = {}
        self._waiting: dict[TopicPartition, _Share | None] = {}  # None: where it stands is not known
        self._new: set[TopicPartition] = set()  # of which the receiver has not heard anything yet
        self._delay, self._again_at = RETRY_SECONDS, 0.0
        self._reminded_at, self._measured_at = around.monotonic(), float("-inf")

    def turn(self) -> None:
        """Poll, tell, commit. Raises BrokerUnavailable, and Fenced when another process delivers under our name."""
        source = self._source = self._source or self._around.broker.source([self._topic])
        try:
            self._ensure_writer()
            polled = source.poll(RECORDS_MAX, POLL_SECONDS)
            self._follow(polled)
            self._deliver(source, polled.records)
            self._resume(source)
            self._remind()
            self._measure(source)
        except (BrokerUnavailable, TransactionFailed) as error:
            self._begin_again(source)
            raise BrokerUnavailable(str(error)) from error

    def close(self) -> None:
        """Leave the group; what is not committed is told by whoever comes next."""
        try:
            if self._source is not None:
                self._source.close()
            self._writer.close()
        finally:
            self._around.broker.close()

    def _ensure_writer(self) -> None:
        if not self._writer_open:
            self._writer.open()
            self._writer_open = True

    def _follow(self, polled: Polled) -> None:
        for partition in polled.revoked:
            self._shares.pop(partition, None)
            self._waiting.pop(partition, None)
            self._new.discard(partition)
        self._waiting.update(dict.fromkeys(sorted(polled.assigned)))

    def _begin_again(self, source: Source) -> None:
        """Forget where everything stands: after trouble the broker knows it, and we do not."""
        for partition in list(self._shares):
            source.pause(partition)
        self._waiting = dict.fromkeys([*self._shares, *self._waiting])
        self._shares.clear()

    def _deliver(self, source: Source, records: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Tell what was polled and commit it; what the receiver does not take is polled again later."""
        told: dict[TopicPartition, int] = {}
        for partition, batch in records.items():
            share = self._shares.get(partition)
            if share is None or not batch:
                continue
            notices = [notice for record in batch if (notice := self._read(record)) is not None]
            if not self._is_told(notices):
                source.pause(partition)
                self._waiting[partition] = self._shares.pop(partition)
                continue
            self._keep(share, notices)
            share.offset = told[partition] = batch[-1].offset + 1
        self._commit(source, told)

    def _read(self, record: Record) -> Notice | None:
        """Return what a record says, None where it is nothing for this receiver."""
        event = event_of(record.value) if record.value else None
        return None if event is None else self._around.notice(event)

    def _is_told(self, notices: Sequence[Notice]) -> bool:
        """Tell them all, unless the receiver is to be left alone or does not answer."""
        if notices and self._around.monotonic() < self._again_at:
            return False
        try:
            for few in bodies(notices):
                self._tell(few)
        except ReceiverUnavailable as error:
            self._again_at = self._around.monotonic() + self._delay
            self._delay = min(2 * self._delay, RETRY_SECONDS_MAX)
            self._around.note(events.DeliveryFailed(self.name, str(error)))
            return False
        if notices:
            self._delay = RETRY_SECONDS
        return True

    def _tell(self, notices: Sequence[Notice]) -> None:
        """Tell a few; where one of them is refused, each by itself, so that it takes no other with it."""
        try:
            self._around.receiver.tell(notices)
        except NoticeRefused as error:
            if len(notices) > 1:
                for one in notices:
                    self._tell([one])
            else:
                self._around.note(events.DeliveryRefused(self.name, notices[0].alert_id, str(error)))
        else:
            self._around.note(events.Delivered(self.name, len(notices)))

    def _keep(self, share: _Share, notices: Iterable[Notice]) -> None:
        if self._around.receiver.remind_seconds is not None:
            share.keep(notices, self._around.monotonic())

    def _commit(self, source: Source, told: Mapping[TopicPartition, int]) -> None:
        if told:
            self._writer_open = False  # unless it succeeds
            self._writer.commit((), told, source.membership())
            self._writer_open = True

    def _resume(self, source: Source) -> None:
        """Go on with one partition that waits: one that came, or one whose receiver did not answer."""
        if self._around.monotonic() < self._again_at:
            return
        for partition, share in list(self._waiting.items())[:1]:
            begun = self._begun(source, partition) if share is None else share
            if begun is not None:
                del self._waiting[partition]
                self._shares[partition] = begun
                source.resume_at(partition, begun.offset)

    def _begun(self, source: Source, partition: TopicPartition) -> _Share | None:
        """Return where a partition stands; None where the receiver is new and does not answer yet."""
        committed, bounds = source.committed(partition), self._around.broker.bounds(partition)
        if committed is None or partition in self._new:
            return self._begun_new(source, partition, bounds)
        share = _Share(min(max(committed, bounds.first), bounds.end))
        if self._around.receiver.remind_seconds is not None:
            open_alerts = self._open_before(partition, max(bounds.first, share.offset - SEARCHED_MAX), share.offset)
            share.keep([notice for notice, _ in open_alerts], self._around.monotonic())
        return share

    def _begun_new(self, source: Source, partition: TopicPartition, bounds: Bounds) -> _Share | None:
        """Tell a receiver that is new which alerts are open, and of none that are over.

        Before that it is committed where the first of them lies: a process that dies in between must not let an alert
        that was told to be open end unheard.
        """
        self._new.add(partition)
        share = _Share(bounds.end)
        found = self._open_before(partition, max(bounds.first, bounds.end - SEARCHED_MAX), bounds.end)
        notices = [notice for notice, _ in found]
        self._commit(source, {partition: min((offset for _, offset in found), default=bounds.end)})
        if not self._is_told(notices):
            return None
        self._commit(source, {partition: bounds.end})
        self._new.discard(partition)
        self._keep(share, notices)
        return share

    def _open_before(self, partition: TopicPartition, start: int, end: int) -> list[tuple[Notice, int]]:
        """Return what was last said of each alert that was open at the offset `end`, and where that was."""
        found: dict[Labels, tuple[Notice, int]] = {}
        cursor = self._around.broker.cursor(partition, start)
        try:
            while cursor.position < end:
                for record in cursor.fetch(FETCH_RECORDS_MAX, FETCH_WAIT_SECONDS):
                    notice = self._read(record) if record.offset < end else None
                    if notice is not None:
                        found.pop(notice.labels, None)
                        if notice.ends_ms is None:
                            found[notice.labels] = notice, record.offset
        finally:
            cursor.close()
        return list(found.values())

    def _remind(self) -> None:
        """Tell open alerts again, and those that were closed not long ago, where the receiver wants that."""
        now, interval = self._around.monotonic(), self._around.receiver.remind_seconds
        if interval is None or now - self._reminded_at < interval or now < self._again_at:
            return
        self._reminded_at = now
        for share in self._shares.values():
            share.forget_closed(now - CLOSED_SECONDS)
        self._is_told([notice for share in self._shares.values() for notice, _ in share.last.values()])

    def _measure(self, source: Source) -> None:
        now = self._around.monotonic()
        if now - self._measured_at < MEASURE_SECONDS:
            return
        self._measured_at = now
        waiting = {partition: share for partition, share in self._waiting.items() if share is not None}
        behind = sum(self._around.broker.bounds(each).end - share.offset for each, share in waiting.items())
        lasting = [*self._shares.values(), *waiting.values()]
        reminded = sum(notice.ends_ms is None for share in lasting for notice, _ in share.last.values())
        # what has been polled is told by now, and the ends of transactions are nothing to tell
        self._around.note(events.DeliveryMeasured(self.name, behind + sum(source.lag().values()), reminded))
