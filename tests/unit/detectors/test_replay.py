"""A score is computed again from what is packed of a row, to the last bit, and from nothing that is not one."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors import replay, scoring
from detectors.replay import Moment, ReplayError
from detectors.scoring import Detector, Scored
from detectors.settings import (
    Architecture,
    BudgetThreshold,
    DetectorSettings,
    ModelSettings,
    QuantileThreshold,
    SigmaThreshold,
)
from detectors.slab import row_dtype
from tests.conformance.feed import INTERVAL_MS, SMALL, START_MS, drawn, settings_of, wave

ROWS, SAMPLES = 3, 90
BRIEF_GAP_S = 60.0
ONE = settings_of(warmup_samples=20, gap_max_seconds=BRIEF_GAP_S)
KINDS: dict[str, tuple[DetectorSettings, bool]] = {
    "one channel": (ONE, True),
    "one channel, shared readout": (replace(ONE, readout="shared"), True),
    "one channel, no network": (replace(ONE, readout="shared"), False),
    "one channel, sigma": (replace(ONE, threshold=SigmaThreshold()), True),
    "one channel, quantile": (replace(ONE, threshold=QuantileThreshold()), True),
    "one channel, budget": (replace(ONE, threshold=BudgetThreshold(100.0)), True),
    "one channel, own weights": (replace(ONE, scope="stream", is_continual=True), True),
    "several channels": (settings_of(3, warmup_samples=20), True),
    "several channels, shared readout": (settings_of(3, warmup_samples=20, readout="shared"), True),
    "several channels, no network": (settings_of(3, warmup_samples=20, readout="shared"), False),
    "more channels than have a covariance": (settings_of(70, warmup_samples=20), True),
    **{
        f"architecture {name}": (settings_of(2, warmup_samples=20, model=replace(SMALL, architecture=name)), True)
        for name in get_args(Architecture)
        if name != "lstm"
    },
}


@cache
def detector_of(name: str) -> Detector:
    told, learnt = KINDS[name]
    return Detector(told, drawn(told) if learnt else None, "m")


def lived(detector: Detector, seed: int, samples: int = SAMPLES) -> Iterator[tuple[Moment, Scored, int]]:
    """Score several streams at once; yield the moment before a sample of one of them, what was said, and its place."""
    rng, told = np.random.default_rng(seed), detector.settings
    width = len(told.channels)
    values = np.stack([wave(samples, width, seed + i) for i in range(ROWS)], axis=1)  # (T, n, D)
    if rng.random() < 0.5:
        values[:, 0] = np.cumsum(np.abs(values[:, 0]), axis=0)  # a counter
    values[rng.random(values.shape) < 0.02] += rng.choice([-30.0, 5.0, 400.0])
    values[40:55, 1, 0] = values[40, 1, 0]  # one repeats itself
    values[(rng.random(values.shape) < 0.05) & (width > 1)] = np.nan
    times_ms = START_MS + INTERVAL_MS * np.arange(samples) + 100_000 * (np.arange(samples) > 70)  # and a gap
    rows = np.zeros(ROWS, row_dtype(scoring.fields(told)))
    scoring.clear(rows)
    for at in range(samples):
        before, protected = rows.copy(), rng.random(ROWS) < 0.1
        found = scoring.score(detector, rows, np.full(ROWS, times_ms[at]), values[at], protected)
        i = at % ROWS
        yield Moment(before[i : i + 1], int(times_ms[at]), values[at, i], bool(protected[i])), found, i


@pytest.mark.parametrize("name", KINDS)
def test_every_score_is_computed_again_from_what_was_packed(name: str) -> None:
    detector = detector_of(name)

    @settings(max_examples=1 if name.startswith("architecture") else 2, deadline=None)
    @given(seed=st.integers(0, 100_000))
    def holds(seed: int) -> None:
        scores = 0
        for moment, found, i in lived(detector, seed):
            row = replay.unpacked(detector.settings, replay.packed(detector.settings, moment.row))
            again, _ = replay.scored(detector, replace(moment, row=row))
            for part in ("score", "surprise", "decades", "level", "expected", "margin", "share"):
                np.testing.assert_array_equal(getattr(again, part)[0], getattr(found, part)[i], part)
            scores += int(np.isfinite(again.score[0]))
        assert scores > 50

    holds()


@cache
def some(name: str = "one channel") -> tuple[Detector, Moment]:
    *_, (moment, _, _) = lived(detector_of(name), 1, 60)
    return detector_of(name), moment


def test_a_replay_leaves_the_moment_as_it_is() -> None:
    detector, moment = some()
    before = moment.row.tobytes()
    first, second = (replay.scored(detector, moment)[0].score for _ in range(2))
    assert moment.row.tobytes() == before
    assert first == second


def test_fields_of_other_parts_and_what_lies_between_them_are_not_packed() -> None:
    detector, moment = some()
    wider = np.zeros(1, np.dtype([*row_dtype(scoring.fields(detector.settings)).descr, ("more", "f8")], align=True))
    for field in moment.row.dtype.names or ():
        wider[field] = moment.row[field]
    wider["more"] = 7.0
    assert replay.packed(detector.settings, wider) == replay.packed(detector.settings, moment.row)


@pytest.mark.parametrize(("channels", "bytes_max"), [(1, 900), (8, 1400)])
def test_with_the_shipped_settings_a_row_packs_into_about_a_kilobyte(channels: int, bytes_max: int) -> None:
    told = DetectorSettings(channels=tuple(f"c{i}" for i in range(channels)))
    *_, (moment, _, _) = lived(Detector(told, drawn(told)), 3, 200)
    packed = replay.packed(told, moment.row)
    assert len(packed) < bytes_max
    assert len(packed) < 0.5 * moment.row.dtype.itemsize


def changed(field: str, value: float) -> bytes:
    detector, moment = some()
    row = moment.row.copy()
    row[field] = value
    return replay.packed(detector.settings, row)


def _other_row() -> bytes:
    detector, moment = some("several channels")
    return replay.packed(detector.settings, moment.row)


DAMAGED: dict[str, Callable[[], bytes]] = {
    "cut": lambda: changed("samples", 60.0)[:-3],
    "followed by more": lambda: changed("samples", 60.0) + b"x",
    "nothing": lambda: b"",
    "noise": lambda: b"\x00" * 40,
    "of other settings": _other_row,
    "too long": lambda: zlib.compress(bytes(60_000_000)),
    "no number": lambda: changed("location", np.nan),
    "infinite": lambda: changed("hidden", np.inf),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_bytes_that_are_no_row_are_refused(how: str) -> None:
    with pytest.raises(ReplayError):
        replay.unpacked(ONE, DAMAGED[how]())


@pytest.mark.parametrize("model", [ModelSettings(window=-1), ModelSettings(window=2**70), ModelSettings(window=10**8)])
def test_settings_that_make_no_row_are_refused(model: ModelSettings) -> None:
    with pytest.raises(ReplayError):
        replay.unpacked(replace(ONE, model=model), changed("samples", 60.0))


def test_rows_of_other_settings_lie_otherwise() -> None:
    told = [each for each, _ in KINDS.values()]
    shapes = {str(row_dtype(scoring.fields(each)).descr) for each in told}
    assert len({replay.layout(each) for each in told}) == len(shapes) > 5


def test_a_row_that_no_stream_ever_had_has_no_score() -> None:
    detector, moment = some("several channels")
    row: NDArray[np.void] = moment.row.copy()
    row["smooth"] = -3e38  # squares, of which a root is drawn
    for never in (replace(moment, row=row), replace(moment, time_ms=2**63)):
        with pytest.raises(ReplayError, match="none that a stream ever had"):
            replay.scored(detector, never)
