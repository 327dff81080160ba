"""Restoring a partition: its pages up to the high watermark, then a silent replay up to the committed offset.

Restoring is cut into slices, so that the loop can go on with its other partitions in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from daemon.errors import RestoreStalled, StateUnusable
from daemon.ports import Broker, Cursor
from daemon.state import GroupLayout, Pages, PartitionState
from daemon.types import Bounds, Record, TopicPartition

Replay = Callable[[PartitionState, "list[Record]"], None]

FETCH_RECORDS_MAX = 5000
FETCH_WAIT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class RestoreSettings:
    """Where the state lies, how it is laid out, and how long a restore may take without an end."""

    state_topic: str
    layouts: Mapping[str, GroupLayout]
    seconds_max: float


class Restore:
    """One partition on its way back into memory."""

    def __init__(
        self, broker: Broker, partition: TopicPartition, committed: int | None, settings: RestoreSettings, now: float
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._pages = Pages(partition)
        self._cursor: Cursor | None = None
        self._bounds: Bounds = broker.bounds(partition)
        self._deadline = now + settings.seconds_max
        self.partition = partition
        self.started = now
        self.target = self._bounds.first if committed is None else committed
        self.state: PartitionState | None = None
        self.replayed = 0
        self.discarded: list[str] = []
        stored = TopicPartition(settings.state_topic, partition.partition)
        # the high watermark, not the last stable offset: a dead writer's open transaction may lie below newer state
        self._stored_end = broker.bounds(stored).end
        self._stored = stored

    @property
    def pages(self) -> int:
        """How many pages were read so far."""
        return len(self._pages)

    def advance(self, replay: Replay, now: float) -> bool:
        """Do a slice of the work, return whether all is done. Raises RestoreStalled after the time limit.

        `replay` moves the state past a list of records without telling anybody.
        """
        if now > self._deadline:
            place = self._cursor.position if self._cursor else "the start"
            raise RestoreStalled(f"restoring {self.partition} did not end in time; it stands at {place}")
        if self.state is None:
            self._read_pages()
            return False
        return self._replay(self.state, replay)

    def close(self) -> None:
        """Give up."""
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None

    def _read_pages(self) -> None:
        if self._cursor is None:
            self._cursor = self._broker.cursor(self._stored, 0)
        if self._cursor.position < self._stored_end:
            self._pages.add(self._cursor.fetch(FETCH_RECORDS_MAX, FETCH_WAIT_SECONDS))
            return
        self.close()
        self.state = self._built()

    def _built(self) -> PartitionState:
        """Return the state to replay from: what the pages hold, or an empty one where they cannot serve."""
        layouts = self._settings.layouts
        try:
            found = self._pages.build(layouts)
        except StateUnusable as error:
            self.discarded.append(str(error))
            found = None
        if found is None:
            return PartitionState.empty(layouts, self._reachable(self.target))
        state, manifest, discarded = found
        self.discarded.extend(discarded)
        if manifest.offset > self.target:
            self.discarded.append(
                f"the pages stand at offset {manifest.offset}, the group was set back to {self.target}: starting afresh"
            )
            return PartitionState.empty(layouts, self._reachable(self.target))
        state.next_offset = self._reachable(manifest.offset)
        return state

    def _reachable(self, offset: int) -> int:
        if offset >= self._bounds.first:
            return offset
        self.discarded.append(f"offsets {offset} to {self._bounds.first} were deleted by retention before being read")
        return self._bounds.first

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
