"""`longwatch explain`: why an alert opened, with its score computed again from what its event carries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TextIO

import msgspec

from daemon import alert_topic, assembly, codec, explanation, model_topic
from daemon.alert_events import AlertEvent
from daemon.commands import explanation_text as text
from daemon.commands.past import EXIT_FAILED, BadChoice, guarded
from daemon.config import Config, load
from daemon.errors import EvidenceUnusable, ModelUnusable
from daemon.models import ready
from daemon.ports import Broker
from detectors.artefact import Artefact, ArtefactError, loads, model_id
from detectors.dayzero import day_zero
from detectors.network import use_threads
from detectors.scoring import Detector
from detectors.settings import DetectorSettings

STANDARD_INPUT: Final = Path("-")
FILE_BYTES_MAX: Final = 256 * 1024 * 1024

Connect = Callable[[Config], Broker]


@dataclass(frozen=True, slots=True)
class ExplainArguments:
    """What the command line said."""

    alert_id: str = ""  # its beginning is enough; empty: the only one of the file
    config: Path | None = None
    file: Path | None = None  # events, one JSON object or one a line; None: they are read from the alerts topic
    model: Path | None = None  # an artefact; None: from the models topic
    plot: Path | None = None
    json: bool = False


@dataclass(frozen=True, slots=True)
class Streams:
    """Where the command reads and writes."""

    given: BinaryIO
    out: TextIO
    err: TextIO


def explain(
    arguments: ExplainArguments, env: Mapping[str, str], streams: Streams, connect: Connect = assembly.connected
) -> int:
    """Say why an alert opened and return the exit code: 1 also when the score is not the recorded one."""

    def work() -> int:
        config = load(arguments.config, env) if arguments.config else None
        return _Asked(arguments, config, connect, streams).answer()

    return guarded(work, streams.err)


class _Asked:
    """One question about one alert."""

    def __init__(self, arguments: ExplainArguments, config: Config | None, connect: Connect, streams: Streams) -> None:
        self._arguments, self._config, self._connect, self._streams = arguments, config, connect, streams

    def answer(self) -> int:
        """Find the alert and the model, replay, and tell."""
        first, *later = _one_alert(self._events(), self._arguments.alert_id)
        if first.rule == "silence":
            return self._say(first, [*text.head(first, later), *text.silence(first)], later, None)
        told = explanation.read(first)
        use_threads(1)
        found = explanation.explained(first, told, self._detector(first, told.settings))
        lines = [*text.head(first, later), *text.body(first, told, found), *self._changed(first)]
        self._say(first, lines, later, found)
        return 0 if found.same else EXIT_FAILED

    def _say(
        self,
        first: AlertEvent,
        lines: Sequence[str],
        later: Sequence[AlertEvent],
        found: explanation.Explanation | None,
    ) -> int:
        told = [text.numbers(first, later, found)] if self._arguments.json else lines
        self._streams.out.writelines(f"{line}\n" for line in told)
        if self._arguments.plot is not None and first.features:
            self._arguments.plot.write_text(text.picture(first), encoding="utf-8")
        return 0

    def _changed(self, event: AlertEvent) -> Iterator[str]:
        if self._config is not None and event.config_checksum not in ("", self._config.checksum()):
            yield "\nThe configuration is not the one that scored any more; the replay uses the settings in the event."

    # where it comes from

    def _events(self) -> Iterable[AlertEvent]:
        if self._arguments.file is not None:
            return _parsed(self._arguments.file, self._streams.given)
        if not self._arguments.alert_id:
            raise BadChoice("which alert? Name its id, or give its event with --file FILE (- is the standard input)")
        config = self._configured("to read the alerts topic")
        with self._broker(config) as broker:
            found = alert_topic.events_of(broker, config.outputs.alerts.topic, self._arguments.alert_id)
        if not found:
            raise EvidenceUnusable(
                f"{config.outputs.alerts.topic} holds no alert {self._arguments.alert_id} among the newest"
                f" {alert_topic.SEARCHED_MAX} events of each partition; an older event can be given with --file"
            )
        return found

    def _detector(self, event: AlertEvent, settings: DetectorSettings) -> Detector:
        """Return what scored: the named model, or day zero's detector, which needs none."""
        if not event.model_id:
            if self._arguments.model is not None:
                raise BadChoice("--model: the alert opened before any model was trained, it needs none")
            return day_zero(settings)
        artefact = self._from_file(event) if self._arguments.model is not None else self._from_topic(event)
        return ready(artefact, event.model_id, settings).detector

    def _from_file(self, event: AlertEvent) -> Artefact:
        assert self._arguments.model is not None
        try:
            data = self._arguments.model.read_bytes()
        except OSError as error:
            raise ArtefactError(f"{self._arguments.model}: cannot be read: {error}") from error
        if model_id(data) != event.model_id:
            raise BadChoice(f"--model: this is {model_id(data)}, and the alert was scored with {event.model_id}")
        return loads(data)

    def _from_topic(self, event: AlertEvent) -> Artefact:
        config = self._configured(f"to read model {event.model_id} from its topic, or --model with its artefact")
        models = config.outputs.models
        with self._broker(config) as broker:
            try:
                stored = model_topic.read(broker, models.topic, event.group).models.get(event.model_id)
            except LookupError:
                stored = None
        if stored is None:
            raise ModelUnusable(
                f"model {event.model_id}, which scored, is not in {models.topic} any more: it keeps the newest"
                f" {models.promoted_max} of each group (outputs.models.promoted_max). Give its artefact with --model"
            )
        if stored.artefact is None:
            raise ModelUnusable(f"model {event.model_id}, which scored, cannot be read: {stored.fault}")
        return stored.artefact

    def _configured(self, why: str) -> Config:
        if self._config is None:
            raise BadChoice(f"--config is needed {why}")
        return self._config

    @contextmanager
    def _broker(self, config: Config) -> Iterator[Broker]:
        with closing(self._connect(config)) as broker:
            yield broker


