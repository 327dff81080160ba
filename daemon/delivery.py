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
TELL_SECONDS: Final = 20.0  # for changes, and as long for reminders: the group misses who does not poll for minutes
BLIND_SECONDS_MAX: Final = 900.0  # that reminders go on without Kafka: another member may have closed the alerts
LOOK_SECONDS_MAX: Final = 120.0  # for the alerts that are open
NEW: Final = 2**62  # committed where a receiver was tried and has not taken anything yet; no topic reaches so far
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
        """Tell these again from `now` on, in the place of older ones with their labels.

        OPEN_MAX of all are kept: first those go that are over, then the oldest.
        """
        for notice in notices:
            self.last.pop(notice.labels, None)
            self.last[notice.labels] = notice, now
        if (more := len(self.last) - OPEN_MAX) > 0:
            for labels in sorted(self.last, key=lambda each: self.last[each][0].ends_ms is None)[:more]:
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
        self._delay, self._again_at = RETRY_SECONDS, 0.0
        self._until = 0.0  # when enough has been told for now
        self._trouble_since: float | None = None
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
            self._measure(source)
            self._trouble_since = None
        except (BrokerUnavailable, TransactionFailed, LookupError) as error:
            self._begin_again(source)
            raise BrokerUnavailable(str(error)) from error
        finally:
            self._remind()

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
        self._waiting.update(dict.fromkeys(sorted(polled.assigned)))

    def _begin_again(self, source: Source) -> None:
        """After trouble: go on with every partition from where it was told, once the broker knows that, too."""
        if self._trouble_since is None:
            self._trouble_since = self._around.monotonic()
        for partition in list(self._shares):
            self._set_aside(source, partition)

    def _set_aside(self, source: Source, partition: TopicPartition) -> None:
        source.pause(partition)
        self._waiting[partition] = self._shares.pop(partition)

    def _deliver(self, source: Source, records: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Tell what was polled and commit it; what the receiver does not take is polled again later."""
        told: dict[TopicPartition, int] = {}
        self._until = self._around.monotonic() + TELL_SECONDS
        for partition, batch in records.items():
            share = self._shares.get(partition)
            if share is None or not batch:
                continue
            found = [(record.offset, notice) for record in batch if (notice := self._read(record)) is not None]
            count, taken = self._tell_all([notice for _, notice in found])
            self._keep(share, taken)
            if share.offset != (at := found[count][0] if count < len(found) else batch[-1].offset + 1):
                share.offset = told[partition] = at
            if count < len(found):
                self._set_aside(source, partition)
        self._commit(source, told)

    def _read(self, record: Record) -> Notice | None:
        """Return what a record says, None where it is nothing for this receiver."""
        event = event_of(record.value) if record.value else None
        return None if event is None else self._around.notice(event)

    def _tell_all(self, notices: Sequence[Notice]) -> tuple[int, list[Notice]]:
        """Tell the notices, and return how many of the first ones are dealt with, and which of them were taken.

        It stops where the receiver does not answer, and when it has taken so long that the group might miss us.
        """
        count, taken = 0, list[Notice]()
        for few in bodies(notices):
            if self._around.monotonic() < self._again_at or self._around.monotonic() > self._until:
                break
            try:
                taken += self._tell(few)
            except ReceiverUnavailable as error:
                self._again_at = self._around.monotonic() + self._delay
                self._delay = min(2 * self._delay, RETRY_SECONDS_MAX)
                self._around.note(events.DeliveryFailed(self.name, str(error)))
                break
            self._delay = RETRY_SECONDS
            count += len(few)
        return count, taken

    def _keep(self, share: _Share, notices: Iterable[Notice]) -> None:
        """Tell these again, where the receiver wants that."""
        if self._around.receiver.remind_seconds is not None:
            share.keep(notices, self._around.monotonic())

    def _tell(self, notices: Sequence[Notice]) -> list[Notice]:
        """Tell a few, and return what was taken; where one is refused, each by itself: it takes no other with it."""
        try:
            self._around.receiver.tell(notices)
        except NoticeRefused as error:
            if len(notices) > 1:
                return [taken for one in notices for taken in self._tell([one])]
            self._around.note(events.DeliveryRefused(self.name, notices[0].alert_id, str(error)))
            return []
        self._around.note(events.Delivered(self.name, len(notices)))
        return list(notices)

    def _commit(self, source: Source, told: Mapping[TopicPartition, int]) -> None:
        if told:
            self._writer_open = False  # unless it succeeds
            self._writer.commit((), told, source.membership())
            self._writer_open = True

    def _resume(self, source: Source) -> None:
        """Go on with one partition that waits: one that came, or one that was set aside."""
        partition = next(iter(self._waiting), None)
        if partition is None or self._around.monotonic() < self._again_at:
            return
        share = self._waiting[partition] = self._waiting.pop(partition)  # where it fails, the next turn tries another
        if share is not None:
            self._commit(source, {partition: share.offset})  # which it may be already
        begun = self._begun(source, partition) if share is None else share
        if begun is not None:
            del self._waiting[partition]
            self._shares[partition] = begun
            source.resume_at(partition, begun.offset)

    def _begun(self, source: Source, partition: TopicPartition) -> _Share | None:
        """Return where a partition stands; None where the receiver is new and does not answer yet."""
        committed, bounds = source.committed(partition), self._around.broker.bounds(partition)
        if committed is None or committed == NEW:
            return self._begun_new(source, partition, bounds)
        share = _Share(min(max(committed, bounds.first), bounds.end))
        if committed < bounds.first:
            self._around.note(events.InputGap(partition, "trimmed", committed, bounds.first))
        if self._around.receiver.remind_seconds is not None:
            open_alerts = self._open_before(partition, max(bounds.first, share.offset - SEARCHED_MAX), share.offset)
            share.keep([notice for notice, _ in open_alerts], self._around.monotonic())
        return share

    def _begun_new(self, source: Source, partition: TopicPartition, bounds: Bounds) -> _Share | None:
        """Tell a receiver that is new which alerts are open, and of none that are over.

        While it is told, it is committed where the first of them lies: a process that dies in between must not let an
        alert that was told to be open end unheard. Where nothing was told it is new still, and NEW says so.
        """
        share = _Share(bounds.end)
        found = self._open_before(partition, max(bounds.first, bounds.end - SEARCHED_MAX), bounds.end)
        first = min((offset for _, offset in found), default=bounds.end)
        if found:
            self._commit(source, {partition: first})
        self._until = self._around.monotonic() + TELL_SECONDS
        count, taken = self._tell_all([notice for notice, _ in found])
        if count == len(found):
            self._commit(source, {partition: bounds.end})
            self._keep(share, taken)
            return share
        if count == 0:
            self._commit(source, {partition: NEW})
        return None

    def _open_before(self, partition: TopicPartition, start: int, end: int) -> list[tuple[Notice, int]]:
        """Return what was last said of each alert that was open at the offset `end`, and where that was."""
        found: dict[Labels, tuple[Notice, int]] = {}
        cursor, give_up = self._around.broker.cursor(partition, start), self._around.monotonic() + LOOK_SECONDS_MAX
        try:
            while cursor.position < end:
                if self._around.monotonic() > give_up:  # a topic that was made anew may never reach so far
                    raise BrokerUnavailable(f"{partition.topic}/{partition.partition} does not come up to offset {end}")
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
        """Tell open alerts again, and those that were closed not long ago, where the receiver wants that.

        It goes on for a while where Kafka does not answer: then nobody can say that an alert is over.
        """
        now, interval = self._around.monotonic(), self._around.receiver.remind_seconds
        if interval is None or now - self._reminded_at < interval or now < self._again_at:
            return
        self._reminded_at = now
        if self._trouble_since is not None and now - self._trouble_since > BLIND_SECONDS_MAX:
            return
        self._until = now + TELL_SECONDS
        for share in self._known():
            share.forget_closed(now - CLOSED_SECONDS)
            self._tell_all([notice for notice, _ in share.last.values()])

    def _known(self) -> list[_Share]:
        return [*self._shares.values(), *(share for share in self._waiting.values() if share is not None)]

    def _measure(self, source: Source) -> None:
        now = self._around.monotonic()
        if now - self._measured_at < MEASURE_SECONDS:
            return
        self._measured_at = now
        # of a partition that nobody has been told anything of, it is known that something waits, and not how much
        waits = [
            1 if share is None else self._around.broker.bounds(partition).end - share.offset
            for partition, share in self._waiting.items()
        ]
        reminded = sum(notice.ends_ms is None for share in self._known() for notice, _ in share.last.values())
        # what has been polled is told by now, and the ends of transactions are nothing to tell
        self._around.note(events.DeliveryMeasured(self.name, sum(waits) + sum(source.lag().values()), reminded))
