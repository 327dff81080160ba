"""From the configuration to the parts: each function turns one section into what a part needs. Nothing is started."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from daemon.alert_events import Group
from daemon.config import Config, FeedConfig, GroupConfig
from daemon.config.kinds import path_of
from daemon.engine import layout
from daemon.errors import BrokerUnavailable, ConfigError
from daemon.formats import FieldPaths, Format, Options, decoder
from daemon.formats.packed import PackedFormat
from daemon.formats.point import Kind
from daemon.homes import Homes
from daemon.inflow import TurnLimits
from daemon.intake import Intake, Limits
from daemon.intakes import ByTopic, Intakes
from daemon.kafka import ConnectionSettings, broker_class, check_codecs
from daemon.kafka.client import Security
from daemon.labelling import Labelling, Labels
from daemon.learning import Schedule
from daemon.loop import LoopSettings
from daemon.model_topic import Keep
from daemon.ports import Broker
from daemon.recipe import Recipe
from daemon.state import GroupLayout
from daemon.types import TopicSpec
from daemon.wanted import Wanted
from detectors import device
from detectors.drift import DriftLimits
from detectors.scoring import Detector

STATE_MESSAGE_BYTES_MAX = 16_000_000
READING_SECONDS_MAX = 1800.0  # what a training child may take for all but the training
OUTPUT_BYTES_MAX = 1_000_000  # of an alert, and of a record of scores: what a broker takes by default
LETTER_HEAD_BYTES_MAX = 16_384  # of a dead letter without its value
ANY_TIME_MS = 2**62  # ahead of whatever
STAGES_POLL_SECONDS = 0.05  # each of two stages waits for its input while the other one's may come
LARGE_MESSAGES = {"max.message.bytes": str(STATE_MESSAGE_BYTES_MAX)}


def connected(config: Config) -> Broker:
    """Return the door to the configured cluster. Raises ConfigError when a package is missing to read what is there."""
    check_codecs()
    return broker_class(config.kafka.client)(connection(config))


def check_devices(config: Config) -> None:
    """Raise ConfigError naming the groups whose device is not in this machine."""
    problems = []
    for number, each in enumerate(config.groups):
        try:
            device.found(each.device)
        except device.DeviceMissing as error:
            problems.append(f"groups[{number}].{error}")
    if problems:
        raise ConfigError(problems)


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
            ca_file=path_of(security.ca_file),
            cert_file=path_of(security.cert_file),
            key_file=path_of(security.key_file),
            key_password=security.key_password.reveal() if security.key_password else None,
            check_hostname=security.check_hostname,
            sasl_mechanism=security.sasl_mechanism,
            username=security.username,
            password=security.password.reveal() if security.password else None,
            token_file=path_of(security.token_file),
        ),
    )


def identity(config: Config) -> str:
    """Return this member's transactional identity: lasting with static membership, else one of this process."""
    member = config.kafka.instance_id or f"{os.uname().nodename}-{os.getpid()}-{time.time_ns()}"
    return f"{config.kafka.group_id}-{member}"


def of_worker(config: Config, worker: int) -> Config:
    """Return the settings of one of several workers: a member with a name of its own, and pages for its supervisor."""
    kafka = config.kafka
    named = kafka.model_copy(update={"instance_id": kafka.instance_id and f"{kafka.instance_id}-{worker}"})
    plain = {"listen": "127.0.0.1:0", "cert_file": None, "key_file": None}
    return config.model_copy(update={"kafka": named, "server": config.server.model_copy(update=plain)})


def group(config: GroupConfig, detector: Detector, checksum: str = "", evidence_bytes_max: int = 0) -> Group:
    """Return a group as the step needs it."""
    return Group(config.name, detector, config.alert.severity, checksum, evidence_bytes_max, config.calendar())


