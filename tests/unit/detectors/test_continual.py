"""Weights of a stream's own begin as the group's, follow the stream, and are given up before they do harm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import continual, own_weights, scoring
from detectors.adopt import adopt
from detectors.ahead import ahead
from detectors.introspection import Witness, window_seen
from detectors.network import Network
from detectors.scoring import Detector
from detectors.settings import ContinualSettings, DetectorSettings, TrainingSettings
from detectors.slab import Delta, row_dtype
from detectors.train import StreamHistory, train
from tests.conformance.feed import INTERVAL_MS, START_MS, Feed, drawn, series, settings_of, together, wave

F = NDArray[np.float64]
Row = NDArray[np.void]

EVERY = 10
STREAMS = 5


def own(settings: DetectorSettings, *, moves: bool = True) -> DetectorSettings:
    """Return settings with weights of a stream's own."""
    return replace(settings, scope="stream", is_continual=moves, continual=ContinualSettings(every_samples=EVERY))


GROUP = settings_of(1)
OWN = own(GROUP)
NETWORK = drawn(GROUP, spread=0.3)
DETECTOR = Detector(OWN, NETWORK, "m")


def fresh(settings: DetectorSettings, streams: int = STREAMS) -> Row:
    rows = np.zeros(streams, row_dtype(scoring.fields(settings)))
    scoring.clear(rows)
    return rows


def waves(count: int, streams: int = STREAMS) -> F:
    """Return (streams, count, 1)."""
    return np.stack([wave(count, 1, seed) for seed in range(streams)])


def scored(detector: Detector, rows: Row, values: F, *, protected: bool = False, first: int = 0) -> F:
    """Score `values` (n, T, D) into `rows` and return how far off the expectation was, in spreads (n, T)."""
    shielded = np.full(len(rows), protected)
    errors = []
    for i in range(values.shape[1]):
        times_ms = np.full(len(rows), START_MS + (first + i) * INTERVAL_MS, dtype=np.int64)
        found = scoring.score(detector, rows, times_ms, values[:, i], shielded)
        errors.append(np.abs(found.level - found.expected)[:, 0] / np.maximum(rows["spread"][:, 0], 1e-9))
    return np.stack(errors, axis=1)


def lived(samples: int = 60) -> Row:
    rows = fresh(OWN)
    scored(DETECTOR, rows, waves(samples))
    return rows


def test_weights_that_stand_still_score_as_the_groups_to_the_bit() -> None:
    still = own(GROUP, moves=False)
    shared, apart = fresh(GROUP), fresh(still)
    assert np.array_equal(
        scored(Detector(GROUP, NETWORK), shared, waves(80)), scored(Detector(still, NETWORK), apart, waves(80))
    )
    for name in shared.dtype.names or ():
        assert np.array_equal(shared[name], apart[name], equal_nan=True), name
    assert not apart[own_weights.FIELD].any()


def test_a_stream_has_a_lesson_after_so_many_samples_of_its_own() -> None:
    rows = fresh(OWN)
    scored(DETECTOR, rows, waves(EVERY - 1))
    assert not rows[own_weights.FIELD].any()
    scored(DETECTOR, rows, waves(EVERY)[:, -1:], first=EVERY - 1)
    assert rows[own_weights.FIELD].any(axis=1).all()
    assert (rows["own_lessons"] == 1).all()
    assert (rows["lesson_filled"] == 0).all()


@pytest.mark.parametrize("readout", ["shared", "rls"])
def test_a_stream_of_other_dynamics_is_forecast_better_than_by_the_groups_weights(readout: str) -> None:
    training = TrainingSettings(epochs_max=2, min_samples=100)
    group = settings_of(1, training=training, readout=readout)
    times_ms = START_MS + np.arange(300) * INTERVAL_MS
    learnt = train(group, [StreamHistory(times_ms, wave(300, 1, seed)) for seed in range(2)], lambda _progress: None)
    network = Network(learnt.fitted.weights, model=group.model)
    swinging, rng = np.zeros((STREAMS, 900, 1)), np.random.default_rng(0)
    for i in range(1, 900):
        swinging[:, i] = -0.9 * swinging[:, i - 1] + rng.normal(0.0, 0.3, (STREAMS, 1))
    by_group = scored(Detector(group, network), fresh(group), swinging)[:, -300:].mean(axis=1)
    quick = replace(own(group), continual=ContinualSettings(EVERY, learning_rate=0.1))
    by_own = scored(Detector(quick, network), fresh(quick), swinging)[:, -300:].mean(axis=1)
    assert (by_own < 0.95 * by_group).all()


