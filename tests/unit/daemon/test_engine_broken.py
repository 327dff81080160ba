"""A stream that becomes no number any more begins anew, and harms nobody."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.scoring import Advanced, Detector
from tests.conformance.feed import INTERVAL_MS, START_MS, Feed, cut, fields, series, together, wave
from tests.unit.daemon.test_engine import BASELINE, NETWORK

F4 = NDArray[np.float32]


class Broken:
    """A network whose answer is no number for one of its streams, told by the size of its sample."""

    def __init__(self, part: str) -> None:
        self.part = part

    def advance(self, inputs: F4, hidden: F4, cell: F4, newest_of: NDArray[np.bool_] | None = None) -> Advanced:
        """Take one sample; the part that is broken is so for the streams that jump."""
        found = NETWORK.advance(inputs, hidden, cell, newest_of)
        parts = {
            name: getattr(found, name).copy() for name in ("hidden", "cell", "summary", "reconstruction", "forecast")
        }
        parts[self.part][np.abs(inputs[:, 0]) > 50.0] = np.inf if self.part == "cell" else np.nan
        return Moved(**parts)

    def autoregress(self, window: F4) -> F4 | None:
        """Return the linear forecast."""
        return NETWORK.autoregress(window)

    def rebuild(self, inputs: F4, valid: NDArray[np.bool_]) -> tuple[F4, F4]:
        """Return the state after a stored window."""
        return NETWORK.rebuild(inputs, valid)


@dataclass(frozen=True)
class Moved:
    """What a step of the network gives."""

    hidden: F4
    cell: F4
    summary: F4
    reconstruction: F4
    forecast: F4
    spread: F4 | None = None


@pytest.mark.parametrize("part", ["hidden", "cell", "forecast"])
def test_a_stream_whose_state_is_no_number_any_more_begins_anew_and_the_others_go_on(part: str) -> None:
    jump = wave(90, seed=1)
    jump[40] += 5000.0
    sent = together(series(wave(90), "a"), series(jump, "b"))
    feed, plain = Feed(BASELINE), Feed(BASELINE)
    feed.group = replace(feed.group, detector=Detector(BASELINE, Broken(part), "m"))
    plain.group = replace(plain.group, detector=Detector(BASELINE, NETWORK, "m"))
    caused = [feed.poll(poll) for poll in cut(sent, range(7, 180, 7))]
    plain.polls([sent])
    assert feed.dropped["not_finite"] == 1
    assert sum(each.forgotten.get(("g", "not_finite"), 0) for each in caused) == 1
    for slab in feed.slabs.values():
        for name, values in fields(slab.view()).items():
            assert np.isfinite(values).all(), name
    assert feed.row("b")["samples"] == 49  # counted from there
    assert math.isnan(feed.by_time["b", START_MS + 40 * INTERVAL_MS])
    assert math.isfinite(feed.by_time["b", START_MS + 89 * INTERVAL_MS])
    np.testing.assert_equal(fields(feed.row("a")), fields(plain.row("a")))
    for slab in feed.slabs.values():
        for event in feed.events:
            json.dumps([event.score, event.max_score, event.surprise], allow_nan=False)
        assert len(slab) == 2
