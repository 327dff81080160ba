"""`longwatch train`: learn a group's model from a topic's history or from files, and publish or keep it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

import msgspec
import numpy as np

from daemon import __version__, assembly, covered, learning
from daemon.commands.made import made, told
from daemon.commands.saves import Saves, write
from daemon.commands.voices import Child, Person, Voice
from daemon.config import Config, GroupConfig, load
from daemon.errors import BrokerUnavailable, ConfigError, TopicMismatch
from daemon.events import Cause, TrainingOutcome
from daemon.history import Gathered, Gatherer, Span, joined
from daemon.model_topic import Shelf
from daemon.models import LiveModel
from daemon.plots import PlotsMissing
from daemon.ports import Broker
from daemon.promotion import Topic, incumbent, overtaken, publish
from daemon.tables import TableError, read
from daemon.trial import noticed, tried
from daemon.types import TopicPartition
from detectors.artefact import Artefact, Lineage, dumps, model_id
from detectors.network import Network, use_threads
from detectors.progress import thinned
from detectors.scoring import Detector
from detectors.settings import DetectorSettings
from detectors.train import StreamHistory, TooLittleHistory, Trained
from detectors.train import train as learn
from detectors.verdict import Verdict

EXIT_CONFIG = 78

_Ended = tuple[TrainingOutcome, str]


@dataclass(frozen=True, slots=True)
class TrainArguments:
    """What the command line said."""

    config: Path
    group: str | None = None
    files: tuple[Path, ...] = ()
    output: Path | None = None
    first_offset: int | None = None
    end_offset: int | None = None
    saves: Saves = field(default_factory=Saves)
    child: bool = False
    cause: Cause = "operator"


@dataclass(frozen=True, slots=True)
class Given:
    """What there is to learn from: the histories as they were, and with what must not be learnt missing."""

    gathered: Gathered
    learnable: list[StreamHistory]


def train(arguments: TrainArguments, env: Mapping[str, str], out: TextIO, err: TextIO) -> int:
    """Train as the arguments say and return the exit code: 0, 1 when nothing could be learnt, 78."""
    started = time.monotonic()
    try:
        config = load(arguments.config, env)
        assembly.check_devices(config)
        group = config.maintained(_chosen(config, arguments.group))
    except ConfigError as error:
        err.writelines(f"{problem}\n" for problem in error.problems)
        return EXIT_CONFIG
    voice = Child(out) if arguments.child else Person(err)
    if arguments.child:
        learning.become_child()
    use_threads(config.threads)
    try:
        done = _connected(config, group, arguments, voice)
    except TooLittleHistory as error:
        return voice.end("too_little_history", str(error), time.monotonic() - started)
    except (TableError, BrokerUnavailable, PlotsMissing, ValueError, OSError) as error:
        return voice.end("failed", str(error), time.monotonic() - started)
    except (ConfigError, TopicMismatch) as error:
        voice.end("failed", str(error), time.monotonic() - started)
        return EXIT_CONFIG
    return voice.end(*done, time.monotonic() - started)


def _chosen(config: Config, name: str | None) -> GroupConfig:
    for group in config.groups:
        if name in (None, group.name):
            return group
    raise ConfigError([f"--group {name}: no such group; there are {', '.join(each.name for each in config.groups)}"])


def _connected(config: Config, group: GroupConfig, arguments: TrainArguments, voice: Voice) -> _Ended:
    if arguments.files and arguments.output is not None:
        return trained(config, group, arguments, voice, None)
    with closing(assembly.connected(config)) as broker:
        return trained(config, group, arguments, voice, broker)


def trained(
    config: Config, group: GroupConfig, arguments: TrainArguments, voice: Voice, broker: Broker | None
) -> tuple[TrainingOutcome, str]:
    """Gather, learn, try, and put the artefact where it belongs; return how it ended, and in words.

    Raises TooLittleHistory, TableError, BrokerUnavailable, OSError and TopicMismatch. Without a `broker` the input is
    files, and day zero's detector what the candidate is measured against.
    """
    settings = group.detector()
    arguments.saves.draw(group, ())  # see that it can be drawn before anybody waits for it
    topic = _models_topic(config, group, broker)
    shelf = topic.read() if topic else Shelf()
    if arguments.files or broker is None:
        given = from_files(group, arguments.files)
    else:
        given = from_topics(config, group, broker, arguments, voice)
    learnt = learn(settings, given.learnable, voice.epoch, arguments.saves.saving())
    arguments.saves.draw(group, learnt.fitted.report.curves)
    verdict = _verdict(group, given.gathered.histories, learnt, incumbent(shelf, settings))
    if topic is None or arguments.output is not None:
        data = dumps(_artefact(group, given, learnt, _Judged(verdict, shelf, arguments.cause)))
        return _kept(data, arguments.output or Path(), group)
    assembly.prepare_models_topic(config, topic.broker)
    now = topic.read()
    verdict = overtaken(shelf, now, verdict)
    judged = _Judged(verdict, shelf, arguments.cause)
    data = dumps(_artefact(group, given, learnt, judged))
    publish(topic, now, data, verdict, (arguments.cause, judged.at_ms))
    return _told(topic, arguments.config, data, verdict)


def _models_topic(config: Config, group: GroupConfig, broker: Broker | None) -> Topic | None:
    if broker is None:
        return None
    return Topic(broker, config.outputs.models.topic, group.name, assembly.kept_models(config))


def _verdict(group: GroupConfig, histories: Sequence[StreamHistory], trained: Trained, against: LiveModel) -> Verdict:
    settings = group.detector()
    detector = Detector(settings, Network.of(trained.fitted.weights, settings), "candidate")
    candidate = LiveModel(detector, trained.calibration, trained.samples)
    return tried(assembly.group(group, detector), candidate, against, histories, group.trial.limits())


@dataclass(frozen=True, slots=True)
class _Judged:
    """A verdict, and what else the manifest says of how a candidate came about."""

    verdict: Verdict
    shelf: Shelf  # as it was when the training began
    cause: Cause
    at_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)


def _artefact(group: GroupConfig, given: Given, trained: Trained, judged: _Judged) -> Artefact:
    settings = group.detector()
    return Artefact(
        model=settings.model,
        channels=settings.channels,
        weights=trained.fitted.weights,
        calibration=trained.calibration,
        lineage=_lineage(group.name, settings, given.gathered, trained, judged),
    )


def _lineage(group: str, settings: DetectorSettings, gathered: Gathered, trained: Trained, judged: _Judged) -> Lineage:
    times_ms = [each.times_ms for each in gathered.histories]
    return Lineage(
        group=group,
        trained_samples=trained.samples,
        offsets=gathered.offsets,
        created_at_ms=judged.at_ms,
        seed=settings.training.seed,
        losses=trained.fitted.report.validation_losses,
        curves=thinned(trained.fitted.report.curves),
        versions={"longwatch": __version__, **{name: version(name) for name in ("torch", "numpy")}},
        parent=judged.shelf.current.model_id,
        trained_from_ms=min(int(each[0]) for each in times_ms),
        trained_to_ms=max(int(each[-1]) for each in times_ms),
        settings=hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest()[:16],
        cause=judged.cause,
        verdict=judged.verdict,
        promoted_at_ms=judged.at_ms if judged.verdict.passed else 0,
    )


def _kept(data: bytes, output: Path, group: GroupConfig) -> _Ended:
    write(output, data)
    return "published", f"model {model_id(data)} of group {group.name} written to {output}"


def _told(topic: Topic, config: Path, data: bytes, verdict: Verdict) -> _Ended:
    name = model_id(data)
    if not verdict.passed:
        anyway = f"longwatch models promote {config} {name}"
        return "refused", f"model {name} of group {topic.group}: {verdict.why}; to use it all the same: {anyway}"
    why = f" ({verdict.why})" if verdict.why else ""
    return "published", f"model {name} of group {topic.group} published to {topic.name}{why}{_figures(verdict)}"


def _figures(verdict: Verdict) -> str:
    ours, theirs = verdict.candidate, verdict.incumbent
    if ours is None or theirs is None:
        return ""
    return (
        f"; on {verdict.samples} samples of {verdict.streams} streams usual error {ours.error:.3f} (before"
        f" {theirs.error:.3f}), {ours.alerts} alerts ({theirs.alerts}), one score in a hundred above"
        f" {ours.score_high:.2f} ({theirs.score_high:.2f}), {noticed(ours):.0%} of {verdict.canaries} canaries noticed"
        f" ({noticed(theirs):.0%})"
    )


def from_topics(config: Config, group: GroupConfig, broker: Broker, arguments: TrainArguments, voice: Voice) -> Given:
    """Read the newest history of every partition of the input, and what alerts and maintenance covered of it.

    Raises BrokerUnavailable.
    """
    partitions = [
        TopicPartition(topic, number)
        for topic in assembly.topics(config, broker)
        for number in range(broker.partitions(topic) or 0)
    ]
    gatherer = Gatherer(assembly.intake(config), group.name, assembly.layouts(config)[group.name])
    share = max(group.training.history_samples_max // max(len(partitions), 1), 1)
    span = Span(share, arguments.first_offset, arguments.end_offset)
    found = joined(gatherer.partition(broker, each, span, voice.read) for each in partitions)
    spans = covered.by_alerts(broker, config.outputs.alerts.topic, group.name)
    pairs = zip(found.histories, found.streams, strict=True)
    learnable = [covered.without(history, spans.get(stream, ())) for history, stream in pairs]
    return Given(found, [covered.by_windows(each, group.calendar()) for each in learnable])


def from_files(group: GroupConfig, files: tuple[Path, ...]) -> Given:
    """Read each file as the history of one stream; what its labels or windows of maintenance cover is not learnt."""
    histories, learnable = [], []
    for path in files:
        table = made(group, read(path))
        wanted = group.channels or table.channels[:1]
        missing = [name for name in wanted if name not in table.channels]
        if missing:
            raise TableError(f"{path}: no column {', '.join(missing)}; there are {', '.join(table.channels)}")
        columns = [table.channels.index(name) for name in wanted]
        order = np.argsort(table.times_ms, kind="stable")
        fresh = order[np.r_[True, np.diff(table.times_ms[order]) > 0]]
        known = told(group) if group.channels else None
        histories.append(StreamHistory(table.times_ms[fresh], table.values[fresh][:, columns], known))
        labels = np.zeros(len(fresh), dtype=bool) if table.labels is None else table.labels[fresh]
        learnable.append(covered.by_windows(covered.missing(histories[-1], labels), group.calendar()))
    return Given(Gathered(histories, streams=[path.name for path in files]), learnable)
