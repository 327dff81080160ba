"""The models topic tells which model is live; what cannot be used is refused and what runs stays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon import events
from daemon.errors import BrokerUnavailable
from daemon.memory import MemoryBroker, MemoryCluster, Operation
from daemon.memory.broker import MemoryCursor
from daemon.model_topic import messages, read
from daemon.models import ModelStore, ready
from daemon.ports import Broker, Cursor
from daemon.types import Outgoing, Record, TopicPartition, TopicSpec
from detectors import channels
from detectors.adopt import adopt, calibrate
from detectors.artefact import BYTES_MAX, Artefact, ArtefactError, Lineage, dumps, model_id
from detectors.scoring import Detector, fields
from detectors.settings import DetectorSettings
from detectors.slab import row_dtype
from tests.conformance.feed import drawn, settings_of, weights

SETTINGS = settings_of()
MODELS = TopicPartition("models", 0)
F4 = NDArray[np.float32]


def artefact(
    seed: int = 1, settings: DetectorSettings = SETTINGS, calibration: Mapping[str, F4] | None = None
) -> Artefact:
    lineage = Lineage("g", 4321, {}, 0, seed, (), {})
    return Artefact(settings.model, settings.channels, weights(settings, seed), calibration or {}, lineage)


def data(seed: int = 1, settings: DetectorSettings = SETTINGS) -> bytes:
    return dumps(artefact(seed, settings))


class Topic:
    """A models topic and a store that reads it, by hand."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster(idle=lambda _seconds: None)
        self.cluster.ensure(TopicSpec("models", 1, compacted=True, config={"max.message.bytes": "16000000"}))
        self.noted: list[events.Event] = []
        self.broker = MemoryBroker(self.cluster)

    def publish(self, *records: Outgoing) -> None:
        """Write records."""
        for each in records:
            self.cluster.publish(each)

    def store(self) -> ModelStore:
        """Return a store that has read everything there is."""
        made = ModelStore(self.broker, "models", {"g": SETTINGS}, self.noted.append)
        made._take(self.cluster.visible(MODELS))
        return made

    @property
    def refused(self) -> list[str]:
        """Why models were refused."""
        return [event.why for event in self.noted if isinstance(event, events.ModelRefused)]


class Lent(MemoryCursor):
    """A cursor that remembers whether it was given back."""

    given_back = False

    def close(self) -> None:
        """Take note."""
        self.given_back = True


class Flaky(MemoryBroker):
    """A broker that goes away between lending a cursor and answering it, so often as it is told."""

    def __init__(self, cluster: MemoryCluster, failures: int) -> None:
        super().__init__(cluster)
        self.lent: list[Lent] = []
        self._failures = failures

    def cursor(self, partition: TopicPartition, start: int) -> Lent:
        """Lend a cursor."""
        self.lent.append(Lent(self._cluster, partition, start, self._fail))
        return self.lent[-1]

    def _fail(self, _operation: Operation) -> None:
        if len(self.lent) <= self._failures:
            raise BrokerUnavailable("gone")


def test_a_start_that_is_tried_again_gives_back_what_it_had_opened() -> None:
    topic = Topic()
    topic.publish(*messages("models", "g", data(), []))
    broker = Flaky(topic.cluster, failures=3)
    store = ModelStore(broker, "models", {"g": SETTINGS}, topic.noted.append)
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            store.start()
    store.start()
    assert [each.given_back for each in broker.lent] == [True, True, True, False]
    store.close()
    assert broker.lent[-1].given_back


def test_before_the_first_training_there_is_none() -> None:
    assert Topic().store().current("g") is None


def test_the_newest_published_model_is_live_and_older_ones_can_be_found() -> None:
    topic = Topic()
    topic.publish(*messages("models", "g", data(1), []), *messages("models", "g", data(2), []))
    store = topic.store()
    live = store.current("g")
    assert live is not None
    assert (live.detector.model_id, live.trained_samples) == (model_id(data(2)), 4321)
    assert store.find("g", model_id(data(1))) is not None
    assert store.find("g", "other") is None
    assert topic.refused == []


