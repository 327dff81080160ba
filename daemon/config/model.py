"""Every setting of the daemon: its key, its default and what it means. The reference is generated from this file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from daemon.config.groups import GroupConfig
from daemon.config.kinds import (
    FieldPath,
    FieldPaths,
    FormatName,
    LabelValue,
    Name,
    Seconds,
    Section,
    Servers,
    Topic,
    Topics,
    Values,
    expected,
    labels_named,
)
from daemon.config.maintenance import Windows
from daemon.config.receivers import Receivers, Url
from daemon.config.security import SecurityConfig
from daemon.config.server import ServerConfig
from daemon.formats.options import Compression, Envelope, TimestampSource, TimestampUnit
from daemon.wanted import Wanted


class KafkaConfig(Section):
    """How to reach Kafka, and as whom to read."""

    client: Literal["kafka-python", "librdkafka"] = "kafka-python"
    """What carries the records: `librdkafka` is another library for it, and needs `longwatch[librdkafka]`."""
    bootstrap_servers: Servers = ("localhost:9092",)
    """Brokers to ask first, host:port: a list, or one comma-separated text."""
    client_id: Name = "longwatch"
    """What the daemon calls itself in the brokers' logs and quotas."""
    group_id: Name = "longwatch"
    """The consumer group whose members share the input."""
    instance_id: Name | None = None
    """A member's lasting name (static membership), so that a restart moves no partitions; in Kubernetes ${HOSTNAME}."""
    session_timeout_seconds: float = Field(default=45.0, ge=1, le=1800)
    """A member that is not heard of for so long loses its partitions; longer than a restart takes."""
    transaction_timeout_seconds: float = Field(default=30.0, ge=1, le=900)
    """How long a turn's transaction may stay open before the broker aborts it."""
    security: SecurityConfig = SecurityConfig()
    """Encryption and identity; without it, the connection is plain."""


class FieldsConfig(Section):
    """Where the parts of a `json` record stand: names, or dotted paths."""

    timestamp: FieldPath = "timestamp"
    """The event time."""
    name: FieldPath = "name"
    """The metric's name; it becomes the label `name`."""
    labels: FieldPaths = "labels"
    """A map of labels; or the path of each by its name: `{host: meta.host}`."""
    value: FieldPath = "value"
    """The one value of a record that carries one."""
    values: FieldPaths = "values"
    """A map of values of a record that carries many; or the path of each by its name: `{load1: stats.load.0}`."""

    @field_validator("*")
    @classmethod
    def _stands_alone(cls, value: str, info: ValidationInfo) -> str:
        twin = next((name for name, other in info.data.items() if other == value), None)
        if twin is not None:
            raise expected(f"another place than that of {twin}")
        return value


class FeedConfig(Section):
    """Topics whose records are understood in one way."""

    topics: Topics = ("metrics",)
    """The topics to read. What begins with `^` is a regular expression of the whole name: topics that match are read
    as they appear, those that the daemon writes and Kafka's own (`__`) aside. A topic that several feeds could read is
    that of the one that names it, else of the first that matches."""
    format: FormatName = "json"
    """How the records are written; it is never guessed. docs/formats.md has a section on each."""
    envelope: Envelope = "none"
    """What the records are wrapped in: `cloudevents` is the structured mode; the binary mode needs nothing here."""
    fields: FieldsConfig = FieldsConfig()
    """Where the parts of a record stand; only with the format `json`."""
    compression: Compression = "snappy"
    """How the format prometheus_remote_write is packed inside the record, whatever Kafka itself compresses."""
    timestamp_unit: TimestampUnit = "auto"
    """The unit of numeric time stamps where the format does not fix it; `auto` tells it by their size."""
    timestamp_source: TimestampSource = "payload"
    """Whose time a sample has: what the payload says (where it says nothing, the record's), or always the record's."""
    values: Values = "auto"
    """What the values are where the group that takes them leaves it at `auto`."""
    labels: Mapping[str, LabelValue] = {}
    """Labels that every stream gets, in the place of its own of that name; groups can select by them."""

    @field_validator("fields", mode="before")
    @classmethod
    def _belongs_to_json(cls, value: object, info: ValidationInfo) -> object:
        # A default arrives as an instance, what the file says as a mapping.
        if isinstance(value, dict) and info.data.get("format", "json") != "json":
            raise expected(f"format json with it, not {info.data['format']}")
        return value

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        return labels_named(value)


