"""From the configuration to the first stage of a repartitioned input. Nothing is started."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from daemon import assembly, events
from daemon.config import Config
from daemon.partitions import Partitions
from daemon.ports import Broker, Source
from daemon.repartition import Around, Repartition, RepartitionSettings
from daemon.types import TopicPartition

FIRST_STAGE: Final = "-repartition"  # after the group's name, and after its writer's


def connected(config: Config) -> Broker:
    """Return the door to the cluster of a group of its own. Raises ConfigError as `assembly.connected` does."""
    kafka = config.kafka.model_copy(update={"group_id": f"{config.kafka.group_id}{FIRST_STAGE}"})
    return assembly.connected(config.model_copy(update={"kafka": kafka}))


def identity(config: Config) -> str:
    """Return the transactional identity of this member's first stage."""
    return f"{assembly.identity(config)}{FIRST_STAGE}"


def first_stage(
    config: Config,
    doors: tuple[Broker, Broker],
    second: tuple[Source, Partitions],
    topics: Sequence[str],
    note: Callable[[events.Event], None],
) -> Repartition:
    """Return the first stage, which does nothing before its first turn.

    The doors are the daemon's own and that of `connected`; `second` is what the second stage reads with and holds.
    """
    (broker, door), (source, partitions) = doors, second
    first = TopicPartition(config.input.repartition_topic, 0)
    around = Around(
        door=door,
        writer=broker.writer(identity(config)),
        feeds=assembly.homes(config),
        is_ours=lambda: partitions.holds(first),
        stood=source.committed,
        note=note,
        monotonic=time.monotonic,
        wall_clock=time.time,
    )
    return Repartition(settings(config), around, topics)


def settings(config: Config) -> RepartitionSettings:
    """Return what the first stage needs of the configuration."""
    told, letters = config.input, config.outputs.dead_letters
    return RepartitionSettings(
        topic=told.repartition_topic,
        dead_letters_topic=letters.topic,
        dead_letter_bytes_max=letters.value_bytes_max,
        records_max=told.records_max,
        bytes_max=told.turn_bytes_max,
        seconds=told.turn_seconds,
        poll_seconds=assembly.poll_seconds(config),
        wait_seconds=told.repartition_wait_seconds,
        rejected_run_max=told.rejected_run_max,
    )
