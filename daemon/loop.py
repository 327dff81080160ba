"""The main loop: turn after turn, each one poll, decode, step, one transaction, apply."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon import codec, events, state
from daemon.engine import Step, step
from daemon.errors import BrokerUnavailable, InputUnusable, TransactionFailed
from daemon.inflow import Inflow, TurnLimits
from daemon.intake import Taken, Takes
from daemon.partitions import Partitions, settle
from daemon.ports import Source, Writer
from daemon.spread import newcomers, spread
from daemon.state import GroupLayout, PartitionState
from daemon.types import Outgoing, Polled, TopicPartition

RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """What the loop was told: sizes, times, and the topics it writes."""

    limits: TurnLimits
    flush_seconds: float
    state_topic: str
    alerts_topic: str
    dead_letters_topic: str
    dead_letter_bytes_max: int
    scores_topic: str | None  # None: scores are not written
    scores_floor: float | None  # None: every score is
    layouts: Mapping[str, GroupLayout]
    rejected_run_max: int = 0  # so many unusable records in a row end the process; 0: none do


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The ports and pieces that the loop drives."""

    source: Source
    writer: Writer
    intake: Takes
    partitions: Partitions
    note: Callable[[events.Event], None]
    monotonic: Callable[[], float]
    after_turn: Callable[
        [float], None
    ]  # called with the monotonic time after every turn, also one that found no broker


