"""Restoring a partition: its pages up to the high watermark, then a silent replay up to the committed offset.

Restoring is cut into slices, so that the loop can go on with its other partitions in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from daemon.errors import BrokerUnavailable, RestoreStalled, StateUnusable
from daemon.events import GapReason, InputGap
from daemon.ports import Broker, Cursor
from daemon.state import GroupLayout, Manifest, Pages, PartitionState
from daemon.types import Bounds, Record, TopicPartition

Replay = Callable[[PartitionState, "list[Record]"], None]

FETCH_RECORDS_MAX = 5000
FETCH_WAIT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class RestoreSettings:
    """Where the state lies, how it is laid out, and how long a restore may take without getting any further."""

    state_topic: str
    layouts: Mapping[str, GroupLayout]
    seconds_max: float


class Restore:
    """One partition on its way back into memory."""

    def __init__(
        self, broker: Broker, partition: TopicPartition, committed: int | None, settings: RestoreSettings, now: float
    ) -> None:
        """Raises LookupError when the input's or the state's partition does not exist, and BrokerUnavailable."""
        self._broker = broker
        self._settings = settings
        self._pages = Pages(partition)
        self._cursor: Cursor | None = None
        self._topic_id = broker.topic_id(partition.topic) or ""
        self._bounds: Bounds = broker.bounds(partition)
        self._committed = committed
        self._deadline = now + settings.seconds_max
        self._seen: tuple[bool, int] = (False, -1)  # whether the pages are read, and the position then
        self.partition = partition
        self.started = now
        self.target = self._bounds.first if committed is None else committed
        self.state: PartitionState | None = None
        self.replayed = 0
        self.discarded: list[str] = []
        self.gaps: list[InputGap] = []
        stored = TopicPartition(settings.state_topic, partition.partition)
        # the high watermark, not the last stable offset: a dead writer's open transaction may lie below newer state
        self._stored_end = broker.bounds(stored).end
        self._stored = stored

    @property
    def pages(self) -> int:
        """How many pages were read so far."""
        return len(self._pages)

    def advance(self, replay: Replay, now: float) -> bool:
        """Do a slice of the work, return whether all is done. Raises RestoreStalled when nothing moves for too long.

        `replay` moves the state past a list of records without telling anybody.
        """
        self._watch_progress(now)
        if self.state is None:
            self._read_pages()
            return False
        return self._replay(self.state, replay)

    def close(self) -> None:
        """Give up; a reader that cannot be closed in order is left to itself, since nobody needs it any more."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            with suppress(BrokerUnavailable):
                cursor.close()

    def _watch_progress(self, now: float) -> None:
        stands = (self.state is not None, self._cursor.position if self._cursor else -1)
        if stands != self._seen:
            self._seen, self._deadline = stands, now + self._settings.seconds_max
        elif now > self._deadline:
            raise RestoreStalled(self._stalled())

    def _stalled(self) -> str:
        place, end = (self._stored, self._stored_end) if self.state is None else (self.partition, self.target)
        position = self._cursor.position if self._cursor else "the start"
        return (
            f"restoring {_name(self.partition)}: {_name(place)} stands at offset {position} for more than"
            f" {self._settings.seconds_max:g} s and must come to {end}; look for a transaction that hangs open there"
            " (kafka-transactions.sh find-hanging), or for records that the cluster lost"
        )

    def _read_pages(self) -> None:
        if self._cursor is None:
            self._cursor = self._broker.cursor(self._stored, 0)
        if self._cursor.position < self._stored_end:
            self._pages.add(self._cursor.fetch(FETCH_RECORDS_MAX, FETCH_WAIT_SECONDS))
            return
        self.close()
        self.state = self._built()
        self.state.topic_id = self._topic_id

    def _built(self) -> PartitionState:
        """Return the state to replay from: what the pages hold, or an empty one where they cannot serve."""
        try:
            found = self._pages.build(self._settings.layouts)
        except StateUnusable as error:
            self.discarded.append(str(error))
            return self._afresh()
        if found is None:
            if self._committed is not None:
                self.discarded.append(f"the group has come to offset {self._committed}, and there is no state of it")
            return self._afresh()
        state, manifest, discarded = found
        if self._is_another_topic(manifest):
            self.discarded.append("the input topic was deleted and created again")
            self._gap("recreated", manifest.offset, self._bounds.first)
            self.target = self._bounds.first
            return PartitionState.empty(self._settings.layouts, self._bounds.first)
        if self._committed is None and manifest.topic_id:
            self.target = manifest.offset  # the broker forgets the offsets of a group that was away for a week
        if manifest.offset > self.target:
            self.discarded.append(
                f"the pages stand at offset {manifest.offset}, the group was set back to {self.target}"
            )
            return self._afresh()
        self.discarded.extend(discarded)
        self._check_replay(manifest.offset)
        state.next_offset = self._reachable(manifest.offset)
        return state

    def _is_another_topic(self, manifest: Manifest) -> bool:
        """Return whether the pages come from a topic that had this one's name."""
        if manifest.topic_id:
            return manifest.topic_id != self._topic_id
        return max(manifest.offset, self.target) > self._bounds.end

    def _check_replay(self, begin: int) -> None:
        end = min(self._bounds.first, self.target)
        if begin < end:
            self.discarded.append(f"offsets {begin} to {end} were deleted by retention before they could be replayed")

    def _afresh(self) -> PartitionState:
        """Return an empty state: at the target, or at the first offset when the target is of another topic."""
        if self.target > self._bounds.end:
            self._gap("recreated", self.target, self._bounds.first)
            self.target = self._bounds.first
        return PartitionState.empty(self._settings.layouts, self._reachable(self.target))

    def _reachable(self, offset: int) -> int:
        """Return where to begin when `offset` is wanted; the target moves to where the input can be read."""
        first, end = self._bounds
        if self.target < first:
            self._gap("trimmed", self.target, first)
            self.target = first
        elif self.target > end:
            self._gap("truncated", self.target, end)
            self.target = end
        return min(max(offset, first), end)

    def _gap(self, reason: GapReason, reached: int, resumed: int) -> None:
        self.gaps.append(InputGap(self.partition, reason, reached, resumed))

    def _replay(self, state: PartitionState, replay: Replay) -> bool:
        if state.next_offset >= self.target:
            self.close()
            return True
        if self._cursor is None:
            self._cursor = self._broker.cursor(self.partition, state.next_offset)
        fetched = self._cursor.fetch(FETCH_RECORDS_MAX, FETCH_WAIT_SECONDS)
        records = [record for record in fetched if state.next_offset <= record.offset < self.target]
        if records:
            replay(state, records)
            self.replayed += len(records)
        if self._cursor.position >= self.target:
            state.next_offset = max(state.next_offset, self.target)
        return False


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"
