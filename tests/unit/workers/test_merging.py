"""The pages of many workers are one page that a scraper can read, and nothing of any of them is missing there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from daemon.declared import Declared
from daemon.workers.merging import merged, told

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

pages = st.lists(
    st.fixed_dictionaries({}, optional={label: st.floats(0, 1e6) for label in ("a b", 'quo"te', "{x} 1", "\\", "\n")}),
    min_size=1,
    max_size=3,
)


def page(values: dict[str, float]) -> str:
    """Return a page with a gauge and a histogram for each label value, and a counter without labels."""
    registry = CollectorRegistry()
    gauge = Gauge("some_gauge", "What {it} is", ["one"], registry=registry)
    histogram = Histogram("some_seconds", "How long", ["one"], registry=registry, buckets=(1.0,))
    Counter("some", "How many", registry=registry).inc(len(values))
    for label, value in values.items():
        gauge.labels(label).set(value)
        histogram.labels(label).observe(value)
    return generate_latest(registry).decode()


def samples(text: str) -> Samples:
    """Return every sample of a page; no metric may stand there twice."""
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    found = [
        (sample.name, frozenset(sample.labels.items()), sample.value) for each in families for sample in each.samples
    ]
    assert len(found) == len({each[:2] for each in found})
    return {(name, labels): value for name, labels, value in found}


@given(pages)
def test_every_series_of_every_page_is_there_once_with_its_workers_number(values: list[dict[str, float]]) -> None:
    texts = dict(enumerate(page(each) for each in values))
    expected = {
        (name, labels | {("worker", str(worker))}): value
        for worker, text in texts.items()
        for (name, labels), value in samples(text).items()
    }
    assert samples(merged(texts)) == expected


def test_what_is_told_of_the_workers_themselves_keeps_its_labels() -> None:
    up = Declared("gauge", "up_or_not", "Whether it runs.", ("worker",))
    text = merged({0: page({}), 3: page({})}, told(up, {0: 1.0, 3: 0.0}))
    assert samples(text)["up_or_not", frozenset({("worker", "3")})] == 0.0
    assert samples(text)["up_or_not", frozenset({("worker", "0")})] == 1.0
    assert text.count("# HELP some_total ") == 1
