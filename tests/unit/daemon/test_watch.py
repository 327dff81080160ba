"""Between turns somebody counts streams, alerts and lag, and trains, if it is this member's turn to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from daemon import events
from daemon.alert_events import Group
from daemon.learning import Situation
from daemon.maintenance import NO_WINDOWS, Calendar, Once
from daemon.models import LiveModel
from daemon.types import TopicPartition
from daemon.watch import LOOK_SECONDS, Looked, Watch
from detectors import channels
from detectors.drift import DriftLimits
from detectors.scoring import Detector
from detectors.slab import Delta
from tests.conformance.feed import START_MS
from tests.simulation.world import GROUP, PARTITIONS, SETTINGS, Process, World, finish, records


@dataclass
class Surroundings:
    """Learner, telemetry, watchdog and model store in one; remembers what it was told."""

    noted: list[events.Event] = field(default_factory=list)
    progressed: list[float] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)
    considered: list[tuple[str, Situation, float]] = field(default_factory=list)
    model: LiveModel | None = None
    trained_ms: int = 0

    def note(self, event: events.Event) -> None:
        """Take an event."""
        self.noted.append(event)

    def progress(self, now: float) -> None:
        """Take the wall clock of a sign of life."""
        self.progressed.append(now)

    def beat(self, now: float) -> bool:
        """Take the monotonic time of a sign of life."""
        self.beats.append(now)
        return True

    def consider(self, group: str, at: Situation, now: float) -> bool:
        """Take the question whether to train."""
        self.considered.append((group, at, now))
        return False

    def trained_at_ms(self, _group: str) -> int:
        """Return when the newest model was trained."""
        return self.trained_ms

    def current(self, _group: str) -> LiveModel | None:
        """Return the model that is live."""
        return self.model


WALL = START_MS / 1000 + 1000.0


def watching(
    process: Process, leading_topic: str = "metrics", calendar: Calendar = NO_WINDOWS
) -> tuple[Watch, Surroundings]:
    around = Surroundings()
    groups = {GROUP: Group(GROUP, Detector(SETTINGS), calendar=calendar)}
    looked = Looked(groups, process.partitions, process.source, around, leading_topic, {GROUP: DriftLimits()})
    return Watch(looked, around, around, around, lambda: WALL), around


@pytest.fixture(scope="module")
def process() -> Process:
    """A daemon that owns three partitions and has scored sixty ticks of nine streams."""
    world = World()
    world.publish(records(5, 60))
    return finish(world, Process(world))


def test_every_turn_is_a_sign_of_life_but_looking_around_is_not(process: Process) -> None:
    watch, around = watching(process)
    for tenth in range(25):
        watch.after_turn(5.0 + tenth * LOOK_SECONDS / 10)
    assert len(around.beats) == len(around.progressed) == 25
    assert set(around.progressed) == {WALL}
    counted = [event for event in around.noted if isinstance(event, events.StreamsCounted)]
    assert len(counted) == len(around.considered) == 3


def test_streams_and_open_alerts_of_all_partitions_are_counted(process: Process) -> None:
    watch, around = watching(process)
    watch.after_turn(0.0)
    (counted,) = [event for event in around.noted if isinstance(event, events.StreamsCounted)]
    assert sum(counted.by_state.values()) == 9
    assert counted.streams_max == PARTITIONS * 1000
    views = [state.slabs[GROUP].view() for state in process.partitions.states.values()]
    assert counted.alerts_open == sum(int((view["alert_phase"] >= 2).sum() + view["silent"].sum()) for view in views)
    assert counted.by_state["stale"] == sum(int(view["silent"].sum()) for view in views)


def test_lag_is_told_by_records_and_by_seconds_behind_the_wall_clock(process: Process) -> None:
    watch, around = watching(process)
    watch.after_turn(0.0)
    lags = {event.partition: event for event in around.noted if isinstance(event, events.LagMeasured)}
    assert len(lags) == PARTITIONS
    for partition, lag in lags.items():
        newest = process.partitions.states[partition].watermark_ms
        assert lag == events.LagMeasured(partition, 0, WALL - newest / 1000)


def test_only_the_owner_of_the_first_partition_considers_training(process: Process) -> None:
    watch, around = watching(process)
    watch.after_turn(7.0)
    samples = sum(state.slabs[GROUP].view()["samples"].sum() for state in process.partitions.states.values())
    assert around.considered == [(GROUP, Situation(int(samples)), 7.0)]
    assert samples > 300
    others, nobody = watching(process, "another-topic")
    others.after_turn(7.0)
    assert nobody.considered == []
    first = TopicPartition("metrics", 0)
    state = process.partitions.states.pop(first)
    try:
        late, after = watching(process)
        late.after_turn(7.0)
        assert after.considered == []
    finally:
        process.partitions.states[first] = state


def test_whoever_considers_training_is_told_how_old_the_model_is_and_what_it_has_scored(process: Process) -> None:
    watch, around = watching(process)
    around.model, around.trained_ms = LiveModel(Detector(SETTINGS), {}, 0), int((WALL - 90.0) * 1000)
    views = [state.slabs[GROUP].view() for state in process.partitions.states.values()]
    watch.after_turn(0.0)
    (_, at, _) = around.considered[0]
    assert (at.has_model, at.age_seconds, at.drifted) == (True, 90.0, False)
    assert at.samples_since == sum(int(view["model_samples"].sum()) for view in views)


def test_streams_that_have_not_settled_since_the_swap_say_nothing_of_a_drift(process: Process) -> None:
    watch, around = watching(process)
    around.model = LiveModel(Detector(SETTINGS), {}, 0)
    watch.after_turn(0.0)
    (told,) = [event for event in around.noted if isinstance(event, events.DriftMeasured)]
    assert told == events.DriftMeasured(GROUP, 0, 0.0, 0.0, drifted=False)


def test_a_drift_is_told_and_makes_a_training_due(process: Process, drifted_rows: None) -> None:
    watch, around = watching(process)
    around.model = LiveModel(Detector(SETTINGS), {}, 0)
    watch.after_turn(0.0)
    (told,) = [event for event in around.noted if isinstance(event, events.DriftMeasured)]
    assert (told.drifted, told.streams, told.share) == (True, 9, 1.0)
    assert around.considered[0][1].drifted


@pytest.fixture
def drifted_rows(process: Process) -> Iterator[None]:
    """The rows of all streams say, for a while, that the network errs as it never did since the swap."""
    slabs = [state.slabs[GROUP] for state in process.partitions.states.values()]
    before = [(slab.living(), slab.take(slab.living())) for slab in slabs]
    for slab, (slots, rows) in zip(slabs, before, strict=True):
        moved = rows.copy()
        moved["model_samples"], moved["silent"] = 1000.0, 0
        moved["tail"][:, : channels.SCALES] = 0
        moved["tail"][:, : channels.SCALES, :2] = 1000
        moved["smooth"][:, 1, : channels.SCALES] = 50.0
        slab.apply(Delta(slots, moved))
    yield
    for slab, (slots, rows) in zip(slabs, before, strict=True):
        slab.apply(Delta(slots, rows))


def test_a_window_that_a_partition_has_come_to_is_told_and_is_no_drift(process: Process) -> None:
    newest_ms = max(state.watermark_ms for state in process.partitions.states.values())
    for calendar, active in ((Calendar((Once(newest_ms, newest_ms + 1),)), True), (NO_WINDOWS, False)):
        watch, around = watching(process, calendar=calendar)
        around.model = LiveModel(Detector(SETTINGS), {}, 0)
        watch.after_turn(0.0)
        (counted,) = [event for event in around.noted if isinstance(event, events.StreamsCounted)]
        assert counted.maintenance is active
        assert any(isinstance(event, events.DriftMeasured) for event in around.noted) is not active