def test_publishing_retires_old_models_but_never_itself() -> None:
    topic = Topic()
    topic.publish(*messages("models", "g", data(1), []), *messages("models", "g", data(2), []))
    assert list(read(topic.broker, "models", "g").models) == [model_id(data(1)), model_id(data(2))]
    assert not read(topic.broker, "models", "other").models
    topic.publish(*messages("models", "g", data(2), [model_id(data(1)), model_id(data(2))]))
    assert list(read(topic.broker, "models", "g").models) == [model_id(data(2))]
    store = topic.store()
    assert store.find("g", model_id(data(1))) is None
    assert store.current("g") is not None


def test_the_topic_says_the_same_after_compaction() -> None:
    topic = Topic()
    topic.publish(*messages("models", "g", data(1), []), *messages("models", "g", data(2), [model_id(data(1))]))
    topic.cluster.compact("models")
    live = topic.store().current("g")
    assert live is not None
    assert live.detector.model_id == model_id(data(2))


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nonsense": (lambda: b"nonsense", "artefact"),
    "damaged": (lambda: data()[:-3], "damaged"),
    "other shape": (
        lambda: data(settings=settings_of(model=replace(SETTINGS.model, hidden=6))),
        "train the group again",
    ),
    "other channels": (lambda: data(settings=settings_of(2)), "train the group again"),
    "unknown calibration": (lambda: dumps(artefact(calibration={"strange": np.zeros(3, np.float32)})), "calibration"),
    "calibration of another shape": (
        lambda: dumps(artefact(calibration={"error_tail_center": np.zeros(2, np.float32)})),
        "calibration",
    ),
    "calibration that is not finite": (lambda: dumps(artefact(calibration=nan_calibration())), "calibration"),
}


def nan_calibration() -> dict[str, F4]:
    found = calibrate(np.zeros(1, row_dtype(fields(SETTINGS))))
    return {name: values * np.nan for name, values in found.items()}


@pytest.mark.parametrize("kind", BAD)
def test_a_model_that_cannot_be_used_is_refused_and_the_one_that_runs_stays(kind: str) -> None:
    make, why = BAD[kind]
    topic = Topic()
    topic.publish(*messages("models", "g", data(1), []), *messages("models", "g", make(), []))
    live = topic.store().current("g")
    assert live is not None
    assert live.detector.model_id == model_id(data(1))
    assert why in topic.refused[0]
    assert len(topic.refused) == 2  # the model, and that it should be the current one


def test_a_model_for_which_there_is_no_room_to_be_built_is_refused_too() -> None:
    topic = Topic()
    topic.publish(*messages("models", "g", data(1), []))
    # its settings are the configured ones, and nothing can be made of it: a fault nobody has thought of
    store = ModelStore(topic.broker, "models", {"g": SETTINGS}, topic.noted.append)
    store._take(topic.cluster.visible(MODELS))
    store._groups = {"g": cast("DetectorSettings", None)}
    topic.publish(*messages("models", "g", data(2), []))
    store._take(topic.cluster.visible(MODELS)[2:])
    live = store.current("g")
    assert live is not None
    assert live.detector.model_id == model_id(data(1))
    assert "AttributeError" in topic.refused[0]


def test_a_model_that_is_deleted_while_in_use_stays_until_the_next_one() -> None:
    topic = Topic()
    topic.publish(*messages("models", "g", data(1), []))
    store, old = topic.store(), model_id(data(1))
    assert store.current("g") is not None
    topic.publish(Outgoing("models", 0, f"model/g/{old}".encode(), None), Outgoing("models", 0, b"current/g", None))
    store._take(topic.cluster.visible(MODELS)[2:])
    live = store.current("g")
    assert live is not None
    assert live.detector.model_id == old
    assert "deleted while in use" in topic.refused[0]
    topic.publish(*messages("models", "g", data(2), []))
    store._take(topic.cluster.visible(MODELS)[4:])
    live = store.current("g")
    assert live is not None
    assert live.detector.model_id == model_id(data(2))
    assert store.find("g", old) is None


def test_a_model_that_is_deleted_before_anybody_asked_for_it_is_gone() -> None:
    topic = Topic()
    topic.publish(
        *messages("models", "g", data(1), []), Outgoing("models", 0, f"model/g/{model_id(data(1))}".encode(), None)
    )
    assert topic.store().current("g") is None


def test_an_artefact_that_is_oversized_is_refused_before_it_is_read() -> None:
    topic = Topic()
    topic.publish(Outgoing("models", 0, b"model/g/x", bytes(BYTES_MAX + 1)), Outgoing("models", 0, b"current/g", b"x"))
    assert topic.store().current("g") is None
    assert f"{BYTES_MAX} is the most" in topic.refused[0]