def test_nothing_is_learnt_under_an_open_alert_nor_from_its_samples() -> None:
    rows = lived(EVERY)
    before = rows[own_weights.FIELD].copy()
    scored(DETECTOR, rows, 50.0 * waves(EVERY), protected=True, first=EVERY)
    assert np.array_equal(rows[own_weights.FIELD], before)
    scored(DETECTOR, rows, 50.0 * waves(EVERY - 1), protected=True, first=2 * EVERY)
    assert not rows["lesson_counts"][:, : EVERY - 1].any()
    scored(DETECTOR, rows, waves(EVERY)[:, -1:], first=3 * EVERY - 1)  # the alert is over just when a lesson is due
    assert rows["lesson_counts"][:, -1].all()
    assert (rows["own_lessons"] == 2).all()


def test_a_value_that_is_missing_does_not_teach() -> None:
    settings = own(settings_of(2))
    detector, rows = Detector(settings, drawn(settings)), fresh(settings, 1)
    values = wave(EVERY - 1, 2)[None]
    values[0, 4, 1] = np.nan
    scored(detector, rows, values)
    counts = rows["lesson_counts"][0, : EVERY - 1]
    assert counts[:, 0].all()
    assert np.flatnonzero(counts[:, 1] == 0).tolist() == [4]


def test_weights_that_are_no_numbers_are_given_up_and_counted() -> None:
    rows = lived(EVERY - 1)
    rows[own_weights.FIELD][1] = 1.0
    rows["lesson_hidden"][1] = np.nan
    before = continual.given_up(rows)
    scored(DETECTOR, rows, waves(EVERY)[:, -1:], first=EVERY - 1)
    assert continual.given_up(rows) - before == 1
    assert not rows[own_weights.FIELD][1].any()
    assert rows[own_weights.FIELD][[0, 2, 3, 4]].any(axis=1).all()
    assert np.isfinite(rows["hidden"]).all()


def test_the_step_tells_how_many_streams_gave_their_own_weights_up_and_a_new_one_begins_with_the_groups() -> None:
    feed = Feed(OWN, NETWORK)
    feed.poll(together(series(wave(EVERY + 9), "a"), series(wave(EVERY + 9, 1, 1), "b")))
    slab, slots = feed.slabs[0], np.arange(2)
    broken = slab.take(slots)
    assert broken[own_weights.FIELD].any(axis=1).all()
    broken["lesson_hidden"][1] = np.nan
    slab.apply(Delta(slots, broken))
    caused = feed.poll(series(wave(30), "b", start_ms=START_MS + 40 * INTERVAL_MS)[:1])
    assert caused.forgotten == {("g", "own_weights"): 1}
    slab.retire(0)
    slab.apply(Delta(slots[:0], broken[:0], slots[:1]))
    feed.poll(series(wave(3), "c", start_ms=START_MS + 50 * INTERVAL_MS))
    assert not feed.row("c")[own_weights.FIELD].any()


def test_weights_stay_within_their_bounds_whatever_comes() -> None:
    wild = replace(OWN, continual=ContinualSettings(EVERY, learning_rate=1.0, gradient_norm_max=1e9))
    rows = fresh(wild)
    scored(Detector(wild, NETWORK), rows, np.random.default_rng(1).choice([1e300, -1e300, 0.0], (STREAMS, 200, 1)))
    assert np.abs(rows[own_weights.FIELD]).max() <= continual.CHANGE_MAX