def layouts(config: Config) -> dict[str, GroupLayout]:
    """Return how the rows of each group lie in memory."""
    made = recipes(config)
    return {
        each.name: GroupLayout(
            dtype=layout(each.detector(), made[each.name].fields() if each.name in made else ()),
            streams_max=each.max_streams,
            evict_after_ms=int(each.evict_after_seconds * 1000),
            owner=config.kafka.group_id,
            tenants=each.tenants.tenants() if each.tenants else None,
        )
        for each in config.groups
    }


def intake(config: Config) -> Intakes:
    """Return what turns records into samples, topic by topic."""
    if config.input.repartition:
        return Intakes([(config.wanted(), _second_intake(config))])
    return Intakes([(Wanted.of(feed.topics), _intake(config, feed)) for feed in config.input.every_feed()])


def homes(config: Config) -> ByTopic[Homes]:
    """Return what finds the home of every reading, topic by topic, for the first stage of a repartitioned input."""
    return ByTopic([(Wanted.of(feed.topics), _homes(config, feed)) for feed in config.input.every_feed()])


def topics(config: Config, broker: Broker) -> tuple[str, ...]:
    """Return the topics that are scored, as the cluster stands now. Raises BrokerUnavailable."""
    return _among(config.wanted(), broker)


def _among(wanted: Wanted, broker: Broker) -> tuple[str, ...]:
    return wanted.among(broker.topics()) if wanted.patterns else wanted.named


def _intake(config: Config, feed: FeedConfig) -> Intake:
    labels = _labels(config, feed.labels)
    return Intake(_format(feed), _selections(config), _limits(config), _kinds(config, feed), labels, recipes(config))


def _second_intake(config: Config) -> Intake:
    """Return what takes points as the first stage wrote them: it has refused what is refused, and added the labels."""
    limits = Limits(STATE_MESSAGE_BYTES_MAX, ANY_TIME_MS)
    kinds = _kinds(config, config.input.every_feed()[0])  # all feeds tell the same
    return Intake(PackedFormat(), _selections(config), limits, kinds, _labels(config, {}), recipes(config))


def _homes(config: Config, feed: FeedConfig) -> Homes:
    labels = _labels(config, feed.labels)
    return Homes(_format(feed), _selections(config), _limits(config), labels, recipes(config))


def _limits(config: Config) -> Limits:
    return Limits(config.input.record_bytes_max, int(config.input.future_seconds_max * 1000))


def _kinds(config: Config, feed: FeedConfig) -> dict[str, Kind]:
    told = {each.name: feed.values if each.values == "auto" else each.values for each in config.groups}
    return {name: kind for name, kind in told.items() if kind != "auto"}


def _labels(config: Config, always: Mapping[str, str]) -> Labels:
    keys = {each.name: Labelling(dict(each.rename), tuple(each.by), tuple(each.drop)) for each in config.groups}
    return Labels(dict(always), keys)


def _selections(config: Config) -> list[Selection]:
    return [Selection(each) for each in config.groups]


def recipes(config: Config) -> dict[str, Recipe]:
    """Return what the samples are made of in each group where they are not what stands in a record."""
    return {each.name: found for each in config.groups if (found := each.recipe()) is not None}


def _format(told: FeedConfig) -> Format:
    paths = FieldPaths(**told.fields.model_dump())
    options = Options(told.timestamp_unit, told.timestamp_source, paths, told.compression)
    return decoder(told.format, options, told.envelope)


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
    missing = [topic for topic in config.read_from().named if broker.partitions(topic) is None]
    if missing:
        raise BrokerUnavailable(f"input topic {', '.join(missing)} does not exist yet: waiting for it")
    prepare_own_topics(config, broker)


