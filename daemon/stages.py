"""How what goes on before and after the loop is counted and told: the repartition of the input, the deliveries."""

from __future__ import annotations

from collections.abc import Iterable

from daemon import events
from daemon.exposition import Numbers
from daemon.lines import Line, short
from daemon.metrics import Metrics
from daemon.series import start_receiver

Repartition = events.Repartitioning | events.Repartitioned | events.RepartitionFailed
Delivery = events.Delivered | events.DeliveryRefused | events.DeliveryFailed | events.DeliveryMeasured


def repartition(numbers: Numbers, event: Repartition) -> Iterable[Line]:
    """Count what the first stage did, and return its line."""
    match event:
        case events.Repartitioning():
            numbers.set(Metrics.REPARTITIONING, event.active)
            return (Line("info", "repartition_begun" if event.active else "repartition_ceased"),)
        case events.Repartitioned():
            numbers.add(Metrics.TRANSACTIONS, 1, "committed")
            numbers.add(Metrics.REPARTITIONED_RECORDS, event.records)
            numbers.add(Metrics.REPARTITIONED_READINGS, event.readings)
            numbers.observe(Metrics.TURN_SECONDS, event.seconds, "repartition")
            return ()
        case events.RepartitionFailed():
            numbers.add(Metrics.TRANSACTIONS, 1, "failed")
            return (Line("warning", "repartition_failed", {"why": short(event.why)}),)


def delivery(numbers: Numbers, event: Delivery) -> Iterable[Line]:
    """Count what became of notices, and return the line of those that were not taken."""
    start_receiver(numbers, event.receiver)
    match event:
        case events.Delivered():
            numbers.add(Metrics.DELIVERIES, event.count, event.receiver, "taken")
            return ()
        case events.DeliveryRefused():
            numbers.add(Metrics.DELIVERIES, 1, event.receiver, "refused")
            fields = {"receiver": event.receiver, "alert_id": event.alert_id, "why": short(event.why)}
            return (Line("warning", "delivery_refused", fields),)
        case events.DeliveryFailed():
            numbers.add(Metrics.DELIVERIES, 1, event.receiver, "failed")
            fields = {"receiver": event.receiver, "why": short(event.why)}
            return (Line("warning", "delivery_failed", fields, scarce=event.receiver),)
        case events.DeliveryMeasured():
            numbers.set(Metrics.DELIVERY_LAG_RECORDS, event.behind, event.receiver)
            numbers.set(Metrics.REMINDED, event.reminded, event.receiver)
            return ()
