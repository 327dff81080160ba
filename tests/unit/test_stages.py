"""How deliveries are counted and told, whatever becomes of them."""

from __future__ import annotations

import pytest

from daemon import events
from daemon.exposition import Numbers
from daemon.lines import DETAIL_CHARS_MAX, Line
from daemon.stages import Delivery, delivery, repartition


class Counted:
    """Numbers as a scrape sees them, and the lines that were asked for."""

    def __init__(self, *happened: Delivery) -> None:
        self._numbers = Numbers(lambda: None)
        self.lines = [line for event in happened for line in delivery(self._numbers, event)]

    def __getitem__(self, outcome: str) -> float:
        """Return how often something came of what was sent to `duty`."""
        return self._value("longwatch_deliveries_total", outcome=outcome)

    def _value(self, name: str, **labels: str) -> float:
        samples = [sample for family in self._numbers.collect() for sample in family.samples if sample.name == name]
        return next(each.value for each in samples if each.labels == {"receiver": "duty", **labels})

    @property
    def gauges(self) -> tuple[float, float]:
        """Return how much is not told yet, and of how many open alerts it is reminded."""
        return self._value("longwatch_delivery_lag_records"), self._value("longwatch_delivery_open_alerts")


def test_every_series_of_a_receiver_is_there_from_the_first_measurement_on() -> None:
    counted = Counted(events.DeliveryMeasured("duty", 7, 3))
    assert [counted[outcome] for outcome in ("taken", "refused", "failed")] == [0, 0, 0]
    assert list(counted.gauges) == [7, 3]
    assert counted.lines == []


def test_what_is_taken_is_counted_and_not_told() -> None:
    counted = Counted(events.Delivered("duty", 5), events.Delivered("duty", 2))
    assert (counted["taken"], counted.lines) == (7, [])


def test_a_receiver_that_does_not_answer_is_counted_each_time_and_told_once_a_minute() -> None:
    counted = Counted(*[events.DeliveryFailed("duty", "timed out")] * 3)
    assert counted["failed"] == 3
    assert counted.lines[0] == Line("warning", "delivery_failed", {"receiver": "duty", "why": "timed out"}, "duty")


def test_every_notice_that_is_refused_is_told_with_its_alert() -> None:
    counted = Counted(*(events.DeliveryRefused("duty", f"a{i}", "b" * 1000) for i in range(3)))
    assert counted["refused"] == 3
    assert [line.fields["alert_id"] for line in counted.lines] == ["a0", "a1", "a2"]
    assert all(line.scarce is None for line in counted.lines)
    assert len(str(counted.lines[0].fields["why"])) == DETAIL_CHARS_MAX


@pytest.mark.parametrize("active", [True, False])
def test_a_first_stage_that_begins_or_ceases_says_so(active: bool) -> None:
    (line,) = repartition(Numbers(lambda: None), events.Repartitioning(active=active))
    assert line.event == ("repartition_begun" if active else "repartition_ceased")
