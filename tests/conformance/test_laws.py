"""Every configuration of the detector keeps every law of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.engine import step
from daemon.memory import MemoryRecord
from daemon.state import GroupLayout, Pages, PartitionState, flush
from daemon.types import TopicPartition
from detectors.channels import NAMES
from detectors.network import Network
from detectors.settings import (
    BudgetThreshold,
    ContinualSettings,
    DetectorSettings,
    ModelSettings,
    QuantileThreshold,
    SigmaThreshold,
    StaticThreshold,
)
from detectors.slab import Delta
from tests.conformance.feed import (
    INTERVAL_MS,
    START_MS,
    Feed,
    Sent,
    cut,
    drawn,
    fields,
    fields_of_its_own,
    series,
    settings_of,
    together,
    wave,
)

NAN = math.nan


@dataclass(frozen=True)
class Case:
    """A detector as an operator may configure it, with the weights that it runs."""

    settings: DetectorSettings
    network: Network | None

    def feed(self) -> Feed:
        """Return a fresh feed."""
        return Feed(self.settings, self.network)

    @property
    def width(self) -> int:
        """How many channels a stream has."""
        return len(self.settings.channels)

    def wave(self, count: int, seed: int = 0) -> NDArray[np.float64]:
        """Return an ordinary series (count, D)."""
        return wave(count, self.width, seed)


def trained(settings: DetectorSettings) -> Case:
    return Case(settings, drawn(settings))


def shape(decoder: str, **changes: int) -> ModelSettings:
    return ModelSettings(**{"hidden": 5, "window": 4, "bottleneck": 3, "decoder": decoder, **changes})  # type: ignore[arg-type]


def own(settings: DetectorSettings) -> Case:
    """Return the same with weights of each stream's own, which learn from every ten samples."""
    return trained(replace(settings, scope="stream", is_continual=True, continual=ContinualSettings(10)))


CASES: Mapping[str, Case] = {
    "baseline-static": Case(settings_of(), None),
    "baseline-sigma-three-channels": Case(settings_of(3, threshold=SigmaThreshold(1.5)), None),
    "baseline-budget": Case(settings_of(threshold=BudgetThreshold(100.0)), None),
    "baseline-quantile": Case(settings_of(threshold=QuantileThreshold(0.95)), None),
    "linear-static": trained(settings_of(model=shape("linear"))),
    "mlp-sigma-three-channels": trained(settings_of(3, threshold=SigmaThreshold(1.5), model=shape("mlp"))),
    "lstm-quantile-two-channels": trained(settings_of(2, threshold=QuantileThreshold(0.97), model=shape("lstm"))),
    "lstm-reconstructed-now-and-then": trained(settings_of(model=shape("lstm"), reconstruct_every_samples=3)),
    "shared-readout": trained(settings_of(2, model=shape("mlp"), readout="shared")),
    "mlp-of-the-shipped-size": trained(settings_of(model=ModelSettings(), threshold=StaticThreshold(1.5))),
    "own-weights": own(settings_of(model=shape("mlp"))),
    "own-weights-shared-readout": own(settings_of(3, model=shape("linear"), readout="shared")),
    "own-weights-of-the-shipped-size": own(settings_of(2, model=ModelSettings())),
    "smallest": trained(settings_of(model=shape("mlp", hidden=1, window=2, bottleneck=1))),
}


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    """One configuration after the other."""
    return CASES[request.param]


def several(case: Case, count: int = 100) -> list[Sent]:
    """Return the samples of streams in two partitions, one of which jumps and one of which falls silent for a while."""
    jump = case.wave(count, 1)
    jump[count - 15 :] += 40.0
    silent = series(case.wave(count, 2), "c", 1)
    del silent[70:95]
    return together(series(case.wave(count), "a"), series(jump, "b"), silent, series(case.wave(count, 3), "d", 1))


def test_a_step_leaves_the_slab_alone(case: Case) -> None:
    feed, sent = case.feed(), several(case)
    feed.poll(sent[:250])
    parts = feed.parts(sent[250:])
    before = feed.image()
    step([(feed.group, parts)])
    assert feed.image() == before