class Loop:
    """Owns the turns. Everything happens on the thread that calls `run`."""

    def __init__(self, settings: LoopSettings, around: Surroundings, stop: threading.Event) -> None:
        self._settings, self._around, self._stop = settings, around, stop
        self._inflow = Inflow(around.source, settings.limits)
        self._flushed_at = around.monotonic()
        self._paged_at: dict[TopicPartition, float] = {}
        self._writer_open = False

    def run(self) -> None:
        """Turn until `stop` is set, then drain. Raises Fenced and RestoreStalled; both end the process."""
        while not self._stop.is_set():
            try:
                self.turn()
            except BrokerUnavailable as error:
                self._around.note(events.BrokerLost(str(error)))
                # the loop is alive, whatever the broker is: being restarted would not bring it back
                self._around.after_turn(self._around.monotonic())
                self._stop.wait(RETRY_SECONDS)
        self.drain()

    def turn(self) -> None:
        """Poll, decode, step, commit, apply. Nothing has happened before the commit; after an abort nothing has."""
        self._ensure_writer()
        started = self._around.monotonic()
        polled = self._inflow.poll(busy=self._around.partitions.restoring > 0)
        try:
            self._score(polled, started)
        except BrokerUnavailable:
            self._around.partitions.restore_again()  # what was polled does not come again
            raise
        self._around.after_turn(self._around.monotonic())

    def drain(self) -> None:
        """Write what the pages lack and leave the group; the next owner has nothing to replay."""
        try:
            if self._around.partitions.states:
                self._ensure_writer()
                self._transact([], {}, list(self._around.partitions.states))
        except (BrokerUnavailable, TransactionFailed) as error:
            # nothing is lost: the next owner replays from the last manifest
            self._around.note(events.TurnFailed(f"while draining: {error}", ()))
        finally:
            self._around.source.close()
            self._around.writer.close()

    def _score(self, polled: Polled, started: float) -> None:
        """Do all of a turn that comes after polling."""
        partitions, clock = self._around.partitions, self._around.monotonic
        self._hand_over(polled)
        partitions.follow(polled)
        self._restore_slice()
        self._adopt()
        polled_at = clock()
        polled = self._inflow.share(polled, partitions.states)
        taken = self._take(polled)
        caused = step(partitions.batch(list(taken.values()), partitions.states))
        stepped_at = clock()
        states = partitions.states
        found = list(spread({partition: newcomers(states[partition]) for partition in taken}, states))
        if self._commit(polled, taken, caused):
            times = (polled_at - started, stepped_at - polled_at, clock() - stepped_at)
            self._inflow.went(sum(map(len, polled.records.values())), times[1] + times[2])
            self._tell(polled, taken, caused, times)
            for each in found:
                self._around.note(each)

    def _ensure_writer(self) -> None:
        if not self._writer_open:
            self._around.writer.open()
            self._writer_open = True

    def _hand_over(self, polled: Polled) -> None:
        """Write what the pages of leaving partitions lack, while nobody else has them: their heirs replay nothing."""
        states = self._around.partitions.states
        behind = [tp for tp in sorted(polled.leaving) if tp in states and _is_behind(states[tp])]
        if behind:
            self._transact([], {}, behind)

    def _restore_slice(self) -> None:
        """Go on restoring; what this turn has polled must be scored even if that fails: it is not polled again."""
        try:
            self._around.partitions.restore_slice()
        except BrokerUnavailable as error:
            self._around.note(events.BrokerLost(str(error)))

    def _adopt(self) -> None:
        """Swap models at the turn boundary; the moved rows are written at once, so that no replay crosses a swap."""
        changed = self._around.partitions.adopt_models()
        if changed:
            self._transact([], {}, changed)

    def _take(self, polled: Polled) -> dict[TopicPartition, Taken]:
        states = self._around.partitions.states
        taken = {
            partition: self._around.intake.take(partition, records, states[partition])
            for partition, records in polled.records.items()
        }
        limit = self._settings.rejected_run_max
        for partition, each in taken.items():
            if 0 < limit <= each.rejected_run_max:
                raise InputUnusable(_unusable(partition, each, limit))
        return taken

    def _commit(self, polled: Polled, taken: Mapping[TopicPartition, Taken], caused: Step) -> bool:
        """Write all that the turn caused and move the offsets, then apply; return whether there was anything to do."""
        due = self._due_for_flush(taken)
        if not taken and not due:
            return False
        messages = [*self._outputs(caused), *self._dead_letters(polled, taken)]
        offsets = {partition: each.next_offset for partition, each in taken.items()}
        if self._transact(messages, offsets, due):
            for partition, each in taken.items():
                settle(self._around.partitions.states[partition], each, caused.deltas)
            return bool(taken)
        return False

    def _due_for_flush(self, taken: Mapping[TopicPartition, Taken]) -> list[TopicPartition]:
        """Return the partitions whose pages go into this turn's transaction.

        Their turns to be written are spread over the time between two of the same, so that no turn is a long one. A
        partition without any manifest gets one at once: from there a replay can start.
        """
        states, now = self._around.partitions.states, self._around.monotonic()
        count = int((now - self._flushed_at) * len(states) / self._settings.flush_seconds)
        if count == 0:
            return [partition for partition in taken if states[partition].flushed_offset is None]
        self._flushed_at = now
        longest_ago = sorted(states, key=lambda tp: (self._paged_at.get(tp, 0.0), tp))[:count]
        due = {tp for tp in states if tp in longest_ago or states[tp].flushed_offset is None}
        return [tp for tp in states if tp in due and _is_behind(states[tp])]

    def _transact(
        self, messages: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], flushed: Sequence[TopicPartition]
    ) -> bool:
        """Commit messages, offsets and the pages of `flushed`, all or nothing; after a failure restore everything."""
        partitions = self._around.partitions
        pages = {
            tp: state.flush(self._settings.state_topic, tp, partitions.states[tp], self._settings.layouts)
            for tp in flushed
        }
        outgoing = [*messages, *(message for written, _ in pages.values() for message in written)]
        # pages travel with offsets, moved or not: by these the broker refuses a member that has lost the partition
        offsets = {**{tp: partitions.states[tp].next_offset for tp in flushed}, **offsets}
        try:
            self._around.writer.commit(outgoing, offsets, self._around.source.membership())
        except TransactionFailed as error:
            self._writer_open = False
            self._around.note(events.TurnFailed(str(error), tuple(offsets)))
            partitions.restore_again()
            return False
        for tp, (_, numbers) in pages.items():
            state.mark_flushed(partitions.states[tp], numbers)
            self._paged_at[tp] = self._around.monotonic()
        if pages:
            written = [message for each, _ in pages.values() for message in each]
            self._around.note(events.StateFlushed(len(written), sum(len(one.value or b"") for one in written)))
        return True

    def _outputs(self, caused: Step) -> list[Outgoing]:
        messages = [codec.alert(self._settings.alerts_topic, event) for event in caused.alerts]
        if self._settings.scores_topic is not None:
            for found in caused.scores:
                messages.extend(codec.scores(self._settings.scores_topic, found, self._settings.scores_floor))
        return messages

    def _dead_letters(self, polled: Polled, taken: Mapping[TopicPartition, Taken]) -> list[Outgoing]:
        topic, bytes_max = self._settings.dead_letters_topic, self._settings.dead_letter_bytes_max
        return [
            message
            for partition, each in taken.items()
            for message in codec.dead_letters(topic, each.rejected, polled.records[partition], bytes_max)
        ]

    def _tell(
        self, polled: Polled, taken: Mapping[TopicPartition, Taken], caused: Step, seconds: tuple[float, float, float]
    ) -> None:
        """Note what a committed turn did; only what is committed is ever counted."""
        note = self._around.note
        note(
            events.TurnCommitted(
                records=sum(len(polled.records[partition]) for partition in taken),
                samples=sum(each.samples for each in taken.values()),
                poll_seconds=seconds[0],
                step_seconds=seconds[1],
                commit_seconds=seconds[2],
                scores=_scores(caused),
                withheld=caused.withheld,
                records_next=self._inflow.records,
                paused=self._inflow.paused,
            )
        )
        rejected = tuple(each for one in taken.values() for each in one.rejected)
        if rejected:
            note(events.RecordsRejected(rejected))
        for (group, reason), count in caused.dropped.items():
            note(events.SamplesDropped(group, reason, count))
        for (group, why), count in caused.forgotten.items():
            note(events.StreamsForgotten(group, why, count))
        for partition, each in taken.items():
            for group, count in each.missing.items():
                note(events.SamplesDropped(group, "missing", count))
            self._tell_made(each)
            if each.unselected:
                note(events.PointsUnselected(partition.topic, each.unselected))
        for alert in caused.alerts:
            note(
                events.AlertChanged(
                    alert.group, alert.change, alert.rule, alert.alert_id, alert.stream, alert.score or 0.0
                )
            )

    def _tell_made(self, taken: Taken) -> None:
        """Note what came of readings, and which channels the samples lack."""
        note = self._around.note
        for group, tally in taken.joined.items():
            note(events.SamplesJoined(group, tally.complete, tally.incomplete))
            for reason, count in tally.dropped():
                note(events.SamplesDropped(group, reason, count))
        for (group, channel), count in taken.absent.items():
            note(events.ChannelsMissing(group, channel, count))


def _is_behind(state: PartitionState) -> bool:
    return state.flushed_offset != state.next_offset


def _unusable(partition: TopicPartition, taken: Taken, limit: int) -> str:
    first, last = taken.rejected[0], taken.rejected[-1]
    return (
        f"{partition.topic}/{partition.partition}: {limit} records in a row cannot be used, from about"
        f" offset {first.offset} on (the last: {last.reason}, {last.detail}); nothing of them is skipped. Correct"
        " input.format or the producer, set the group's offset past them, or raise input.rejected_run_max (0: go on,"
        " with dead letters)"
    )


def _scores(caused: Step) -> dict[str, NDArray[np.float64]]:
    """Return the scores of all samples by group; NaN for warming streams and dropped samples."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for each in caused.scores:
        found.setdefault(each.group, []).append(each.score)
    return {group: np.concatenate(columns) for group, columns in found.items()}
