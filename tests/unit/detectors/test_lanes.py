"""The walk through history reads every row that counts once, and carries state only within a span."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.lanes import LEAD_SAMPLES_MAX, Chunk, History, Span, TrainingSeries, chunks, later_spans, random_spans


def numbered(*lengths: int) -> History:
    """Return a history in which each sample's value is its row number."""
    rows = np.arange(sum(lengths), dtype=np.float32)[:, None]
    cuts = np.cumsum(lengths)[:-1]
    return History.of([TrainingSeries(part, part, np.ones_like(part, bool)) for part in np.split(rows, cuts)])


def read(walk: list[Chunk]) -> list[int]:
    """Return the rows that count, in the order of the chunks."""
    return [row for chunk in walk for row in chunk.rows[chunk.counted].tolist()]


spans = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 20), st.integers(1, 90)).map(
        lambda three: Span(three[0], three[0] + three[1], three[0] + three[1] + three[2])
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(spans=spans, lanes=st.integers(1, 5), samples=st.integers(1, 70))
def test_every_row_of_every_span_behind_its_burn_in_counts_once(spans: list[Span], lanes: int, samples: int) -> None:
    walk = list(chunks(iter(spans), lanes=lanes, samples=samples, rows=500))
    expected = [row for span in spans for row in range(span.counted, span.end)]
    assert sorted(read(walk)) == sorted(expected)
    assert all(chunk.rows.shape == (samples, lanes) for chunk in walk)


def test_state_is_carried_within_a_span_and_not_into_the_next() -> None:
    walk = list(chunks(iter([Span(0, 0, 10), Span(20, 20, 24)]), lanes=1, samples=4, rows=30))
    assert [chunk.rows[:, 0].tolist() for chunk in walk[:2]] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    hidden, cell = torch.full((1, 3), 2.0, requires_grad=True), torch.full((1, 3), 3.0, requires_grad=True)
    carried = [chunk.carry((hidden, cell)) for chunk in walk]
    assert [h.tolist() for h, _ in carried] == [[[value] * 3] for value in (0.0, 2.0, 2.0, 0.0)]
    assert [c.tolist() for _, c in carried] == [[[value] * 3] for value in (0.0, 3.0, 3.0, 0.0)]
    assert not any(h.requires_grad or c.requires_grad for h, c in carried)


def test_each_series_is_cut_into_an_earlier_and_a_later_part() -> None:
    history = numbered(100, 50)
    assert history.earlier == (Span(0, 0, 80), Span(100, 100, 140))
    assert history.later == (Span(0, 80, 100), Span(100, 140, 150))
    assert history.samples == 120


def test_windows_are_told_newest_first_and_count_no_sample_that_the_lane_has_not_read() -> None:
    history = numbered(100)
    (chunk,) = chunks(iter([Span(10, 12, 16)]), lanes=1, samples=8, rows=100)
    told, counted = history.windows(chunk, torch.arange(8), 4)
    assert told[3, :, 0].tolist() == [13, 12, 11, 10]
    assert told[2, :, 0].tolist() == [12, 11, 10, 9]
    assert counted[:, :, 0].tolist() == [
        [False] * 4,  # 10 and 11: burn-in
        [False] * 4,
        [True, True, True, False],  # 12: the lane has not read 9
        [True] * 4,
        [True] * 4,
        [True] * 4,
        [False] * 4,  # 16 and 17: beyond the end
        [False] * 4,
    ]


def test_the_following_sample_never_comes_from_behind_the_end() -> None:
    history = numbered(100)
    (chunk,) = chunks(iter([Span(10, 12, 16)]), lanes=1, samples=8, rows=100)
    told, counted = history.following(chunk)
    assert told[counted].tolist() == [13.0, 14.0, 15.0]


def test_missing_values_do_not_count() -> None:
    values = np.arange(40, dtype=np.float32)[:, None]
    valid = np.ones((40, 1), np.bool_)
    valid[13] = False
    history = History.of([TrainingSeries(values, np.where(valid, values, np.float32("nan")), valid)])
    (chunk,) = chunks(iter([Span(10, 10, 16)]), lanes=1, samples=6, rows=40)
    told, counted = history.windows(chunk, torch.arange(6), 2)
    assert 13.0 not in told[counted].tolist()
    assert history.following(chunk)[0].isfinite().all()
    assert history.following(chunk)[1][:, 0, 0].tolist() == [True, True, False, True, True, False]


def test_the_samples_further_ahead_count_up_to_the_end() -> None:
    history = numbered(100)
    (chunk,) = chunks(iter([Span(10, 10, 14)]), lanes=1, samples=4, rows=100)
    told, counted = history.following(chunk, 3)
    assert [row[seen].tolist() for row, seen in zip(told, counted, strict=True)] == [[11, 12, 13], [12, 13], [13], []]


def test_repeating_the_last_sample_of_a_ramp_is_wrong_by_one_step_each_time() -> None:
    history = numbered(100)
    (chunk,) = chunks(iter([Span(10, 12, 16)]), lanes=1, samples=8, rows=100)
    total, count = history.repetition(chunk)
    assert total.item() == pytest.approx(3 * 0.5)
    assert count.item() == 3


@settings(deadline=None)
@given(lengths=st.lists(st.integers(10, 300), min_size=1, max_size=6), seed=st.integers(0, 2**31))
def test_random_spans_stay_inside_the_earlier_part_of_one_series(lengths: list[int], seed: int) -> None:
    history = numbered(*lengths)
    generator = torch.Generator().manual_seed(seed)
    for span in itertools.islice(random_spans(history, lanes=8, burn_in=64, generator=generator), 40):
        (home,) = [part for part in history.earlier if part.begin <= span.begin < part.end]
        assert span.end == home.end
        assert span.begin <= span.counted < span.end
        assert span.counted - span.begin < 64


def test_lanes_start_spread_over_the_history_with_different_burn_ins() -> None:
    history = numbered(2000, 2000)
    walk = random_spans(history, lanes=32, burn_in=64, generator=torch.Generator().manual_seed(0))
    first = list(itertools.islice(walk, 32))
    assert len({span.begin for span in first}) > 25
    assert len({span.counted - span.begin for span in first}) > 15
    then = list(itertools.islice(walk, 4))
    assert {span.end for span in then[:2]} == {1600, 3600}  # each series once before one comes again
    assert {span.end for span in then[2:]} == {1600, 3600}


@settings(deadline=None)
@given(lengths=st.lists(st.integers(10, 6000), min_size=1, max_size=5), lanes=st.integers(1, 8))
def test_the_later_parts_are_judged_whole_and_only_once(lengths: list[int], lanes: int) -> None:
    history = numbered(*lengths)
    pieces = list(later_spans(history, lanes=lanes))
    counted = sorted(row for span in pieces for row in range(span.counted, span.end))
    assert counted == sorted(row for span in history.later for row in range(span.counted, span.end))
    for span in pieces:
        (home,) = [part for part in history.later if part.counted <= span.counted < part.end]
        assert span.begin == max(home.begin, span.counted - LEAD_SAMPLES_MAX)


def test_series_that_do_not_belong_together_are_refused() -> None:
    one = TrainingSeries(np.zeros((20, 2), np.float32), np.zeros((20, 1), np.float32), np.ones((20, 1), np.bool_))
    wide = TrainingSeries(np.zeros((20, 3), np.float32), one.targets, one.valid)
    short = TrainingSeries(one.inputs, one.targets[:9], one.valid[:9])
    bad = TrainingSeries(np.full((20, 2), np.inf, np.float32), one.targets, one.valid)
    bad_target = TrainingSeries(one.inputs, np.full((20, 1), np.nan, np.float32), one.valid)
    blank = TrainingSeries(one.inputs, one.targets, ~one.valid)
    tiny = TrainingSeries(one.inputs[:9], one.targets[:9], one.valid[:9])
    for series, told in [
        ([one, wide], "series 1 of 2 has other channels"),
        ([short], "series 0 of 1: inputs, targets and valid differ in length"),
        ([bad], "a number is not finite"),
        ([bad_target], "a number is not finite"),
        ([blank], "all values of 1 series are missing"),
        ([tiny, tiny], "the longest of 2 series has under 10 samples"),
        ([], "there is no series"),
    ]:
        with pytest.raises(ValueError, match=told):
            History.of(series)
