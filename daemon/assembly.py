"""From the configuration to the parts: each function turns one section into what a part needs. Nothing is started."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from daemon.config import Config, GroupConfig
from daemon.engine import layout
from daemon.errors import BrokerUnavailable
from daemon.formats import Format, JsonFormat, TelegrafFormat
from daemon.formats.json import FieldPaths
from daemon.intake import Intake, Limits
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.kafka.client import Security
from daemon.learning import Schedule
from daemon.loop import LoopSettings
from daemon.ports import Broker
from daemon.state import GroupLayout
from daemon.types import TopicSpec

STATE_MESSAGE_BYTES_MAX = 16_000_000
LARGE_MESSAGES = {"max.message.bytes": str(STATE_MESSAGE_BYTES_MAX)}


def connected(config: Config) -> Broker:
    """Return the door to the configured cluster."""
    return KafkaBroker(connection(config))


def connection(config: Config) -> ConnectionSettings:
    """Return how to reach the cluster."""
    kafka, security = config.kafka, config.kafka.security
    return ConnectionSettings(
        bootstrap_servers=tuple(kafka.bootstrap_servers),
        group_id=kafka.group_id,
        client_id=kafka.client_id,
        instance_id=kafka.instance_id,
        replication=config.outputs.replication,
        session_timeout_seconds=kafka.session_timeout_seconds,
        transaction_timeout_seconds=kafka.transaction_timeout_seconds,
        record_bytes_max=STATE_MESSAGE_BYTES_MAX,
        security=Security(
            protocol=security.protocol,
            ca_file=_path(security.ca_file),
            cert_file=_path(security.cert_file),
            key_file=_path(security.key_file),
            key_password=security.key_password.reveal() if security.key_password else None,
            check_hostname=security.check_hostname,
            sasl_mechanism=security.sasl_mechanism,
            username=security.username,
            password=security.password.reveal() if security.password else None,
            token_file=_path(security.token_file),
        ),
    )


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def identity(config: Config) -> str:
    """Return this member's transactional identity: lasting with static membership, else one of this process."""
    member = config.kafka.instance_id or f"{os.uname().nodename}-{os.getpid()}-{time.time_ns()}"
    return f"{config.kafka.group_id}-{member}"


def layouts(config: Config) -> dict[str, GroupLayout]:
    """Return how the rows of each group lie in memory."""
    return {each.name: GroupLayout(layout(each.detector()), each.max_streams) for each in config.groups}


def intake(config: Config) -> Intake:
    """Return what turns records into samples."""
    limits = Limits(config.input.record_bytes_max, int(config.input.future_seconds_max * 1000))
    return Intake(_format(config), [Selection(each) for each in config.groups], limits)


def _format(config: Config) -> Format:
    match config.input.format:
        case "json":
            paths = FieldPaths(**config.input.fields.model_dump())
            return JsonFormat(paths, config.input.timestamp_unit)
        case "telegraf_json":
            return TelegrafFormat(config.input.timestamp_unit)


class Selection:
    """A configured group as the intake sees it."""

    def __init__(self, group: GroupConfig) -> None:
        self.name = group.name
        self.channels = tuple(group.channels)
        self._matchers = group.select

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Return whether every matcher of the group accepts these labels."""
        return all(matcher.matches(labels) for matcher in self._matchers)


def prepare_topics(config: Config, broker: Broker) -> None:
    """Create or check every topic that the daemon writes. Raises BrokerUnavailable, TopicMismatch."""
    counts = {topic: broker.partitions(topic) for topic in config.input.topics}
    missing = [topic for topic, count in counts.items() if count is None]
    if missing:
        raise BrokerUnavailable(f"input topic {', '.join(missing)} does not exist yet: waiting for it")
    widest = max(count for count in counts.values() if count is not None)
    outputs = config.outputs
    state = {**LARGE_MESSAGES, "min.cleanable.dirty.ratio": "0.1", "segment.ms": "600000"}
    broker.ensure(TopicSpec(config.state.topic, widest, compacted=True, config=state))
    prepare_models_topic(config, broker)
    broker.ensure(TopicSpec(outputs.alerts.topic, widest, compacted=False))
    broker.ensure(TopicSpec(outputs.dead_letters.topic, widest, compacted=False))
    if outputs.scores.keep != "none":
        broker.ensure(TopicSpec(outputs.scores.topic, widest, compacted=False))


def prepare_models_topic(config: Config, broker: Broker) -> None:
    """Create or check the topic of models. Raises BrokerUnavailable, TopicMismatch."""
    broker.ensure(TopicSpec(config.outputs.models.topic, 1, compacted=True, config=LARGE_MESSAGES))


def loop_settings(config: Config) -> LoopSettings:
    """Return what the loop needs of the configuration."""
    scores = config.outputs.scores
    return LoopSettings(
        records_max=config.input.records_max,
        poll_seconds=config.input.poll_seconds,
        flush_seconds=config.state.flush_seconds,
        state_topic=config.state.topic,
        alerts_topic=config.outputs.alerts.topic,
        dead_letters_topic=config.outputs.dead_letters.topic,
        dead_letter_bytes_max=config.outputs.dead_letters.value_bytes_max,
        scores_topic=None if scores.keep == "none" else scores.topic,
        scores_floor=scores.floor if scores.keep == "notable" else None,
        layouts=layouts(config),
    )


def schedules(config: Config) -> dict[str, Schedule]:
    """Return when each group that learns is trained."""
    return {
        each.name: Schedule(each.training.min_samples, each.training.repeat_hours * 3600.0)
        for each in config.groups
        if each.training.enabled
    }
