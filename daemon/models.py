"""Which model is live: the models topic read to its end, every artefact checked, the newest good one offered.

What its keys and values are stands in `daemon.model_topic`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from daemon import events
from daemon.errors import BrokerUnavailable
from daemon.model_topic import Pointer
from daemon.ports import Broker, Cursor
from daemon.types import Record, TopicPartition
from detectors.adopt import Calibration, calibrate
from detectors.artefact import Artefact, ArtefactError, Lineage, loads, model_id
from detectors.network import Network
from detectors.scoring import CLOCK_INPUTS, Detector, fields
from detectors.settings import DetectorSettings
from detectors.slab import row_dtype

FETCH_RECORDS_MAX = 50
WATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class LiveModel:
    """An artefact made ready to score with."""

    detector: Detector
    calibration: Calibration
    trained_samples: int
    lineage: Lineage | None = None  # None: there is no artefact behind it


class ModelStore:
    """All usable models by group and id. Reads the topic on a thread of its own; what it hands out is immutable."""

    def __init__(
        self,
        broker: Broker,
        topic: str,
        groups: Mapping[str, DetectorSettings],
        note: Callable[[events.Event], None],
    ) -> None:
        self._broker, self._groups, self._note = broker, groups, note
        self._partition = TopicPartition(topic, 0)
        self._cursor: Cursor | None = None
        self._read = 0  # the offset up to which everything has been taken in
        self._models: dict[tuple[str, str], LiveModel] = {}
        self._current: dict[str, str] = {}
        self._lent: dict[str, str] = {}  # by group, the model that was last asked for
        self._deleted: set[tuple[str, str]] = set()  # in use all the same
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read what is there, then go on watching until `close`. Raises BrokerUnavailable."""
        end = self._broker.bounds(self._partition).end
        if self._cursor is not None:  # left by a try that the broker cut short
            self._cursor.close()
        self._cursor = self._broker.cursor(self._partition, 0)
        while self._read < end:
            self._read_on(self._cursor, WATCH_SECONDS)
        self._thread = threading.Thread(target=self._watch, name="models", daemon=True)
        self._thread.start()

    def current(self, group: str) -> LiveModel | None:
        """Return the model that `group` should score with, None before the first training."""
        found = self.find(group, self._current.get(group, ""))
        if found is not None:
            self._lent[group] = found.detector.model_id
        return found

    def find(self, group: str, name: str) -> LiveModel | None:
        """Return one model by its id, None when it is not (or no longer) known."""
        return self._models.get((group, name))

    def trained_at_ms(self, group: str) -> int:
        """Return when the last training of `group` ended, whether its model was promoted or refused; 0: none has."""
        known = [each.lineage for (owner, _), each in list(self._models.items()) if owner == group]
        return max((each.created_at_ms for each in known if each is not None), default=0)

    def has_read_all(self) -> bool:
        """Return whether all that the topic holds by now has been taken in. Raises BrokerUnavailable, LookupError."""
        return self._read >= self._broker.bounds(self._partition).end

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._cursor is not None:
            self._cursor.close()

    def _watch(self) -> None:
        """Follow the topic until `close`, whatever comes: without this thread no model would ever be swapped again."""
        assert self._cursor is not None
        while not self._stop.is_set():
            try:
                self._read_on(self._cursor, WATCH_SECONDS)
            except BrokerUnavailable:
                self._stop.wait(WATCH_SECONDS)
            except Exception as error:  # noqa: BLE001  # nobody waits for this thread: it says so itself
                why = f"the models topic cannot be read: {type(error).__name__}: {error}; trying again"
                for group in self._groups:
                    self._note(events.ModelRefused(group, why))
                self._stop.wait(WATCH_SECONDS)

    def _read_on(self, cursor: Cursor, wait_seconds: float) -> None:
        self._take(cursor.fetch(FETCH_RECORDS_MAX, wait_seconds))
        self._read = cursor.position  # only now: another thread may ask

    def _take(self, records: Sequence[Record]) -> None:
        for record in records:
            kind, _, rest = (record.key or b"").decode("utf-8", "replace").partition("/")
            group, _, name = rest.partition("/")
            if group not in self._groups:
                continue
            if kind == "current" and record.value is not None:
                self._point(group, Pointer.read(record.value).model_id)
            elif kind == "model" and record.value is None:
                self._retire(group, name)
            elif kind == "model" and record.value is not None:
                self._admit(group, record.value)

    def _admit(self, group: str, data: bytes) -> None:
        try:
            artefact = loads(data)
            self._models[group, model_id(data)] = ready(artefact, model_id(data), self._groups[group])
        except ArtefactError as error:
            self._note(events.ModelRefused(group, str(error)))
        except Exception as error:  # noqa: BLE001  # whatever is wrong, the one that runs stays
            self._note(events.ModelRefused(group, f"artefact {model_id(data)}: {type(error).__name__}: {error}"))

    def _point(self, group: str, name: str) -> None:
        if (group, name) not in self._models:
            self._note(events.ModelRefused(group, f"the current model {name} is not in the topic, or was refused"))
            return
        self._current[group] = name
        for gone in [key for key in self._deleted if key[0] == group and key[1] != name]:
            self._deleted.discard(gone)
            self._models.pop(gone, None)

    def _retire(self, group: str, name: str) -> None:
        """Forget a model that was deleted; one that is being scored with stays until another takes its place."""
        if self._lent.get(group) == name == self._current.get(group):
            self._deleted.add((group, name))
            self._note(
                events.ModelRefused(group, f"model {name} was deleted while in use: it stays until the next one")
            )
        else:
            self._models.pop((group, name), None)


def ready(artefact: Artefact, name: str, settings: DetectorSettings) -> LiveModel:
    """Return a model to score with. Raises ArtefactError when it was made for other settings."""
    if artefact.model != settings.model or artefact.channels != settings.channels:
        raise ArtefactError(
            f"artefact {name}: made for {artefact.model} and channels {artefact.channels}, "
            f"configured are {settings.model} and {settings.channels}; train the group again"
        )
    network = Network.of(artefact.weights, settings)
    if network.features != 2 * len(settings.channels) + CLOCK_INPUTS:
        raise ArtefactError(f"artefact {name}: reads {network.features} inputs; train the group again")
    calibration = {key: value.astype("float32") for key, value in artefact.calibration.items()}
    _check_calibration(calibration, name, settings)
    lineage = artefact.lineage
    return LiveModel(Detector(settings, network, name), calibration, lineage.trained_samples, lineage)


def _check_calibration(calibration: Calibration, name: str, settings: DetectorSettings) -> None:
    expected = calibrate(np.zeros(1, row_dtype(fields(settings))))
    shapes, needed = ({key: value.shape for key, value in each.items()} for each in (calibration, expected))
    if calibration and (shapes != needed or not all(np.isfinite(value).all() for value in calibration.values())):
        raise ArtefactError(f"artefact {name}: its calibration does not fit this version; train the group again")