def prepare_own_topics(config: Config, broker: Broker) -> None:
    """Create what is missing of the topics that the daemon writes, check the rest, and let grow what may.

    State and scores lie in the partition of their input; alerts and dead letters go by their key, in which other
    partitions would change the order, so that they stay as wide as they were made.
    Raises BrokerUnavailable, TopicMismatch.
    """
    outputs, widest = config.outputs, _widest(config.read_from(), broker)
    if config.input.repartition:
        # readings go by their stream, which in other partitions would begin anew: it stays as wide as it was made
        widest = broker.partitions(config.input.repartition_topic) or widest
        between = TopicSpec(config.input.repartition_topic, widest, compacted=False, config=LARGE_MESSAGES)
        broker.ensure(between)
    state = {**LARGE_MESSAGES, "min.cleanable.dirty.ratio": "0.1", "segment.ms": "600000"}
    broker.ensure(TopicSpec(config.state.topic, widest, compacted=True, config=state, growable=True))
    prepare_models_topic(config, broker)
    # a message that its topic never takes would stop every turn for ever
    letters = max(OUTPUT_BYTES_MAX, outputs.dead_letters.value_bytes_max + LETTER_HEAD_BYTES_MAX)
    for topic, room in ((outputs.alerts.topic, OUTPUT_BYTES_MAX), (outputs.dead_letters.topic, letters)):
        count = broker.partitions(topic) or widest
        broker.ensure(TopicSpec(topic, count, compacted=False, config={"max.message.bytes": str(room)}))
    if outputs.scores.keep != "none":
        scores = {"max.message.bytes": str(OUTPUT_BYTES_MAX)}
        broker.ensure(TopicSpec(outputs.scores.topic, widest, compacted=False, config=scores, growable=True))


def _widest(wanted: Wanted, broker: Broker) -> int:
    return max((broker.partitions(topic) or 1 for topic in _among(wanted, broker)), default=1)


def prepare_models_topic(config: Config, broker: Broker) -> None:
    """Create or check the topic of models. Raises BrokerUnavailable, TopicMismatch."""
    broker.ensure(TopicSpec(config.outputs.models.topic, 1, compacted=True, config=LARGE_MESSAGES))


def loop_settings(config: Config) -> LoopSettings:
    """Return what the loop needs of the configuration."""
    scores, told = config.outputs.scores, config.input
    return LoopSettings(
        limits=TurnLimits(told.records_max, told.turn_bytes_max, told.turn_seconds, poll_seconds(config)),
        flush_seconds=config.state.flush_seconds,
        state_topic=config.state.topic,
        alerts_topic=config.outputs.alerts.topic,
        dead_letters_topic=config.outputs.dead_letters.topic,
        dead_letter_bytes_max=config.outputs.dead_letters.value_bytes_max,
        scores_topic=None if scores.keep == "none" else scores.topic,
        scores_floor=scores.floor if scores.keep == "notable" else None,
        layouts=layouts(config),
        rejected_run_max=config.input.rejected_run_max,
    )


def poll_seconds(config: Config) -> float:
    """Return how long a turn waits for its input: not long where that of another stage may come."""
    told = config.input
    return min(told.poll_seconds, STAGES_POLL_SECONDS) if told.repartition else told.poll_seconds


def schedules(config: Config) -> dict[str, Schedule]:
    """Return when each group that learns is trained; once where its streams then go on learning by themselves."""
    return {
        each.name: Schedule(
            min_samples=each.training.min_samples,
            repeat_seconds=each.training.repeat_hours * 3600.0 if each.learning == "background" else 0.0,
            child_seconds_max=2.0 * each.training.seconds_max + READING_SECONDS_MAX,
            repeat_samples=each.training.repeat_samples if each.learning == "background" else 0,
            apart_seconds=each.training.apart_hours * 3600.0,
        )
        for each in config.groups
        if each.learning != "frozen"
    }


def drift_limits(config: Config) -> dict[str, DriftLimits]:
    """Return from where on each group has drifted; where weights follow their streams nothing is trained for that."""
    return {each.name: each.drift.limits() for each in config.groups if each.learning != "continual"}


def kept_models(config: Config) -> Keep:
    """Return how many models of each group stay in their topic."""
    return Keep(config.outputs.models.promoted_max, config.outputs.models.refused_max)