def _parsed(path: Path, given: BinaryIO) -> list[AlertEvent]:
    """Return the events of a file: one object, also over several lines, or one a line. Raises BadChoice."""
    try:
        data = _bytes(path, given)
    except OSError as error:
        raise BadChoice(f"{path}: cannot be read: {error}") from error
    if len(data) > FILE_BYTES_MAX:
        raise BadChoice(f"{path}: more than {FILE_BYTES_MAX} bytes; give the lines of one alert")
    try:
        return [codec.decode_alert(data)]
    except msgspec.MsgspecError as error:
        found = [alert_topic.event_of(line) for line in data.splitlines()]
        events = [each for each in found if each is not None]
        if not events:
            raise BadChoice(f"{path}: no alert event, as the alerts topic holds them: {error}") from error
        return events


def _bytes(path: Path, given: BinaryIO) -> bytes:
    if path == STANDARD_INPUT:
        return given.read(FILE_BYTES_MAX + 1)
    with path.open("rb") as source:
        return source.read(FILE_BYTES_MAX + 1)


def _one_alert(events: Iterable[AlertEvent], alert_id: str) -> list[AlertEvent]:
    """Return the events of the alert that is meant, its opening first. Raises BadChoice, EvidenceUnusable."""
    alerts: dict[str, list[AlertEvent]] = {}
    for each in events:
        if each.alert_id.startswith(alert_id):
            alerts.setdefault(each.alert_id, []).append(each)
    if len(alerts) != 1:
        names = ", ".join(list(alerts)[:5]) or "none"
        raise BadChoice(f"{alert_id or 'which alert?'} It may be any of {len(alerts)} ({names}): say more of its id")
    (found,) = alerts.values()
    opening = [each for each in found if each.change == "open"]
    if not opening:
        raise EvidenceUnusable(
            f"alert {found[0].alert_id}: its opening, which holds the grounds, is not there any more, only"
            f" {', '.join(each.change for each in found)}; the topic's retention decides how long it stays"
        )
    return [opening[0], *(each for each in found if each.change != "open")]
