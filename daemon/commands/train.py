"""`longwatch train`: learn a group's model from a topic's history or from files, and publish or keep it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

import msgspec
import numpy as np

from daemon import __version__, assembly, learning, models
from daemon.config import Config, GroupConfig, load
from daemon.errors import BrokerUnavailable, ConfigError, TopicMismatch
from daemon.events import TrainingOutcome
from daemon.history import Gathered, Gatherer, Span, joined
from daemon.learning import ChildProgress, ChildReport
from daemon.ports import Broker
from daemon.progress import Bar
from daemon.tables import TableError, read
from daemon.types import TopicPartition
from detectors.artefact import Artefact, Lineage, dumps, model_id
from detectors.fit import Progress
from detectors.network import use_threads
from detectors.settings import DetectorSettings
from detectors.train import StreamHistory, TooLittleHistory, Trained
from detectors.train import train as learn

EXIT_OK, EXIT_FAILED, EXIT_CONFIG = 0, 1, 78
MODELS_KEPT = 3


@dataclass(frozen=True, slots=True)
class TrainArguments:
    """What the command line said."""

    config: Path
    group: str | None = None
    files: tuple[Path, ...] = ()
    output: Path | None = None
    first_offset: int | None = None
    end_offset: int | None = None
    child: bool = False


def train(arguments: TrainArguments, env: Mapping[str, str], out: TextIO, err: TextIO) -> int:
    """Train as the arguments say and return the exit code: 0, 1 when nothing could be learnt, 78."""
    started = time.monotonic()
    try:
        config = load(arguments.config, env)
        group = _chosen(config, arguments.group)
    except ConfigError as error:
        err.writelines(f"{problem}\n" for problem in error.problems)
        return EXIT_CONFIG
    voice = _Child(out, group) if arguments.child else _Person(err)
    if arguments.child:
        learning.become_child()
    use_threads(config.threads)
    try:
        done = _trained(config, group, arguments, voice)
    except TooLittleHistory as error:
        return voice.end("too_little_history", str(error), time.monotonic() - started)
    except (TableError, BrokerUnavailable, ValueError, OSError) as error:
        return voice.end("failed", str(error), time.monotonic() - started)
    except (ConfigError, TopicMismatch) as error:
        voice.end("failed", str(error), time.monotonic() - started)
        return EXIT_CONFIG
    return voice.end("published", done, time.monotonic() - started)


def _chosen(config: Config, name: str | None) -> GroupConfig:
    for group in config.groups:
        if name in (None, group.name):
            return group
    raise ConfigError([f"--group {name}: no such group; there are {', '.join(each.name for each in config.groups)}"])


def _trained(config: Config, group: GroupConfig, arguments: TrainArguments, voice: _Voice) -> str:
    """Gather, learn, and put the artefact where it belongs; return a line that says so."""
    if arguments.files:
        gathered = _from_files(group, arguments.files)
        return _kept(_artefact(group, gathered, voice), arguments.output, config, group, None)
    broker = assembly.connected(config)
    try:
        gathered = _from_topics(config, group, broker, arguments, voice)
        return _kept(_artefact(group, gathered, voice), arguments.output, config, group, broker)
    finally:
        broker.close()


def _artefact(group: GroupConfig, gathered: Gathered, voice: _Voice) -> bytes:
    settings = group.detector()
    trained = learn(settings, gathered.histories, voice.epoch)
    return dumps(
        Artefact(
            model=settings.model,
            channels=settings.channels,
            weights=trained.fitted.weights,
            calibration=trained.calibration,
            lineage=_lineage(group.name, settings, gathered, trained),
        )
    )


def _lineage(group: str, settings: DetectorSettings, gathered: Gathered, trained: Trained) -> Lineage:
    return Lineage(
        group=group,
        trained_samples=trained.samples,
        offsets=gathered.offsets,
        created_at_ms=int(time.time() * 1000),
        seed=settings.training.seed,
        losses=trained.fitted.report.validation_losses,
        versions={"longwatch": __version__, **{name: version(name) for name in ("torch", "numpy")}},
    )


def _kept(data: bytes, output: Path | None, config: Config, group: GroupConfig, broker: Broker | None) -> str:
    if output is not None:
        try:
            output.write_bytes(data)
        except OSError as error:
            raise OSError(f"{output}: cannot be written: {error}") from error
        return f"model {model_id(data)} of group {group.name} written to {output}"
    if broker is not None:
        return _published(data, config, group, broker)
    with closing(assembly.connected(config)) as opened:
        return _published(data, config, group, opened)


def _published(data: bytes, config: Config, group: GroupConfig, broker: Broker) -> str:
    assembly.prepare_models_topic(config, broker)
    retired = models.published(broker, config.outputs.models.topic, group.name)[: -(MODELS_KEPT - 1)]
    broker.publish(models.messages(config.outputs.models.topic, group.name, data, retired))
    return f"model {model_id(data)} of group {group.name} published to {config.outputs.models.topic}"


def _from_topics(
    config: Config, group: GroupConfig, broker: Broker, arguments: TrainArguments, voice: _Voice
) -> Gathered:
    """Read the newest history of every partition of the input."""
    partitions = [
        TopicPartition(topic, number)
        for topic in config.input.topics
        for number in range(broker.partitions(topic) or 0)
    ]
    gatherer = Gatherer(assembly.intake(config), group.name, assembly.layouts(config)[group.name])
    share = max(group.training.history_samples_max // max(len(partitions), 1), 1)
    span = Span(share, arguments.first_offset, arguments.end_offset)
    return joined(gatherer.partition(broker, each, span, voice.read) for each in partitions)


def _from_files(group: GroupConfig, files: tuple[Path, ...]) -> Gathered:
    """Read each file as the history of one stream."""
    histories = []
    for path in files:
        table = read(path)
        wanted = group.channels or table.channels[:1]
        missing = [name for name in wanted if name not in table.channels]
        if missing:
            raise TableError(f"{path}: no column {', '.join(missing)}; there are {', '.join(table.channels)}")
        columns = [table.channels.index(name) for name in wanted]
        order = np.argsort(table.times_ms, kind="stable")
        fresh = order[np.r_[True, np.diff(table.times_ms[order]) > 0]]
        histories.append(StreamHistory(table.times_ms[fresh], table.values[fresh][:, columns]))
    return Gathered(histories)


class _Voice:
    """How a training speaks while it runs."""

    def read(self, records: int) -> None:
        """Say how many records of the partition at hand have been read."""

    def epoch(self, progress: Progress) -> None:
        """Say how the fit goes."""

    def end(self, outcome: TrainingOutcome, detail: str, seconds: float) -> int:
        """Say how it ended and return the exit code."""
        raise NotImplementedError


class _Person(_Voice):
    """Speaks to a person: a bar that moves, and a last line."""

    def __init__(self, err: TextIO) -> None:
        self._err, self._bar = err, Bar(err)

    def read(self, records: int) -> None:
        self._bar.show("reading", None, f"{records} records")

    def epoch(self, progress: Progress) -> None:
        losses = f"loss {progress.loss:.4f}  later data {progress.validation_loss:.4f}"
        text = f"epoch {progress.epoch}/{progress.epochs_max}  {losses}"
        self._bar.show("training", progress.epoch / progress.epochs_max, text)

    def end(self, outcome: TrainingOutcome, detail: str, seconds: float) -> int:
        self._bar.clear()
        self._err.write(f"{detail} ({seconds:.0f} s)\n" if outcome == "published" else f"{outcome}: {detail}\n")
        return EXIT_OK if outcome == "published" else EXIT_FAILED


class _Child(_Voice):
    """Speaks to the daemon that started it: one JSON message a line."""

    def __init__(self, out: TextIO, group: GroupConfig) -> None:
        self._out, self._group = out, group.name

    def epoch(self, progress: Progress) -> None:
        self._say(
            ChildProgress(
                progress.epoch, progress.epochs_max, progress.loss, progress.validation_loss, progress.seconds
            )
        )

    def end(self, outcome: TrainingOutcome, detail: str, seconds: float) -> int:
        self._say(ChildReport(outcome, detail, seconds))
        return EXIT_OK if outcome == "published" else EXIT_FAILED

    def _say(self, message: ChildProgress | ChildReport) -> None:
        self._out.write(msgspec.json.encode(message).decode() + "\n")
        self._out.flush()
