"""A new stream begins as what is said of its values: by the operator, else by the producer, else by nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from daemon.engine import layout
from daemon.formats import Kind, Malformed, Point
from daemon.intake import Intake, Limits
from daemon.memory import MemoryRecord
from daemon.state import GroupLayout, PartitionState
from detectors import scaling
from tests.conformance.feed import settings_of
from tests.unit.daemon.test_intake import HERE, T_MS, Group, record

TOTALS: Mapping[str, Kind] = {"sent": "counter", "added": "delta", "level": "gauge"}


class Told:
    """A format whose points say what their fields are."""

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the one point that there is."""
        return [Point("m", {}, T_MS, dict.fromkeys((*TOTALS, "untold"), float(len(value))), TOTALS)]


def begun(kinds: Mapping[str, Kind], *channels: str) -> list[list[float]]:
    group = Group(channels=channels)
    layouts = {"all": GroupLayout(layout(settings_of(len(channels) or 1)), 100)}
    state = PartitionState.empty(layouts, 0)
    Intake(Told(), [group], Limits(), kinds).take(HERE, [record(0)], state)
    found: list[list[float]] = state.slabs["all"].view()["counter"].tolist()
    return found


def test_a_new_stream_begins_as_what_its_producer_says_that_it_is() -> None:
    assert begun({}) == [[scaling.COUNTER], [scaling.DELTA], [scaling.UNKNOWN], [scaling.UNKNOWN]]
    assert begun({}, "added", "absent", "sent") == [[scaling.DELTA, scaling.UNKNOWN, scaling.COUNTER]]


def test_a_stream_is_what_its_own_record_says_whatever_another_one_of_its_name_was() -> None:
    class Kinds:
        """A format whose record is the kind of the one point."""

        def decode(self, value: bytes) -> Sequence[Point]:
            return [Point("m", {}, T_MS, {"value": 1.0}, {"value": "counter" if value == b"counter" else "gauge"})]

    intake, found = Intake(Kinds(), [Group()], Limits()), []
    for kind in (b"gauge", b"counter"):  # each in a partition of its own
        state = PartitionState.empty({"all": GroupLayout(layout(settings_of()), 100)}, 0)
        intake.take(HERE, [MemoryRecord(0, -1, None, kind, ())], state)
        found += state.slabs["all"].view()["counter"].tolist()
    assert found == [[scaling.UNKNOWN], [scaling.COUNTER]]


@pytest.mark.parametrize(
    ("kind", "code"), [("counter", scaling.COUNTER), ("delta", scaling.DELTA), ("gauge", scaling.GAUGE)]
)
def test_the_operator_s_word_comes_before_the_producer_s(kind: Kind, code: float) -> None:
    assert begun({"all": kind}) == [[code]] * 4
    assert begun({"another": kind}) == begun({})
