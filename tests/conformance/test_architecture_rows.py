"""Every architecture goes through the step, the pages and a swap as the plain one does."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from daemon.memory import MemoryRecord
from daemon.state import GroupLayout, Pages, PartitionState, flush
from daemon.types import TopicPartition
from detectors.adopt import adopt
from detectors.dayzero import day_zero
from detectors.introspection import NoGates, cell_of
from detectors.scoring import Detector
from detectors.settings import Architecture, DetectorSettings, ModelSettings
from detectors.slab import Delta
from tests.conformance.feed import (
    INTERVAL_MS,
    START_MS,
    Feed,
    Sent,
    cut,
    drawn,
    fields,
    series,
    settings_of,
    together,
    wave,
)

COUNT = 45
JUMP_AT = 40


@pytest.fixture(params=get_args(Architecture), scope="module")
def settings(request: pytest.FixtureRequest) -> DetectorSettings:
    """One architecture after the other, small, for streams of two channels."""
    model = ModelSettings(hidden=3, window=3, bottleneck=2, kernel=3, architecture=request.param)
    return settings_of(2, model=model, warmup_samples=20)


def streams() -> list[Sent]:
    """Return the samples of three streams in two partitions, one of which jumps."""
    jump = wave(COUNT, 2, 1)
    jump[JUMP_AT:] += 40.0
    return together(series(wave(COUNT, 2), "a"), series(jump, "b"), series(wave(COUNT, 2, 2), "c", 1))


@pytest.fixture(scope="module")
def whole(settings: DetectorSettings) -> Feed:
    """A feed that has had all streams in one poll."""
    return Feed(settings, drawn(settings)).polls([streams()])


def test_how_polls_cut_the_streams_changes_nothing(settings: DetectorSettings, whole: Feed) -> None:
    places = np.random.default_rng(1).integers(0, 3 * COUNT, 12).tolist()
    pieces = Feed(settings, drawn(settings)).polls(cut(streams(), places))
    np.testing.assert_equal(pieces.scores, whole.scores)  # to the last bit
    for stream, partition in (("a", 0), ("b", 0), ("c", 1)):
        np.testing.assert_equal(fields(pieces.row(stream, partition)), fields(whole.row(stream, partition)))
    assert pieces.told() == whole.told()


def test_what_jumps_scores_above_one_and_is_told(whole: Feed) -> None:
    assert whole.by_time["b", START_MS + JUMP_AT * INTERVAL_MS] > 1.0
    assert "b" in {event.stream for event in whole.events if event.change == "open"}


def test_pages_bring_back_every_row_to_the_bit(whole: Feed) -> None:
    layouts, here = {"g": GroupLayout(whole.slabs[0].dtype, 1000)}, TopicPartition("in", 0)
    state = PartitionState.empty(layouts, 0)
    slab = state.slabs["g"]
    for key in whole.slabs[0].keys:
        slab.slot(key)
    every = np.arange(len(slab))
    slab.apply(Delta(every, whole.slabs[0].take(every)))
    messages, _ = flush("state", here, state, layouts)
    pages = Pages(here)
    pages.add([MemoryRecord(i, START_MS, each.key, each.value, ()) for i, each in enumerate(messages)])
    built = pages.build(layouts)
    assert built is not None
    assert built[0].slabs["g"].view().tobytes() == slab.view().tobytes()


def test_a_swap_rebuilds_the_state_from_the_stored_window(settings: DetectorSettings, whole: Feed) -> None:
    network = drawn(settings, seed=8)
    rows = whole.row("a")
    moved = adopt(Detector(settings, network, "next"), rows, {})
    assert moved["hidden"].shape == (1, network.widths.hidden)
    assert moved["hidden"].any()
    assert not np.array_equal(moved["hidden"], rows["hidden"])
    assert np.isfinite(moved["cell"]).all()


@pytest.mark.parametrize("readout", ["rls", "shared"])
def test_day_zero_scores_with_either_readout(settings: DetectorSettings, readout: str) -> None:
    chosen = settings_of(2, model=settings.model, warmup_samples=20, readout=readout)
    feed = Feed(chosen, day_zero(chosen).network).polls([series(wave(30, 2))])
    assert np.isfinite(list(feed.scores.values())[20:]).all()


def test_gates_are_shown_of_what_one_layer_reads_alone_and_refused_by_name_for_the_rest(
    settings: DetectorSettings,
) -> None:
    network = drawn(settings)
    if settings.model.architecture in ("lstm", "variational", "contractive", "denoising"):
        assert len(cell_of(network).forget.bias) == settings.model.hidden
    else:
        with pytest.raises(NoGates, match="Autoencoder has no LSTM gates to show"):
            cell_of(network)