class InputConfig(FeedConfig):
    """What is read, and how a record is understood."""

    feeds: Annotated[tuple[FeedConfig, ...], Field(strict=False, max_length=1000)] = ()
    """Where topics differ in their format: what is said of each, in the place of the keys above."""
    records_max: int = Field(default=20_000, ge=1, le=1_000_000)
    """Records that one turn takes at most, where there is lag; without any a turn takes what has come."""
    turn_seconds: float = Field(default=0.5, ge=0.001, le=60)
    """How long a turn should last where there is lag: what it takes is fitted to that, up to `records_max`."""
    turn_bytes_max: int = Field(default=8 * 1024 * 1024, ge=1, le=1024 * 1024 * 1024)
    """Bytes of records that one turn takes at most; what was read beyond waits, and its partition is paused."""
    poll_seconds: float = Field(default=0.5, gt=0, le=60)
    """How long a turn waits for the first record."""
    record_bytes_max: int = Field(default=256 * 1024, ge=1, le=64 * 1024 * 1024)
    """Larger records are dead letters."""
    future_seconds_max: float = Field(default=300.0, ge=0, le=366 * 86400)
    """A time stamp further ahead of the record's own Kafka time is refused."""
    discover_seconds: float = Field(default=30.0, ge=1, le=86400)
    """How often is looked for topics that match a pattern and are not read yet."""
    rejected_run_max: int = Field(default=0, ge=0, le=1_000_000_000)
    """So many records of a partition in a row that cannot be used end the daemon; 0: it goes on with dead letters."""
    repartition: bool = False
    """For records without a key, or of many streams: all of them are written anew first, each reading to the partition
    where its stream lives, exactly once and in order, and scored from there."""
    repartition_wait_seconds: float = Field(default=0.2, ge=0, le=300)
    """How long a reading waits for older ones of partitions that are at their end; those that come later still count as
    late. More where producers write to their partitions at different times."""
    repartition_topic: Topic = "longwatch-input"
    """The topic that they are written to; made with as many partitions as the widest input topic, and then left so."""

    def every_feed(self) -> tuple[FeedConfig, ...]:
        """Return what is said of the topics: the feeds, or the one feed that the section itself is."""
        return self.feeds or (self,)

    def every_topic(self) -> tuple[str, ...]:
        """Return all topics and patterns in their order."""
        return tuple(topic for feed in self.every_feed() for topic in feed.topics)


class StateConfig(Section):
    """Where what is remembered of the streams survives a restart."""

    topic: Topic = "longwatch-state"
    """The compacted topic of state pages."""
    flush_seconds: Seconds = 30.0
    """How often changed pages are written; more often makes a restart shorter and the topic busier."""
    restore_seconds_max: Seconds = 600.0
    """A restore that gets no further for so long is given up, so that a supervisor sees it."""


class AlertsOutputConfig(Section):
    """Opened, updated and closed alerts."""

    topic: Topic = "longwatch-alerts"
    """The topic of alert events."""
    evidence_bytes_max: int = Field(default=32 * 1024, ge=0, le=256 * 1024)
    """What an opened alert's score rests on stands in its event, for `longwatch explain`, as long as it takes no more;
    about 1 KiB for one channel, 1.4 KiB for eight. 0 leaves it out."""


class ScoresOutputConfig(Section):
    """Scores of single samples."""

    topic: Topic = "longwatch-scores"
    """The topic of scores."""
    keep: Literal["none", "notable", "all"] = "notable"
    """Which scores are written: none, those at or above `floor`, or all."""
    floor: float = Field(default=0.5, ge=0, le=1000)
    """The score from which a sample is notable; 1.0 is the threshold."""