class Troubled:
    """A broker whose cursor fails as nobody expected, now and then."""

    def __init__(self, broker: MemoryBroker, errors: list[Exception]) -> None:
        self._broker, self.errors = broker, errors
        self.bounds = broker.bounds

    def cursor(self, partition: TopicPartition, start: int) -> TroubledCursor:
        """Return a cursor that fails."""
        return TroubledCursor(self._broker.cursor(partition, start), self)


class TroubledCursor:
    """A cursor that raises what its broker has in store, and then reads on."""

    def __init__(self, cursor: Cursor, broker: Troubled) -> None:
        self._cursor, self._broker = cursor, broker
        self.close = cursor.close

    @property
    def position(self) -> int:
        """Where it stands."""
        return self._cursor.position

    def fetch(self, records_max: int, wait_seconds: float) -> Sequence[Record]:
        """Return the next records, or fail."""
        if self._broker.errors and threading.current_thread().name == "models":
            raise self._broker.errors.pop()
        return self._cursor.fetch(records_max, min(wait_seconds, 0.05))


def test_whatever_happens_to_who_reads_the_models_it_says_so_and_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.models.WATCH_SECONDS", 0.01)
    topic, told = Topic(), threading.Event()

    def note(event: events.Event) -> None:
        topic.noted.append(event)
        told.set()

    troubled = Troubled(topic.broker, [ValueError("strange"), MemoryError(), KeyError("x"), BrokerUnavailable("away")])
    store = ModelStore(cast("Broker", troubled), "models", {"g": SETTINGS}, note)
    store.start()
    try:
        assert told.wait(30)
        topic.publish(*messages("models", "g", data(1), []))
        asked = threading.Event()
        for _ in range(3000):
            if store.current("g") is not None:
                break
            asked.wait(0.01)
        assert store.current("g") is not None
    finally:
        store.close()
    assert [why.split(":")[1].strip() for why in topic.refused] == ["KeyError", "MemoryError", "ValueError"]
    assert all("the models topic cannot be read" in why for why in topic.refused)


def test_records_of_other_groups_and_strange_keys_are_passed_over() -> None:
    topic = Topic()
    strange = [
        Outgoing("models", 0, key, b"x") for key in (b"model/other/1", b"\xff", b"current/", b"model", b"else/g/1")
    ]
    topic.publish(*strange, Outgoing("models", 0, b"current/g", None))
    assert topic.store().current("g") is None
    assert topic.refused == []


def test_a_usable_calibration_is_put_into_the_rows_that_adopt_the_model() -> None:
    calibration = {
        name: values + np.float32(0.5) for name, values in calibrate(np.zeros(1, row_dtype(fields(SETTINGS)))).items()
    }
    live = ready(artefact(calibration=calibration), "m", SETTINGS)
    rows = adopt(live.detector, np.zeros(2, row_dtype(fields(SETTINGS))), live.calibration)
    assert np.array_equal(rows["error_square"][1], calibration["error_square"])
    assert rows["tail"][1, : channels.SCALES].any()


def test_a_model_for_other_inputs_is_refused() -> None:
    wide = artefact(settings=settings_of(2))
    with pytest.raises(ArtefactError):
        ready(Artefact(wide.model, SETTINGS.channels, wide.weights, {}, wide.lineage), "m", SETTINGS)


def test_a_started_store_follows_the_topic() -> None:
    topic = Topic()
    topic.publish(*messages("models", "g", data(1), []))
    store = ModelStore(topic.broker, "models", {"g": SETTINGS}, topic.noted.append)
    store.start()
    try:
        assert store.current("g") is not None
    finally:
        store.close()
    store.close()


def test_the_networks_of_an_artefact_and_of_its_weights_are_the_same() -> None:
    live = ready(artefact(7), "m", SETTINGS)
    network, other = live.detector.network, drawn(SETTINGS, 7)
    assert network is not None
    one = np.ones((1, 4), np.float32)
    state = np.zeros((1, SETTINGS.model.hidden), np.float32)
    assert np.array_equal(network.advance(one, state, state).forecast, other.advance(one, state, state).forecast)
    assert Detector(SETTINGS).network is None
