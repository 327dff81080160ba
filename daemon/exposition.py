"""The numbers behind /metrics: declared once, moved under one lock, rendered without ever failing a scrape."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from daemon.declared import Declared
from daemon.metrics import Metrics

Labels = tuple[str, ...]
"""Label values in the order in which the metric declares its label names."""


@dataclass(slots=True)
class _Buckets:
    """A histogram's own numbers; `counts` has one place more than the bounds, for what lies above all of them."""

    counts: NDArray[np.int64]
    total: float = 0.0


@dataclass(slots=True)
class _Family:
    """The series of one metric, by label values."""

    declared: Declared
    values: dict[Labels, float] = field(default_factory=dict)
    buckets: dict[Labels, _Buckets] = field(default_factory=dict)


class Numbers(Collector):
    """Every series of every metric.

    The caller holds `lock` while it moves the numbers of one event, so a scrape sees all of an event or nothing of it.
    `refresh` is called under the lock at the beginning of each scrape, for ages.
    """

    def __init__(self, refresh: Callable[[], None]) -> None:
        self.lock = threading.RLock()
        self._refresh = refresh
        self._families = {one: _Family(one.declared) for one in Metrics}
        for one in self._families:
            if not one.declared.labels and one.declared.kind in {"counter", "histogram"}:
                self.start(one)

    def start(self, metric: Metrics, *labels: str) -> None:
        """Let a counter or histogram begin at zero, because a series that appears at 1 has no increase in PromQL."""
        if metric.declared.kind == "histogram":
            self._bucket(metric, labels)
        else:
            self._values(metric, labels).setdefault(labels, 0.0)

    def add(self, metric: Metrics, amount: float, *labels: str) -> None:
        """Raise a counter."""
        assert amount >= 0, f"{metric.declared.name} is a counter and cannot fall"
        values = self._values(metric, labels)
        values[labels] = values.get(labels, 0.0) + float(amount)

    def set(self, metric: Metrics, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._values(metric, labels)[labels] = float(value)

    def tell(self, metric: Metrics, *labels: str) -> None:
        """Publish an info metric: the facts are the labels, and facts of the same first label are replaced."""
        values = self._values(metric, labels)
        for old in [one for one in values if len(labels) == 1 or one[0] == labels[0]]:
            del values[old]
        values[labels] = 1.0

    def observe(self, metric: Metrics, value: float, *labels: str) -> None:
        """Count one value in a histogram."""
        bucket = self._bucket(metric, labels)
        bucket.counts[bisect_left(metric.declared.bounds, value)] += 1
        bucket.total += float(value)

    def observe_all(self, metric: Metrics, values: NDArray[np.floating[Any]], *labels: str) -> None:
        """Count a whole array in a histogram in one go; what is not finite has no score and is left out."""
        finite = values[np.isfinite(values)]  # (n,)
        bucket = self._bucket(metric, labels)
        places = np.searchsorted(np.asarray(metric.declared.bounds, dtype=finite.dtype), finite, side="left")  # (n,)
        bucket.counts += np.bincount(places, minlength=len(bucket.counts))
        bucket.total += float(finite.sum(dtype=np.float64))

    def remove(self, metric: Metrics, *labels: str) -> None:
        """Forget one series, so that nobody watches a value that no longer moves."""
        self._values(metric, labels).pop(labels, None)

    def get(self, metric: Metrics, *labels: str) -> float:
        """Return the value of a counter or gauge, 0 when it has none."""
        return self._values(metric, labels).get(labels, 0.0)

    def describe(self) -> Iterator[Metric]:
        """Return the metrics without their values; with it, `?name[]=` can select some of them."""
        return iter([_rendered(_Family(family.declared)) for family in self._families.values()])

    def collect(self) -> Iterator[Metric]:
        """Return all metrics as they stand now."""
        with self.lock:
            self._refresh()
            return iter([_rendered(family) for family in self._families.values()])

    def _values(self, metric: Metrics, labels: Labels) -> dict[Labels, float]:
        family = self._families[metric]
        assert len(labels) == len(family.declared.labels), f"{family.declared.name} has labels {family.declared.labels}"
        return family.values

    def _bucket(self, metric: Metrics, labels: Labels) -> _Buckets:
        family = self._families[metric]
        assert len(labels) == len(family.declared.labels), f"{family.declared.name} has labels {family.declared.labels}"
        if labels not in family.buckets:
            family.buckets[labels] = _Buckets(np.zeros(len(family.declared.bounds) + 1, dtype=np.int64))
        return family.buckets[labels]


def _rendered(family: _Family) -> Metric:
    declared = family.declared
    if declared.kind == "histogram":
        return _histogram(family)
    if declared.kind == "info":
        return _info(family)
    kind = CounterMetricFamily if declared.kind == "counter" else GaugeMetricFamily
    metric: CounterMetricFamily | GaugeMetricFamily = kind(declared.name, declared.help, labels=declared.labels)
    for labels, value in family.values.items():
        metric.add_metric(labels, value)
    return metric


def _info(family: _Family) -> Metric:
    declared = family.declared
    metric = InfoMetricFamily(declared.name.removesuffix("_info"), declared.help)
    for labels in family.values:
        metric.add_metric([], dict(zip(declared.labels, labels, strict=True)))
    return metric


def _histogram(family: _Family) -> Metric:
    declared = family.declared
    metric = HistogramMetricFamily(declared.name, declared.help, labels=declared.labels)
    upper = [*(str(float(bound)) for bound in declared.bounds), "+Inf"]
    for labels, bucket in family.buckets.items():
        cumulative = np.cumsum(bucket.counts).tolist()
        metric.add_metric(labels, list(zip(upper, cumulative, strict=True)), bucket.total)
    return metric