def test_a_step_gives_the_same_a_second_time(case: Case) -> None:
    feed, sent = case.feed(), several(case)
    feed.poll(sent[:250])
    batch = [(feed.group, feed.parts(sent[250:]))]
    one, other = step(batch), step(batch)
    assert one.alerts == other.alerts
    for left, right in zip(one.scores, other.scores, strict=True):
        assert left.score.tobytes() == right.score.tobytes()
    for (_, first), (_, second) in zip(one.deltas, other.deltas, strict=True):
        np.testing.assert_equal(fields(first.rows), fields(second.rows))


@pytest.mark.parametrize("seed", [1, 2])
def test_how_polls_cut_the_streams_changes_nothing(case: Case, seed: int) -> None:
    sent, rng = several(case), np.random.default_rng(seed)
    whole = case.feed().polls([sent])
    pieces = case.feed().polls(cut(sent, rng.integers(0, len(sent), 30).tolist()))
    np.testing.assert_equal(pieces.scores, whole.scores)  # to the last bit
    assert pieces.told() == whole.told()
    assert {event.change for event in whole.events} >= {"open"}


def test_the_order_of_streams_within_a_poll_changes_nothing(case: Case) -> None:
    sent, rng = several(case), np.random.default_rng(3)
    ticks = [[each for each in sent if each.time_ms == moment] for moment in sorted({each.time_ms for each in sent})]
    shuffled = [[tick[i] for i in rng.permutation(len(tick))] for tick in ticks]
    one, other = case.feed().polls(ticks), case.feed().polls(shuffled)
    np.testing.assert_equal(other.by_time, one.by_time)
    assert other.told() == one.told()


def test_late_and_repeated_samples_are_counted_and_change_nothing(case: Case) -> None:
    sent = series(case.wave(40))
    plain, crowded = case.feed().polls([sent]), case.feed()
    wild = (1e6,) * case.width
    crowded.polls([sent[:30], [sent[29]], [sent[29]._replace(values=wild), sent[10]._replace(values=wild)], sent[30:]])
    assert dict(crowded.dropped) == {"duplicate": 2, "late": 1}
    np.testing.assert_equal(fields_of_its_own(crowded.row()), fields_of_its_own(plain.row()))
    assert crowded.told() == plain.told()
    assert [math.isnan(crowded.scores[0, offset]) for offset in (30, 31, 32)] == [True] * 3


def test_a_stream_has_no_score_until_it_is_warm(case: Case) -> None:
    feed = case.feed().polls([series(case.wave(80))])
    scores = np.array(list(feed.scores.values()))
    warm = np.arange(80) >= case.settings.warmup_samples
    assert np.array_equal(np.isfinite(scores), warm)


EXTREMES = [1e308, -1e308, 1e-300, 0.0, 1.7e308, -1.7e308, 5e-324, 1e20, NAN]


@pytest.mark.parametrize("order", ["alternating", "rising", "after-a-usual-past"])
def test_extreme_values_leave_every_row_finite(case: Case, order: str) -> None:
    rng = np.random.default_rng(4)
    drawn_values = rng.choice(EXTREMES, (120, case.width))
    if order == "alternating":
        drawn_values = np.where(np.arange(120)[:, None] % 2, 1.7e308, -1.7e308) * np.ones((1, case.width))
    if order == "rising":  # taken for a counter
        drawn_values = np.linspace(0.0, 1.7e308, 120)[:, None] * np.ones((1, case.width))
    if order == "after-a-usual-past":
        drawn_values[:60] = case.wave(60)
    feed = case.feed().polls([series(drawn_values)])
    for name, values in fields(feed.row()).items():
        assert name == "raw_last" or np.isfinite(values).all(), name
    valued = np.isfinite(drawn_values).any(axis=1)  # what holds no value at all is no sample
    scores = np.array(list(feed.scores.values()))[valued][case.settings.warmup_samples :]
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()


