"""The first stage of a repartitioned input: reads topics as they come, and writes every reading to its stream's home.

One member does it for all: the one that owns the first partition of the topic that is written. It is the only one in a
consumer group of its own, and goes on only while every partition of the input is its own: who has but a part of them
could not keep them abreast. What is written and how far was read are one transaction, by which the broker refuses a
member that has lost its place; so each reading is written once, whoever dies, and in an order that no replay changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from daemon import events
from daemon.abreast import Abreast, Most, Patience
from daemon.errors import BrokerUnavailable, InputUnusable, TransactionFailed
from daemon.homes import Homes, Moved, PartitionClock
from daemon.ports import Broker, Source, Writer
from daemon.rewriting import Due, rewritten
from daemon.types import Polled, TopicPartition

RECORDS_LITTLE: Final = 500  # of a turn, where there is no lag
HELD_BYTES_MAX: Final = 32 * 1024 * 1024  # of all partitions together; one that holds more than its part is paused
POLL_SECONDS_MAX: Final = 0.1  # that one poll counts for, however long it is since the last: no single one is believed
STUCK_SECONDS: Final = 5.0  # of polls: a partition that has more, and gives nothing for so long, is not waited for
LOOK_SECONDS: Final = 1.0  # between two looks at the lag


class Feeds(Protocol):
    """Knows who understands the records of a topic."""

    def of(self, topic: str) -> Homes: ...


@dataclass(frozen=True, slots=True)
class RepartitionSettings:
    """What the first stage was told."""

    topic: str  # that is written
    dead_letters_topic: str
    dead_letter_bytes_max: int
    records_max: int
    bytes_max: int  # of the records of a turn
    seconds: float  # that a turn should last where there is lag
    poll_seconds: float
    wait_seconds: float  # for partitions that are at their end
    rejected_run_max: int = 0  # so many unusable records in a row end the process; 0: none do
    held_bytes_max: int = HELD_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Around:
    """The ports and pieces that the first stage drives."""

    door: Broker  # of a group of its own
    writer: Writer
    feeds: Feeds
    is_ours: Callable[[], bool]  # whether it is this member that does it
    stood: Callable[[TopicPartition], int | None]  # where a daemon of this group was that read the input itself
    note: Callable[[events.Event], None]
    monotonic: Callable[[], float]
    wall_clock: Callable[[], float]


class Repartition:
    """Owns the turns of the first stage; the loop calls it between its own, on the same thread."""

    def __init__(self, settings: RepartitionSettings, around: Around, topics: Sequence[str]) -> None:
        self._settings, self._around, self._topics = settings, around, list(topics)
        self._source: Source | None = None
        self._writer_open = False
        self._records = min(RECORDS_LITTLE, settings.records_max)  # that are polled at once
        self._looked_at = -LOOK_SECONDS
        self._polled_at = around.monotonic()
        self._topic_ids: dict[TopicPartition, str] = {}  # of the topic that the committed offset is of
        self._begun: dict[TopicPartition, str] = {}  # of the topic that is read
        self._forget_all()

    def _forget_all(self) -> None:
        self._abreast: Abreast[Moved] = Abreast()
        self._owned: set[TopicPartition] = set()
        self._seeking: set[TopicPartition] = set()  # those whose position has to be asked for
        self._paused: set[TopicPartition] = set()
        self._next: dict[TopicPartition, int] = {}  # what comes after the last record that was read
        self._clocks: dict[TopicPartition, PartitionClock] = {}
        self._runs: dict[TopicPartition, int] = {}
        self._quiet, self._stuck = Patience(self._settings.wait_seconds), Patience(STUCK_SECONDS)
        self._every: frozenset[TopicPartition] | None = None  # partition of the input; None: to be asked for
        self._homes = 0  # partitions of the topic that is written

    def read(self, topics: Sequence[str]) -> None:
        """Read these topics from now on; those that were read before must be among them."""
        self._topics, self._every = list(topics), None
        if self._source is not None:
            self._source.read(self._topics)

    def turn(self) -> None:
        """Read what has come, and write what may go on. A broker that does not answer is noted, and tried again.

        Raises Fenced and InputUnusable.
        """
        try:
            if self._around.is_ours():
                self._turn()
            else:
                self.close()
        except BrokerUnavailable as error:
            self._around.note(events.BrokerLost(str(error)))

    def close(self) -> None:
        """Leave it to another member."""
        source, self._source = self._source, None
        if source is None:
            return
        for partition in sorted(self._owned):
            self._around.note(events.PartitionDropped(partition))
        self._forget_all()
        self._around.writer.close()
        self._writer_open = False
        self._around.note(events.Repartitioning(active=False))
        try:
            source.close()
        except BrokerUnavailable as error:  # the group learns of it when it hears no more of us
            self._around.note(events.BrokerLost(str(error)))

    def _turn(self) -> None:
        started = self._around.monotonic()
        source = self._joined()
        if not self._writer_open:
            self._around.writer.open()
            self._writer_open = True
        if self._homes == 0:  # before anything is polled: it does not come again
            self._homes = self._around.door.partitions(self._settings.topic) or 0
        polled = source.poll(self._records, self._settings.poll_seconds)
        polled_at = self._around.monotonic()
        waited, self._polled_at = min(polled_at - self._polled_at, POLL_SECONDS_MAX), polled_at
        # else the client may hold records of partitions whose lag it does not know yet
        has_all = sum(map(len, polled.records.values())) < self._records
        self._follow(polled)
        self._hold(polled, source)
        self._seek(source)
        due = self._due(source, waited if has_all else None)
        if due and self._commit(due, source, started):
            self._fit(len(due), self._around.monotonic() - started)
        self._resume(source)
        self._tell_lag(source)

    def _joined(self) -> Source:
        if self._source is None:
            self._source = self._around.door.source(self._topics)
            self._around.note(events.Repartitioning(active=True))
        return self._source

    def _follow(self, polled: Polled) -> None:
        """Forget what went to another member, begin with what came."""
        for partition in sorted(polled.revoked):
            self._owned.discard(partition)
            self._forget(partition)
            self._seeking.discard(partition)
            self._around.note(events.PartitionDropped(partition))
        self._owned |= polled.assigned
        self._seeking |= polled.assigned
        if polled.revoked or polled.assigned:
            self._every = None

    def _forget(self, partition: TopicPartition) -> None:
        self._abreast.forget(partition)
        self._paused.discard(partition)
        for known in (self._next, self._clocks, self._runs):
            known.pop(partition, None)

    def _seek(self, source: Source) -> None:
        """Begin to read where the last transaction ended. Raises BrokerUnavailable; what is left is tried again."""
        for partition in sorted(self._seeking):
            offset = self._offset(partition, source)
            self._next[partition] = offset
            source.resume_at(partition, offset)
            self._seeking.discard(partition)

    def _offset(self, partition: TopicPartition, source: Source) -> int:
        """Return where to go on in a partition; what cannot be read any more is told. Raises BrokerUnavailable."""
        door = self._around.door
        try:
            held, topic_id = door.bounds(partition), door.topic_id(partition.topic) or ""
        except LookupError as error:
            raise BrokerUnavailable(f"{error}; trying again") from error
        committed = source.committed(partition)
        if committed is None:
            committed = self._around.stood(partition)
        self._begun[partition] = topic_id
        is_another = self._topic_ids.setdefault(partition, topic_id) != topic_id
        if committed is None:
            return held.first
        offset = held.first if is_another else min(max(committed, held.first), held.end)
        if committed != offset:
            reason: events.GapReason = "recreated" if is_another else "trimmed" if committed < offset else "truncated"
            self._around.note(events.InputGap(partition, reason, committed, offset))
        return offset

    def _hold(self, polled: Polled, source: Source) -> None:
        """Take in what was read, and pause who is too far ahead of the others."""
        for partition, records in polled.records.items():
            homes, clock = self._around.feeds.of(partition.topic), self._clocks.setdefault(partition, PartitionClock())
            self._abreast.hold(partition, [homes.moved(record, clock, self._homes) for record in records])
            self._next[partition] = records[-1].offset + 1
            if self._abreast.weight_bytes(partition) > self._share_bytes():
                source.pause(partition)
                self._paused.add(partition)

    def _share_bytes(self) -> float:
        return self._settings.held_bytes_max / max(len(self._owned), 1)

    def _due(self, source: Source, waited: float | None) -> Due:
        """Return what may be written now, in order, after so many seconds' waiting. Raises BrokerUnavailable."""
        if self._every is None:
            self._every = frozenset(
                TopicPartition(topic, number)
                for topic in self._topics
                for number in range(self._around.door.partitions(topic) or 0)
            )
        if self._owned != self._every:
            return []
        return self._abreast.take(
            self._every, self._ended(source, waited), Most(2 * self._records, self._settings.bytes_max)
        )

    def _ended(self, source: Source, waited: float | None) -> set[TopicPartition]:
        """Return the partitions of which nothing more is there, and for a while was not: these are not waited for.

        What was not waited for (None) may be with the client already.
        """
        lag = source.lag()
        empty = {partition for partition in self._owned if not self._abreast.count(partition)}
        at_end = {partition for partition in self._owned if lag.get(partition) == 0}
        awaited = set[TopicPartition]() if waited is None or not len(self._abreast) else empty - self._seeking
        seconds = waited or 0.0
        return self._quiet.lost_with(awaited & at_end, seconds) | self._stuck.lost_with(awaited - at_end, seconds)

    def _commit(self, due: Due, source: Source, started: float) -> bool:
        """Write what is due and move the offsets, or neither; return whether it was done."""
        self._check_runs(due)
        told = self._settings
        made = rewritten(due, told.topic, told.dead_letters_topic, told.dead_letter_bytes_max)
        try:
            self._around.writer.commit(made.outgoing, made.offsets, source.membership())
        except TransactionFailed as error:
            self._begin_again(source, str(error))
            return False
        self._topic_ids.update((partition, self._begun[partition]) for partition in made.offsets)
        note, seconds = self._around.note, self._around.monotonic() - started
        note(events.Repartitioned(len(due), made.readings, seconds))
        if made.rejected:
            note(events.RecordsRejected(tuple(made.rejected)))
        for topic, count in made.unselected.items():
            note(events.PointsUnselected(topic, count))
        return True

    def _check_runs(self, due: Due) -> None:
        """Count the unusable records in a row. Raises InputUnusable when there are more than may be."""
        limit = self._settings.rejected_run_max
        for partition, moved in due:
            run = self._runs[partition] = self._runs.get(partition, 0) + 1 if moved.is_unusable else 0
            if 0 < limit <= run:
                raise InputUnusable(_unusable(partition, moved, run))

    def _begin_again(self, source: Source, why: str) -> None:
        """Go back to where the last transaction ended: nobody knows whether this one did."""
        self._writer_open = False
        self._around.note(events.RepartitionFailed(why))
        for partition in self._owned:
            source.pause(partition)
            self._forget(partition)
        self._seeking = set(self._owned)

    def _fit(self, records: int, seconds: float) -> None:
        """Settle how much is polled at once: more where much is taken, less where it takes too long."""
        limit, most = self._settings.seconds, self._settings.records_max
        if seconds > limit:
            self._records = max(int(min(self._records, records) * limit / seconds), 1)
        elif 2 * records > self._records:
            self._records = min(2 * self._records, most)
        elif self._records > RECORDS_LITTLE:
            self._records //= 2

    def _resume(self, source: Source) -> None:
        for partition in sorted(self._paused):
            if 2 * self._abreast.weight_bytes(partition) < self._share_bytes():
                source.resume_at(partition, self._next[partition])
                self._paused.discard(partition)

    def _tell_lag(self, source: Source) -> None:
        now = self._around.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        for partition, records in source.lag().items():
            newest_ms = self._clocks[partition].watermark_ms if partition in self._clocks else 0
            seconds = max(self._around.wall_clock() - newest_ms / 1000.0, 0.0) if newest_ms else 0.0
            run, waiting = self._runs.get(partition, 0), self._abreast.count(partition)
            self._around.note(events.LagMeasured(partition, records + waiting, seconds, run))


def _unusable(partition: TopicPartition, moved: Moved, run: int) -> str:
    assert moved.problem is not None
    return (
        f"{partition.topic}/{partition.partition}: {run} records in a row cannot be used, up to offset {moved.offset}"
        f" (the last: {moved.problem.reason}, {moved.problem.detail}); nothing of this turn is skipped. Correct"
        " input.format or the producer, set the group's offset past them, or raise input.rejected_run_max (0: go on,"
        " with dead letters)"
    )