def test_streams_learn_the_same_alone_and_together_to_the_bit() -> None:
    together = lived()
    for stream in range(STREAMS):
        alone = fresh(OWN, 1)
        scored(DETECTOR, alone, waves(60)[stream : stream + 1])
        assert np.array_equal(alone[own_weights.FIELD], together[own_weights.FIELD][stream : stream + 1])


def test_a_swap_keeps_what_was_changed_in_a_trained_network_and_rereads_the_window_with_it() -> None:
    rows, successor = lived(), Detector(OWN, drawn(GROUP, 8), "next")
    moved = adopt(successor, rows, {})
    assert np.array_equal(moved[own_weights.FIELD], rows[own_weights.FIELD])
    assert (moved["lesson_filled"] == 0).all()
    groups = rows.copy()
    continual.begin(groups)
    assert not np.array_equal(moved["hidden"], adopt(successor, groups, {})["hidden"])
    same = adopt(replace(successor, network=NETWORK), rows, {})
    assert float(np.abs(same["hidden"] - rows["hidden"]).mean()) < 0.2 * float(np.abs(rows["hidden"]).mean())


def test_the_first_training_ends_what_was_learnt_on_day_zero() -> None:
    rows = fresh(OWN)
    scored(Detector(OWN, NETWORK), rows, waves(60))  # no model has a name yet
    assert rows[own_weights.FIELD].any()
    assert not adopt(DETECTOR, rows, {})[own_weights.FIELD].any()


def test_a_long_gap_begins_a_new_lesson_and_keeps_what_was_learnt() -> None:
    rows = lived(EVERY + 3)
    before = rows[own_weights.FIELD].copy()
    later = int(OWN.gap_max_seconds * 1000) // INTERVAL_MS + EVERY + 4
    scored(DETECTOR, rows, waves(1), first=later)
    assert (rows["lesson_filled"] == 1).all()
    assert not rows["lesson_hidden"].any()
    assert np.array_equal(rows[own_weights.FIELD], before)


def test_what_waits_to_be_learnt_moves_with_the_scale() -> None:
    rows = lived(EVERY + 4)
    read = rows["lesson_inputs"][:, :4].copy()
    ratio, shift = np.full((STREAMS, 1), 2.0), np.full((STREAMS, 1), 0.5)
    continual.rescale(rows, ratio, shift)
    moved = rows["lesson_inputs"][:, :4]
    assert moved[..., 0] == pytest.approx(2.0 * read[..., 0] + 0.5, rel=1e-6)
    assert moved[..., 1] == pytest.approx(2.0 * read[..., 1], rel=1e-6)
    assert np.array_equal(moved[..., 2:], read[..., 2:])


def test_a_look_ahead_goes_by_the_streams_own_weights_and_changes_none() -> None:
    rows = lived()
    before = rows.tobytes()
    expected = ahead(DETECTOR, rows, EVERY + 2)
    assert rows.tobytes() == before
    groups = rows.copy()
    groups[own_weights.FIELD] = 0.0
    assert not np.allclose(expected, ahead(DETECTOR, groups, EVERY + 2))


def test_the_gates_that_are_shown_are_those_of_the_streams_own_cell() -> None:
    rows = fresh(OWN, 1)
    scored(DETECTOR, rows, waves(25, 1))
    witness = Witness(NETWORK)
    scored(Detector(OWN, witness), rows, waves(50, 1)[:, 25:], first=25)
    gates = witness.gates()
    assert witness.samples == 25
    assert (rows["own_lessons"] == 5).all()
    assert np.allclose(gates.hidden[-1], rows["hidden"][0], atol=1e-6)
    assert np.allclose(gates.cell[-1], rows["cell"][0], atol=1e-6)
    assert window_seen(DETECTOR, rows, 4).gap < 0.05


def test_streams_of_another_architecture_cannot_have_own_weights() -> None:
    gated = drawn(settings_of(1, model=replace(GROUP.model, architecture="gru")))
    with pytest.raises(ValueError, match="architecture gru: streams have own weights with lstm only"):
        gated.bases  # noqa: B018