def test_a_missing_channel_is_masked_and_the_rest_goes_on(case: Case) -> None:
    values = case.wave(110)
    values[40:, 0] = NAN
    feed = case.feed().polls([series(values)])
    row = feed.row()
    assert all(np.isfinite(part).all() for name, part in fields(row).items() if name != "raw_last")
    assert float(row["observed"][0, 0]) == 40
    assert [float(each) for each in row["observed"][0, 1:]] == [110] * (case.width - 1)
    assert not feed.events
    if case.width > 1:
        values[100:, 1] += 60.0
        alerted = case.feed().polls([series(values)]).events
        assert [event.features[0].imputed for event in alerted if event.change == "open"] == [True]
        assert alerted[0].features[0].share == 0.0
        assert alerted[0].features[1].share > 0.5


@pytest.mark.parametrize("level", [0.0, 10.0, -3e6, 1e-7])
def test_a_constant_series_stays_quiet(case: Case, level: float) -> None:
    feed = case.feed().polls([series(np.full((150, case.width), level))])
    assert not feed.events
    assert max(score for score in feed.scores.values() if not math.isnan(score)) < 1.0


@pytest.mark.parametrize(("step_by", "alerts"), [(1e-6, 0), (8.0, 1)])
def test_a_constant_series_may_twitch_but_not_jump(case: Case, step_by: float, alerts: int) -> None:
    values = np.full((150, case.width), 10.0)
    values[120:] += step_by
    feed = case.feed().polls([series(values)])
    assert len([event for event in feed.events if event.change == "open"]) == alerts


def test_shares_sum_to_one_and_no_number_of_an_alert_is_other_than_finite(case: Case) -> None:
    events = [event for event in case.feed().polls([several(case)]).events if event.rule == "anomaly"]
    assert events
    for event in events:
        assert sum(feature.share for feature in event.features) == pytest.approx(1.0)
        assert all(0.0 <= feature.share <= 1.0 for feature in event.features)
        assert all(math.isfinite(value) for feature in event.features for value in feature.window)
        assert set(event.surprise) == set(NAMES)


def test_a_long_gap_resets_the_short_term_state_and_keeps_what_was_learnt(case: Case) -> None:
    sent = series(case.wave(61))
    gap_ms = int(case.settings.gap_max_seconds * 1000)
    after = [sent[60]._replace(time_ms=sent[59].time_ms + gap_ms + 1)]
    feed = case.feed().polls([sent[:60]])
    before = feed.row()
    feed.poll(after)
    row = feed.row()
    assert float(row["window_filled"][0]) == 1
    assert float(row["samples"][0]) == 61
    assert abs(float(row["location"][0, 0]) - float(before["location"][0, 0])) < 0.5
    fresh = case.feed()
    fresh.poll(sent[:1])
    shorter = case.feed().polls([sent[:60], [sent[60]._replace(time_ms=sent[59].time_ms + gap_ms)]])
    assert float(shorter.row()["window_filled"][0]) == case.settings.model.window


def test_pages_carry_every_row_there_and_back(case: Case) -> None:
    feed = case.feed().polls([several(case)])
    layouts = {"g": GroupLayout(feed.slabs[0].dtype, 1000)}
    here = TopicPartition("in", 0)
    state = PartitionState.empty(layouts, 0)
    slab = state.slabs["g"]
    for key in feed.slabs[0].keys:
        slab.slot(key)
    every = np.arange(len(slab))
    slab.apply(Delta(every, feed.slabs[0].take(every)))
    state.next_offset, state.watermark_ms, state.models["g"] = 77, START_MS + INTERVAL_MS, "model"
    messages, _ = flush("state", here, state, layouts)
    pages = Pages(here)
    pages.add([MemoryRecord(i, START_MS, each.key, each.value, ()) for i, each in enumerate(messages)])
    built = pages.build(layouts)
    assert built is not None
    found, manifest, discarded = built
    assert not discarded
    assert (found.next_offset, found.watermark_ms, found.models) == (77, START_MS + INTERVAL_MS, {"g": "model"})
    assert found.slabs["g"].keys == slab.keys
    assert found.slabs["g"].view().tobytes() == slab.view().tobytes()
    assert manifest.offset == 77