class DeadLettersOutputConfig(Section):
    """Records that could not be used."""

    topic: Topic = "longwatch-dead-letters"
    """The topic of records that could not be used, with the reason in their headers."""
    value_bytes_max: int = Field(default=64 * 1024, ge=0, le=64 * 1024 * 1024)
    """So much of such a record's value is kept."""


class ModelsOutputConfig(Section):
    """Trained models."""

    topic: Topic = "longwatch-models"
    """The compacted topic through which all members get the same models."""
    promoted_max: int = Field(default=5, ge=2, le=100)
    """Models of each group that stay there to go back to, the current one among them."""
    refused_max: int = Field(default=3, ge=1, le=100)
    """Refused candidates of each group that stay there to be looked at."""


class OutputsConfig(Section):
    """What is written."""

    alerts: AlertsOutputConfig = AlertsOutputConfig()
    """Opened, updated and closed alerts."""
    scores: ScoresOutputConfig = ScoresOutputConfig()
    """Scores of single samples."""
    dead_letters: DeadLettersOutputConfig = DeadLettersOutputConfig()
    """Records that could not be used."""
    models: ModelsOutputConfig = ModelsOutputConfig()
    """Trained models."""
    receivers: Receivers = ()
    """Who else is told of alerts: Alertmanagers and webhooks; docs/receivers.md says more."""
    pages_url: Url | None = None
    """Where people reach the daemon's pages; notices of alerts then link to their stream."""
    replication: int = Field(default=1, ge=1, le=100)
    """Copies of each topic that the daemon creates; 3 in production."""


class LoggingConfig(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines that are written."""
    format: Literal["auto", "json", "text"] = "auto"
    """How lines are written; `auto` is text on a terminal and JSON elsewhere."""


class Config(Section):
    """All of it."""

    kafka: KafkaConfig = KafkaConfig()
    """How to reach Kafka, and as whom to read."""
    input: InputConfig = InputConfig()
    """What is read, and how a record is understood."""
    groups: Annotated[tuple[GroupConfig, ...], Field(strict=False, min_length=1, max_length=1000)] = (
        GroupConfig(name="default"),
    )
    """The groups of streams, in the order in which they are asked."""
    maintenance: Windows = ()
    """When the alerts of all groups keep quiet and nothing is learnt; a group may have further windows of its own."""
    state: StateConfig = StateConfig()
    """Where what is remembered of the streams survives a restart."""
    outputs: OutputsConfig = OutputsConfig()
    """What is written, and where."""
    server: ServerConfig = ServerConfig()
    """The daemon's own pages: metrics and health."""
    logging: LoggingConfig = LoggingConfig()
    """What is logged, and how."""
    shutdown_seconds: float = Field(default=20.0, ge=0, le=3600)
    """How long a stop may take to finish the turn and write the state."""
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = 1
    """Processes that share the input as members of the group, under one command; `auto`: one for each core."""
    threads: int = Field(default=1, ge=1, le=256)
    """Threads that the arithmetic may use; more than one rarely helps models of this size."""

    def wanted(self) -> Wanted:
        """Return which topics are scored, and which are our own."""
        return Wanted.of((self.input.repartition_topic,), self._ours()) if self.input.repartition else self.read_from()

    def read_from(self) -> Wanted:
        """Return which topics the producers write, and which are our own."""
        return Wanted.of(self.input.every_topic(), self._ours())

    def _ours(self) -> tuple[str, ...]:
        outputs = self.outputs
        written = (outputs.alerts, outputs.scores, outputs.dead_letters, outputs.models)
        between = (self.input.repartition_topic,) if self.input.repartition else ()
        return (self.state.topic, *(each.topic for each in written), *between)

    def maintained(self, group: GroupConfig) -> GroupConfig:
        """Return the group with the windows of all groups before its own."""
        return group.model_copy(update={"maintenance": (*self.maintenance, *group.maintenance)})

    def checksum(self) -> str:
        """Return the SHA-256, in hex, of the settings; secrets do not enter it."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
