"""Creates the topics that the daemon needs, or says what is wrong with those that are there."""

from __future__ import annotations

from collections.abc import Mapping

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from daemon.errors import TopicMismatch
from daemon.kafka import client
from daemon.kafka.failures import CLIENT_ERRORS, translated
from daemon.types import TopicSpec

_RETENTION = {True: "compact", False: "delete"}
_POLICY = "cleanup.policy"
_ROOM = "max.message.bytes"


def partitions(admin: client.Admin, topic: str) -> int | None:
    """Return how many partitions `topic` has, None when it does not exist."""
    (found,) = admin.describe_topics([topic])
    code = found["error_code"]
    if code == UnknownTopicOrPartitionError.errno:
        return None
    if code:
        raise translated(for_code(code)(), f"asking for topic {topic!r}")
    return len(found["partitions"])


def ensure(admin: client.Admin, spec: TopicSpec, replication: int) -> None:
    """Create the topic, or check it. Raises TopicMismatch naming what differs and what to do."""
    if partitions(admin, spec.name) is None:
        _create(admin, spec, replication)
    problems = _problems(spec, partitions(admin, spec.name), _settings(admin, spec.name))
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
        raise translated(error, f"creating topic {spec.name!r} with replication {replication}") from error


def _settings(admin: client.Admin, topic: str) -> Mapping[str, str]:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    found = admin.describe_configs([resource], config_filter="all")["topic"][topic]
    return {name: str(entry["value"]) for name, entry in found.items()}


def _problems(spec: TopicSpec, count: int | None, found: Mapping[str, str]) -> list[str]:
    problems = []
    if count is None or count < spec.partitions:
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
