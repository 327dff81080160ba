"""The baseline: the same records through the same step as the daemon's, in one process and without a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from daemon import assembly
from daemon.alert_events import AlertEvent, Group
from daemon.config import Config
from daemon.engine import step
from daemon.memory import MemoryRecord
from daemon.partitions import settle
from daemon.state import PartitionState
from daemon.types import Outgoing, TopicPartition
from detectors.scoring import Detector

BATCH_RECORDS: Final = 5000

Batch = dict[TopicPartition, list[MemoryRecord]]


def without_model(config: Config, records: Sequence[Outgoing]) -> list[AlertEvent]:
    """Return every alert event that `records`, each with its partition, cause while no group has a model."""
    intake, layouts = assembly.intake(config), assembly.layouts(config)
    groups = [Group(each.name, Detector(each.detector()), each.alert.severity) for each in config.groups]
    states: dict[TopicPartition, PartitionState] = {}
    events: list[AlertEvent] = []
    for batch in batches(records):
        for partition in batch.keys() - states.keys():
            states[partition] = PartitionState.empty(layouts, 0)
        taken = {partition: intake.take(partition, found, states[partition]) for partition, found in batch.items()}
        caused = step([(group, [each.parts[group.name] for each in taken.values()]) for group in groups])
        for partition, each in taken.items():
            settle(states[partition], each, caused.deltas)
        events += caused.alerts
    return events


def batches(records: Sequence[Outgoing]) -> Iterator[Batch]:
    """Yield the records in turns of BATCH_RECORDS, by partition, with the offsets that a broker would give them."""
    offsets: dict[TopicPartition, int] = {}
    for start in range(0, len(records), BATCH_RECORDS):
        batch: Batch = {}
        for record in records[start : start + BATCH_RECORDS]:
            partition = TopicPartition(record.topic, record.partition or 0)
            offset = offsets.setdefault(partition, 0)
            batch.setdefault(partition, []).append(MemoryRecord(offset, -1, record.key, record.value, ()))
            offsets[partition] = offset + 1
        yield batch
