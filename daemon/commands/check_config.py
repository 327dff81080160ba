"""`longwatch check-config`: says everything that is wrong with a configuration, or what it will do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

from daemon import assembly
from daemon.config import Config, GroupConfig, ReceiverConfig, load
from daemon.config.scopes import row_bytes
from daemon.deliveries import reached
from daemon.errors import ConfigError, DaemonError, TopicMismatch
from daemon.ports import Broker
from daemon.types import TopicPartition, TopicSpec
from daemon.wanted import Wanted

EXIT_OK = 0
EXIT_CONFIG = 78  # sysexits' EX_CONFIG: a supervisor should not try again


def check_config(path: Path, connect: Callable[[Config], Broker] | None, env: Mapping[str, str], out: TextIO) -> int:
    """Write to `out` every problem of the file, or what it sets up; return the exit code, 0 or 78.

    With `connect`, which opens the broker that a configuration names, also say of each topic whether it will do.
    """
    try:
        config = load(path, env)
        assembly.check_devices(config)
    except ConfigError as error:
        _write(out, error.problems)
        return EXIT_CONFIG
    problems = [] if connect is None else _online(config, connect, out)
    if problems:
        _write(out, [f"{path}: {problem}" for problem in problems])
        return EXIT_CONFIG
    _write(out, [f"{path}: ok", *_summary(config)])
    return EXIT_OK


def _write(out: TextIO, lines: list[str]) -> None:
    out.writelines(f"{line}\n" for line in lines)


def _summary(config: Config) -> Iterator[str]:
    kafka, security = config.kafka, config.kafka.security
    identity = "" if security.username is None else f" as {security.username}, password {security.password}"
    yield f"  kafka     {', '.join(kafka.bootstrap_servers)} ({security.protocol}{identity}), group {kafka.group_id}"
    for feed in config.input.every_feed():
        yield f"  input     {', '.join(feed.topics)} ({feed.format})"
    if config.input.repartition:
        yield f"  between   {config.input.repartition_topic}, written anew by stream"
    yield from (f"  group     {_described(config.maintained(group))}" for group in config.groups)
    yield f"  state     {config.state.topic}, every {config.state.flush_seconds:g} s"
    outputs = config.outputs
    yield f"  alerts    {outputs.alerts.topic}"
    yield from (f"  told      {_receiver(each)}" for each in outputs.receivers)
    yield f"  scores    {outputs.scores.topic} ({outputs.scores.keep})"
    yield f"  rejected  {outputs.dead_letters.topic}"
    yield f"  models    {outputs.models.topic}"
    yield f"  server    {f'{config.server.listen} ({config.server.protection()})' if config.server.listen else 'off'}"
    yield f"  checksum  {config.checksum()}"


def _receiver(told: ReceiverConfig) -> str:
    kind = "a webhook" if told.webhook else f"Alertmanager at {', '.join(told.alertmanager)}"
    chosen = ", ".join(str(each) for each in told.match) or "every alert"
    return f"{told.name}: {kind}; {chosen}"


def _described(group: GroupConfig) -> str:
    chosen = ", ".join(str(each) for each in group.select) or "every stream"
    channels = ", ".join(group.channels) or "each field by itself"
    threshold = " ".join(f"{value}" for value in group.threshold.model_dump().values())
    if group.join is not None:
        channels += f" (joined by {group.join.channel})"
    parts = [f"{group.name}: {chosen}", channels, f"threshold {threshold}", f"severity {group.alert.severity}"]
    if group.maintenance:
        parts.append(f"windows of maintenance: {len(group.maintenance)}")
    if group.guard:
        parts.append(f"guards on {', '.join(group.guard)}")
    if group.model.scope == "stream":
        each = row_bytes(group)
        most = each * group.max_streams / 1e9
        parts.append(f"own weights, {each} bytes a stream ({most:.3g} GB for max_streams in a partition)")
    return "; ".join(parts)


def _online(config: Config, connect: Callable[[Config], Broker], out: TextIO) -> list[str]:
    """Write one line a topic and return what stands in the way."""
    try:
        broker = connect(config)
    except (DaemonError, LookupError, OSError) as error:
        return [_unreachable(config, error)]
    try:
        widest, problems = _check_inputs(config, broker, out)
        problems += _check_own_topics(config, broker, widest, out)
        _write(out, [f"  receiver  {line}" for line in reached(config)])
    except (DaemonError, LookupError, OSError) as error:
        return [_unreachable(config, error)]
    else:
        return problems
    finally:
        broker.close()


def _unreachable(config: Config, error: Exception) -> str:
    if isinstance(error, ConfigError):
        return "; ".join(error.problems)
    servers = ", ".join(config.kafka.bootstrap_servers)
    return f"kafka.bootstrap_servers: no broker answered at {servers} ({error}); check the address and kafka.security"


def _check_inputs(config: Config, broker: Broker, out: TextIO) -> tuple[int, list[str]]:
    widest, problems, wanted = 0, [], config.read_from()
    paths = {
        topic: f"input.feeds[{number}].topics[{index}]" if config.input.feeds else f"input.topics[{index}]"
        for number, feed in enumerate(config.input.every_feed())
        for index, topic in enumerate(feed.topics)
    }
    there = broker.topics() if wanted.patterns else ()
    for pattern in wanted.patterns:
        if Wanted((), (pattern,), wanted.ours).among(there):
            continue
        problems.append(f"{paths[pattern]}: no topic matches {pattern}; create one, or correct the pattern")
    for topic in wanted.among(there):
        path = paths.get(topic, "input")
        count = broker.partitions(topic)
        if count is None:
            problems.append(f"{path}: the topic {topic} does not exist; create it, or correct the name")
            continue
        widest = max(widest, count)
        bounds = [broker.bounds(TopicPartition(topic, partition)) for partition in range(count)]
        held = sum(each.end - each.first for each in bounds)
        _write(out, [f"  topic     {topic}: {_partitions(count)}, about {held} records"])
    return widest, problems


def _check_own_topics(config: Config, broker: Broker, widest: int, out: TextIO) -> list[str]:
    problems = []
    if config.input.repartition:
        widest = broker.partitions(config.input.repartition_topic) or widest
    for path, name, compacted in _own_topics(config):
        count = broker.partitions(name)
        if count is None:
            _write(out, [f"  topic     {name}: does not exist yet, the daemon creates it"])
            continue
        problems += [f"{path}: {why}" for why in _faults(broker, TopicSpec(name, count, compacted))]
        grows = path in ("state.topic", "outputs.scores.topic") and count < widest
        more = f", the daemon gives it {widest}, as the input has" if grows else ""
        _write(out, [f"  topic     {name}: {_partitions(count)}{more}"])
    return problems


def _own_topics(config: Config) -> Iterator[tuple[str, str, bool]]:
    if config.input.repartition:
        yield "input.repartition_topic", config.input.repartition_topic, False
    yield "state.topic", config.state.topic, True
    yield "outputs.models.topic", config.outputs.models.topic, True
    yield "outputs.alerts.topic", config.outputs.alerts.topic, False
    yield "outputs.dead_letters.topic", config.outputs.dead_letters.topic, False
    if config.outputs.scores.keep != "none":
        yield "outputs.scores.topic", config.outputs.scores.topic, False


def _faults(broker: Broker, spec: TopicSpec) -> list[str]:
    # The topic exists with this many partitions, so that `ensure` only compares and creates nothing.
    try:
        broker.ensure(spec)
    except TopicMismatch as error:
        return [str(error)]
    return []


def _partitions(count: int) -> str:
    return f"{count} partition" + ("" if count == 1 else "s")
