"""Derived channels are made sample by sample, miss where they cannot be made, and do not depend on cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.commands.made import made as made_of_file
from daemon.commands.made import told
from daemon.config import GroupConfig, loads
from daemon.derived import Derivation, Derived
from daemon.joining import Join
from daemon.recipe import NAME, Recipe
from daemon.tables import Table
from detectors import scaling
from detectors.settings import StaticThreshold
from tests.conformance.feed import settings_of
from tests.unit.daemon.joined import START_MS, Partition, Reading, in_pieces

A = '{host="a"}'


def recipe(makes: Sequence[Derived], reads: tuple[str, ...], channels: tuple[str, ...]) -> Recipe:
    derivation = Derivation(reads, tuple(makes), channels)
    return Recipe(reads, channels, NAME, Join(len(reads), 10_000), derivation)


def scored(made: Recipe, *steps: dict[str, float]) -> list[tuple[float | None, ...]]:
    """Return what is scored of readings that come together, one step each ten seconds."""
    readings = [Reading("a", name, 10_000 * i, value) for i, step in enumerate(steps) for name, value in step.items()]
    end = Reading("a", made.reads[0], 10_000 * (len(steps) + 1), 1.0)
    settled = settings_of(len(made.channels), threshold=StaticThreshold(1.0), warmup_samples=3)
    found = in_pieces(Partition(made, replace(settled, channels=made.channels)), [*readings, end])
    return [values for *_, values in found.samples[A]][: len(steps)]


def of(kind: str, *names: str) -> Recipe:
    derived = Derived("made", kind, names)  # type: ignore[arg-type]  # one of the closed list
    return recipe([derived], names, ("made", names[0]))


def test_a_rate_is_the_growth_per_second_and_misses_where_the_total_began_anew() -> None:
    steps = [{"t": 100.0}, {"t": 150.0}, {"t": 20.0}, {"t": 30.0}]
    assert [values[0] for values in scored(of("rate", "t"), *steps)] == [None, 5.0, None, 1.0]


def test_a_difference_may_fall() -> None:
    assert [v[0] for v in scored(of("difference", "t"), {"t": 5.0}, {"t": 2.0}, {"t": 2.0})] == [None, -3.0, 0.0]


def test_a_ratio_misses_where_a_part_does_or_the_lower_one_is_zero() -> None:
    steps = [
        {"a": 1.0, "b": 4.0},
        {"a": 1.0, "b": 0.0},
        {"a": 0.0, "b": 0.0},
        {"a": 1.0},
        {"b": 2.0},
        {"a": -1.0, "b": 2.0},
    ]
    assert [values[0] for values in scored(of("ratio", "a", "b"), *steps)[:4]] == [0.25, None, None, None]
    assert scored(of("ratio", "a", "b"), *steps)[-1][0] == -0.5


def test_a_logarithm_misses_at_zero_and_below() -> None:
    found = [values[0] for values in scored(of("log", "t"), {"t": np.e}, {"t": 0.0}, {"t": -1.0})]
    assert found == [pytest.approx(1.0), None, None]


def test_what_is_too_large_for_a_number_is_missing() -> None:
    assert scored(of("ratio", "a", "b"), {"a": 1e300, "b": 1e-300})[0][0] is None


def test_a_rate_is_measured_over_the_time_in_which_its_channel_was_missing() -> None:
    made = recipe([Derived("made", "rate", ("t",))], ("t", "u"), ("made", "u"))
    steps = [{"t": 100.0, "u": 1.0}, {"u": 1.0}, {"u": 1.0}, {"t": 160.0, "u": 1.0}]
    assert [values[0] for values in scored(made, *steps)] == [None, None, None, 2.0]


def test_one_derived_channel_is_made_of_another() -> None:
    makes = [Derived("er", "rate", ("e",)), Derived("rr", "rate", ("r",)), Derived("share", "ratio", ("er", "rr"))]
    made = recipe(makes, ("e", "r"), ("share", "rr"))
    assert scored(made, {"e": 0.0, "r": 0.0}, {"e": 5.0, "r": 100.0}) == [(None, None), (0.05, 10.0)]


def test_a_derived_channel_is_never_taken_for_a_counter() -> None:
    made = recipe([Derived("t", "log", ("t",))], ("t", "u"), ("t", "u"))
    settled = replace(settings_of(2, threshold=StaticThreshold(1.0), warmup_samples=3), channels=("t", "u"))
    readings = [Reading("a", name, 10_000 * i, float(i + 1)) for i in range(80) for name in ("t", "u")]
    found = in_pieces(Partition(made, settled), readings)
    assert found.rows()[A]["counter"].tolist() == [scaling.GAUGE, scaling.RECOGNISED]


changes = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("tu"), st.integers(0, 25), st.integers(0, 9)),
    min_size=2,
    max_size=50,
)


@given(changes, st.lists(st.integers(1, 49), max_size=6), st.lists(st.integers(1, 49), max_size=2), st.booleans())
@settings(max_examples=30, deadline=None)
def test_how_polls_cut_the_input_and_deaths_change_nothing(
    sent: list[tuple[str, str, int, int]], cuts: Sequence[int], deaths: Sequence[int], joins: bool
) -> None:
    makes = (Derived("rate", "rate", ("t",)), Derived("step", "difference", ("u",)), Derived("log", "log", ("rate",)))
    derivation = Derivation(("t", "u"), makes, ("rate", "step", "log"))
    join = Join(2, 10_000, 5_000) if joins else None
    made = Recipe(("t", "u"), derivation.channels, NAME, join, derivation)
    settled = replace(settings_of(3, threshold=StaticThreshold(1.0), warmup_samples=3), channels=derivation.channels)
    at, readings = 0, []
    for stream, channel, seconds, value in sent:
        at += seconds - 4  # some come late
        readings.append(Reading(stream, channel, max(at, 0) * 1000, float(value)))
    whole = in_pieces(Partition(made, settled), readings)
    pieces = in_pieces(Partition(made, settled), readings, cuts, deaths)
    assert pieces.samples == whole.samples
    assert joins or whole.samples
    assert pieces.told() == whole.told()
    np.testing.assert_equal(pieces.rows(), whole.rows())


CONFIG = """
groups:
  - name: g
    channels: [share, a]
    join: {channel: name, interval_seconds: 10, lateness_seconds: 0}
    derive: {share: {ratio: [a, b]}}
