"""Creates the topics that the daemon needs, or says what is wrong with those that are there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    InvalidPartitionsError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from daemon.errors import BrokerUnavailable, TopicMismatch
from daemon.kafka import client
from daemon.kafka.failures import CLIENT_ERRORS, translated
from daemon.kafka.refusals import Right
from daemon.types import TopicSpec

_RETENTION = {True: "compact", False: "delete"}
_POLICY = "cleanup.policy"
_ROOM = "max.message.bytes"
_HEARD_SECONDS = 5.0


def partitions(admin: client.Admin, topic: str) -> int | None:
    """Return how many partitions `topic` has, None when it does not exist."""
    found = _described(admin, topic)
    return None if found is None else len(found["partitions"])


def topic_id(admin: client.Admin, topic: str) -> str | None:
    """Return the cluster's own id of `topic`, which no other topic ever has, None when it does not exist."""
    found = _described(admin, topic)
    return None if found is None else str(found["topic_id"])


def _described(admin: client.Admin, topic: str) -> Mapping[str, Any] | None:
    (found,) = admin.describe_topics([topic])
    code = found["error_code"]
    if code == UnknownTopicOrPartitionError.errno:
        return None
    if code:
        raise translated(for_code(code)(topic), f"asking for topic {topic!r}")
    return found


def ensure(admin: client.Admin, spec: TopicSpec, replication: int) -> None:
    """Create the topic, or check it, or let it grow. Raises TopicMismatch naming what differs and what to do."""
    count = partitions(admin, spec.name)
    if count is None:
        _create(admin, spec, replication)
    elif spec.growable and count < spec.partitions:
        _grow(admin, spec)
    now, told = _seen(admin, spec.name, _HEARD_SECONDS if count is None else 0.0)
    problems = _problems(spec, now, _settings(spec.name, told))
    if problems:
        raise TopicMismatch(f"topic {spec.name!r} would lose data: " + "; ".join(problems))


def _create(admin: client.Admin, spec: TopicSpec, replication: int) -> None:
    topic = {
        "num_partitions": spec.partitions,
        "replication_factor": replication,
        "configs": {_POLICY: _RETENTION[spec.compacted], **spec.config},
    }
    try:
        admin.create_topics({spec.name: topic}, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        return  # another member was faster; what it made is checked like any other topic
    except CLIENT_ERRORS as error:
        tried = Right("Create", "topic", spec.name)
        raise translated(error, f"creating topic {spec.name!r} with replication {replication}", tried) from error


def _grow(admin: client.Admin, spec: TopicSpec) -> None:
    try:
        admin.create_partitions({spec.name: spec.partitions})
    except InvalidPartitionsError:
        return  # another member was faster; the check that follows tells
    except CLIENT_ERRORS as error:
        tried = Right("Alter", "topic", spec.name)
        raise translated(error, f"giving topic {spec.name!r} {spec.partitions} partitions", tried) from error
    give_up = time.monotonic() + _HEARD_SECONDS
    while (partitions(admin, spec.name) or 0) < spec.partitions:  # until the brokers have heard of it, too
        if time.monotonic() > give_up:
            raise BrokerUnavailable(f"topic {spec.name!r} was given {spec.partitions} partitions: not there yet")


def _seen(admin: client.Admin, topic: str, wait_seconds: float) -> tuple[int, Mapping[str, Mapping[str, Any]]]:
    """Return how many partitions `topic` has and its settings; waits for brokers that have not heard of it yet.

    Any broker may be asked, and one that did not create the topic hears of it a little later.
    """
    give_up, resource = time.monotonic() + wait_seconds, ConfigResource(ConfigResourceType.TOPIC, topic)
    while True:
        count = partitions(admin, topic)
        told = admin.describe_configs([resource], config_filter="all")["topic"][topic]
        if count is not None and (told or time.monotonic() >= give_up):
            return count, told
        if time.monotonic() >= give_up:
            raise BrokerUnavailable(f"topic {topic!r} was just created, and not every broker has heard of it yet")


def _settings(topic: str, found: Mapping[str, Mapping[str, Any]]) -> Mapping[str, str]:
    if not found:
        # The library keeps the broker's refusal to itself; a topic that is there always has settings.
        tried = Right("DescribeConfigs", "topic", topic)
        raise translated(TopicAuthorizationFailedError(topic), f"asking for the settings of topic {topic!r}", tried)
    return {name: str(entry["value"]) for name, entry in found.items()}


def _problems(spec: TopicSpec, count: int, found: Mapping[str, str]) -> list[str]:
    problems = []
    if count < spec.partitions:
        more = f"kafka-topics.sh --alter --topic {spec.name} --partitions {spec.partitions}"
        problems.append(f"it has {count} partitions and needs {spec.partitions}: {more}")
    policy, wanted = found.get(_POLICY, ""), _RETENTION[spec.compacted]
    if policy != wanted:
        problems.append(f"its {_POLICY} is {policy!r} and must be {wanted!r}: {_alter(spec.name, _POLICY, wanted)}")
    room, needed = int(found.get(_ROOM, 0)), int(spec.config.get(_ROOM, 0))
    if room < needed:
        problems.append(f"its {_ROOM} is {room} and must be at least {needed}: {_alter(spec.name, _ROOM, needed)}")
    return problems


def _alter(topic: str, name: str, value: object) -> str:
    return f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {name}={value}"
