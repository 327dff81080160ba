"""The partitions this member owns: which are restored, which are on their way, and which model moved their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from daemon import events
from daemon.alert_events import Group
from daemon.engine import step
from daemon.errors import BrokerUnavailable
from daemon.intake import Taken, Takes
from daemon.models import LiveModel, ModelStore
from daemon.ports import Broker, Source
from daemon.restore import Restore, RestoreSettings
from daemon.samples import Part
from daemon.spread import every_stream, spread
from daemon.state import PartitionState
from daemon.types import Polled, Record, TopicPartition
from detectors.adopt import adopt
from detectors.slab import Delta, Slab

Batch = Sequence[tuple[Group, Sequence[Part]]]

ADOPT_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Watched:
    """What the partitions need of their surroundings."""

    broker: Broker
    source: Source
    intake: Takes
    models: ModelStore
    groups: Mapping[str, Group]  # without a network: the models come from the store
    restore: RestoreSettings
    note: Callable[[events.Event], None]
    clock: Callable[[], float]  # monotonic seconds
    prepare: Callable[[], None] = lambda: None  # makes and checks the topics that we write


class Partitions:
    """Owned partitions. A partition's samples are scored only while it is in `states`."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self.states: dict[TopicPartition, PartitionState] = {}
        self._restoring: dict[TopicPartition, Restore | None] = {}
        self._told: dict[str, str] = {}  # by group, the model that the last ModelSwapped named
        self._widest = -1  # the highest number of a partition that was ever ours
        self._doubtful = False  # whether our own topics have to be looked at before anything is read from them

    @property
    def restoring(self) -> int:
        """How many partitions are on their way."""
        return len(self._restoring)

    def holds(self, partition: TopicPartition) -> bool:
        """Return whether a partition is ours, restored or on its way."""
        return partition in self.states or partition in self._restoring

    def follow(self, polled: Polled) -> None:
        """Drop what went to another member, begin to restore what came."""
        for partition in sorted(polled.revoked):
            self._drop(partition)
        for partition in sorted(polled.assigned):
            self._restoring[partition] = None
            # the input may have grown, and what we write must keep up; the first time it was looked at by the start
            self._doubtful |= 0 <= self._widest < partition.partition
        self._widest = max(self._widest, *(each.partition for each in polled.assigned), -1)
        if polled.revoked or polled.assigned:
            self._tell_readiness()

    def restore_again(self) -> None:
        """Forget every state and restore it from the broker: after a transaction whose outcome is not known."""
        for partition in [*self.states, *self._restoring]:
            self._watched.source.pause(partition)
            self._close(partition)
            self.states.pop(partition, None)
            self._restoring[partition] = None
        self._doubtful = True
        self._tell_readiness()

    def restore_slice(self) -> None:
        """Do a slice of the first restore that waits; deliver its partition when it is done.

        One that cannot go on is begun anew after the others. Raises BrokerUnavailable, and TopicMismatch when a topic
        of our own has become one that loses data.
        """
        partition = next(iter(self._restoring), None)
        if partition is None:
            return
        try:
            if self._doubtful:
                self._watched.prepare()
                self._doubtful = False
            self._advance(partition)
        except BrokerUnavailable:
            self._postpone(partition)
            raise
        except LookupError as error:
            self._postpone(partition)
            self._doubtful = True
            where = f"{partition.topic}/{partition.partition}"
            raise BrokerUnavailable(f"restoring {where}: {error}; trying again") from error

    def _advance(self, partition: TopicPartition) -> None:
        watched, now = self._watched, self._watched.clock()
        restore = self._restoring[partition]
        if restore is None:
            committed = watched.source.committed(partition)
            restore = Restore(watched.broker, partition, committed, watched.restore, now)
            self._restoring[partition] = restore
        if restore.advance(lambda state, records: self._replay(partition, state, records), now):
            self._finish(partition, restore)

    def adopt_models(self) -> list[TopicPartition]:
        """Move every restored partition to the models that are current; return those whose rows changed."""
        changed = set()
        for group in self._watched.groups:
            model = self._watched.models.current(group)
            if model is None or not self.states:
                continue
            name = model.detector.model_id
            behind = [tp for tp, state in self.states.items() if _model_of(state, group) != name]
            for partition in behind:
                _adopt(self.states[partition], group, model)
            if self._told.get(group) != name:  # also after a restart, when the rows were moved by an earlier life
                created_at_ms = model.lineage.created_at_ms if model.lineage else 0
                self._watched.note(events.ModelSwapped(group, name, model.trained_samples, created_at_ms))
                self._told[group] = name
            changed.update(behind)
        return sorted(changed)

    def batch(self, taken: Sequence[Taken], states: Mapping[TopicPartition, PartitionState]) -> Batch:
        """Return the step's input: for each group its parts, with the detector that their rows were moved by."""
        result: list[tuple[Group, list[Part]]] = []
        for name, group in self._watched.groups.items():
            by_model: dict[str, list[Part]] = {}
            for each in taken:
                part = each.parts[name]
                by_model.setdefault(_model_of(states[part.partition], name), []).append(part)
            result.extend((self._group(group, model_id), parts) for model_id, parts in by_model.items())
        return result

    def group_of(self, partition: TopicPartition, name: str) -> Group:
        """Return a group with the detector that its rows in a restored partition were moved by."""
        return self._group(self._watched.groups[name], _model_of(self.states[partition], name))

    def _group(self, group: Group, model_id: str) -> Group:
        model = self._watched.models.find(group.name, model_id)
        return replace(group, detector=model.detector) if model else group

    def _replay(self, partition: TopicPartition, state: PartitionState, records: list[Record]) -> None:
        """Move `state` past `records` as the turns did that committed them, telling nobody."""
        self._ensure_models(partition, state)
        taken = self._watched.intake.take(partition, records, state)
        settle(state, taken, step(self.batch([taken], {partition: state})).deltas)

    def _ensure_models(self, partition: TopicPartition, state: PartitionState) -> None:
        """Rows that were moved by a model which is gone go on with none, until the current one is adopted.

        Raises BrokerUnavailable while the model may be on its way here.
        """
        models = self._watched.models
        for group, model_id in state.models.items():
            if model_id and models.find(group, model_id) is None:
                if not models.has_read_all():
                    raise BrokerUnavailable(f"the rows of {partition} need model {model_id}: not read yet")
                self._watched.note(
                    events.ModelRefused(group, f"the rows of {partition} need model {model_id}: it is gone")
                )
                _adopt(state, group, LiveModel(self._watched.groups[group].detector, {}, 0))

    def _finish(self, partition: TopicPartition, restore: Restore) -> None:
        watched = self._watched
        state = restore.state
        assert state is not None
        self._ensure_models(partition, state)
        for why in restore.discarded:
            watched.note(events.StateDiscarded(partition, why))
        for gap in restore.gaps:
            watched.note(gap)
        watched.source.resume_at(partition, state.next_offset)
        seconds = watched.clock() - restore.started
        watched.note(events.PartitionRestored(partition, seconds, restore.pages, restore.replayed))
        del self._restoring[partition]
        self.states[partition] = state
        for each in spread({partition: every_stream(state)}, self.states):
            watched.note(each)
        self._tell_readiness()

    def _drop(self, partition: TopicPartition) -> None:
        self._close(partition)
        self._restoring.pop(partition, None)
        self.states.pop(partition, None)
        self._watched.note(events.PartitionDropped(partition))

    def _postpone(self, partition: TopicPartition) -> None:
        self._close(partition)
        del self._restoring[partition]
        self._restoring[partition] = None  # behind the others

    def _close(self, partition: TopicPartition) -> None:
        restore = self._restoring.get(partition)
        if restore is not None:
            restore.close()

    def _tell_readiness(self) -> None:
        assigned = len(self.states) + len(self._restoring)
        self._watched.note(events.Readiness(not self._restoring, assigned, len(self._restoring)))


def settle(state: PartitionState, taken: Taken, deltas: Sequence[tuple[Slab, Delta]]) -> None:
    """Apply what a committed turn caused to one partition."""
    own = {id(slab) for slab in state.slabs.values()}
    for slab, delta in deltas:
        if id(slab) in own:
            slab.apply(delta)
    taken.settle(state)


def _model_of(state: PartitionState, group: str) -> str:
    return state.models.get(group, "")


def _adopt(state: PartitionState, group: str, model: LiveModel) -> None:
    """Move a slab's rows to another network; all its pages must be written before anything else is."""
    slab = state.slabs[group]
    for slots in slab.blocks(ADOPT_ROWS):
        slab.apply(Delta(slots, adopt(model.detector, slab.take(slots), model.calibration)))
    slab.mark_all_dirty()
    state.models[group] = model.detector.model_id