"""


def group(text: str = CONFIG) -> GroupConfig:
    return loads(text, "test", {}).groups[0]


def test_a_file_of_readings_gives_the_samples_that_the_daemon_makes_of_them() -> None:
    readings = [
        ("a", 1, 3.0),
        ("b", 4, 6.0),
        ("a", 12, 1.0),
        ("b", 13, 4.0),
        ("a", 21, 5.0),
        ("a", 31, 8.0),
        ("b", 32, 1.0),
    ]
    nan = float("nan")
    values = np.array([[value, nan] if name == "a" else [nan, value] for name, _, value in readings])
    times_ms = np.array([START_MS + at * 1000 for _, at, _ in readings])
    labels = np.array([False, False, False, True, False, False, False])
    table = made_of_file(group(), Table(("a", "b"), [str(each) for each in times_ms], times_ms, values, labels))
    assert table.channels == ("share", "a")
    assert (table.times_ms - START_MS).tolist() == [0, 10_000, 20_000, 30_000]
    np.testing.assert_equal(table.values, [[0.5, 3.0], [0.25, 1.0], [nan, 5.0], [8.0, 8.0]])
    assert table.labels is not None
    assert table.labels.tolist() == [False, True, False, False]
    sent = [Reading("a", name, at * 1000, value) for name, at, value in readings]
    made = group().recipe()
    assert made is not None
    daemon = in_pieces(Partition(made, group().detector()), sent)
    live = [[np.nan if value is None else value for value in values] for *_, values in daemon.samples[A]]
    np.testing.assert_equal(table.values, live)
    assert told(group()).tolist() == [scaling.GAUGE, scaling.UNKNOWN]
