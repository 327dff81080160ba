"""OTLP means the same in both encodings, and histograms become numbers that lie where the observations did."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1 import metrics_pb2

from daemon.formats import Malformed, Options, Point, buckets, decoder
from daemon.formats.buckets import Bucket
from daemon.formats.point import Format

PROTO, JSON = decoder("otlp_proto", Options()), decoder("otlp_json", Options())
AT = "1700000000000000000"

counts = st.lists(st.integers(0, 9).map(str), max_size=6)
doubles = st.floats(-1e6, 1e6) | st.sampled_from(["NaN", "Infinity", "-Infinity"])
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


def pair(value: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda key, each: {"key": key, "value": each}, words, value)


values = st.recursive(
    st.one_of(
        st.builds(lambda each: {"stringValue": each}, words),
        st.builds(lambda each: {"boolValue": each}, st.booleans()),
        st.builds(lambda each: {"intValue": str(each)}, st.integers(-(2**63), 2**63 - 1)),
        st.builds(lambda each: {"doubleValue": each}, st.floats(-1e3, 1e3)),
        st.builds(lambda each: {"bytesValue": each}, st.sampled_from(["", "AAE=", "/+8="])),
        st.just({}),
    ),
    lambda inner: (
        st.builds(lambda each: {"arrayValue": {"values": each}}, st.lists(inner, max_size=3))
        | st.builds(lambda each: {"kvlistValue": {"values": each}}, st.lists(pair(inner), max_size=3))
    ),
    max_leaves=5,
)


attributes = st.lists(pair(values), max_size=2)
shared = {"attributes": attributes, "timeUnixNano": st.sampled_from([AT, "0", "1700000000000999999"])}


def several(parts: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    points = st.fixed_dictionaries(shared | parts, optional={"flags": st.integers(0, 1), **optional})
    return st.lists(points, max_size=2)


spread = st.fixed_dictionaries({"offset": st.integers(-40, 40), "bucketCounts": counts})
number = several({"asDouble": doubles}) | several({"asInt": st.integers(-(2**63), 2**63 - 1).map(str)})
explicit = several(
    {"count": st.integers(0, 99).map(str), "bucketCounts": counts, "explicitBounds": st.lists(doubles, max_size=5)},
    sum=doubles,
    min=doubles,
    max=doubles,
)
powers = several(
    {"count": st.integers(0, 99).map(str), "scale": st.integers(-11, 21), "zeroCount": st.integers(0, 3).map(str)},
    sum=doubles,
    positive=spread,
    negative=spread,
)
quantiles = st.lists(st.fixed_dictionaries({"quantile": st.floats(0, 1), "value": doubles}), max_size=3)
summaries = several({"count": st.integers(0, 99).map(str), "sum": doubles, "quantileValues": quantiles})
temporality = {"aggregationTemporality": st.integers(0, 2)}
data = st.one_of(
    st.builds(lambda each: {"gauge": {"dataPoints": each}}, number),
    st.fixed_dictionaries(
        {"sum": st.fixed_dictionaries({"dataPoints": number, "isMonotonic": st.booleans(), **temporality})}
    ),
    st.fixed_dictionaries({"histogram": st.fixed_dictionaries({"dataPoints": explicit, **temporality})}),
    st.fixed_dictionaries({"exponentialHistogram": st.fixed_dictionaries({"dataPoints": powers, **temporality})}),
    st.builds(lambda each: {"summary": {"dataPoints": each}}, summaries),
    st.just({}),
)
metrics = st.lists(st.builds(lambda each, unit: {"name": "m", "unit": unit, **each}, data, words), max_size=3)


def wrapped(inner: Sequence[object], resource: Sequence[object] = (), scope: Sequence[object] = ()) -> dict[str, Any]:
    scoped = {"scope": {"name": "s", "attributes": list(scope)}, "metrics": list(inner)}
    return {"resourceMetrics": [{"resource": {"attributes": list(resource)}, "scopeMetrics": [scoped]}]}


def shown(form: Format, record: bytes) -> str:
    """Return all that is made of a record, or the reason alone: the words on it may differ."""
    found = form.decode(record)
    return (
        found.reason
        if isinstance(found, Malformed)
        else repr([[*each[:4], dict(each.kinds), each.unit] for each in found])
    )


@settings(max_examples=120, deadline=None)
@given(inner=metrics, resource=attributes, scope=attributes)
def test_both_encodings_of_the_same_metrics_give_the_same(
    inner: list[object], resource: list[object], scope: list[object]
) -> None:
    text = json.dumps(wrapped(inner, resource, scope))
    message = Parse(text, metrics_pb2.MetricsData()).SerializeToString()
    assert shown(PROTO, message) == shown(JSON, text.encode())


def one(metric: dict[str, Any], **more: Sequence[object]) -> Point | Malformed:
    found = JSON.decode(json.dumps(wrapped([metric], **more)).encode())
    return found if isinstance(found, Malformed) else found[0]


def test_the_label_nearest_to_the_point_wins() -> None:
    def named(value: str) -> list[dict[str, Any]]:
        return [{"key": each, "value": {"stringValue": value}} for each in value]

    gauge = {"name": "m", "gauge": {"dataPoints": [{"attributes": named("c"), "asInt": "1"}]}}
    found = one(gauge, resource=[*named("abc"), *named("a")], scope=named("bc"))
    assert isinstance(found, Point)
    assert found.labels == {"a": "a", "b": "bc", "c": "c"}


def test_an_attribute_of_any_type_is_written_out() -> None:
    inner = {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "1"}}, {"key": "none"}]}}
    value = {"arrayValue": {"values": [{"boolValue": True}, {"doubleValue": 0.5}, {"stringValue": "é"}, inner]}}
    found = one({"name": "m", "gauge": {"dataPoints": [{"attributes": [{"key": "a", "value": value}]}]}})
    assert isinstance(found, Point)
    assert found.labels == {"a": '[true, 0.5, "é", {"k": 1, "none": null}]'}


@pytest.mark.parametrize(
    "point",
    [
        {"bucketCounts": ["1", "1"], "explicitBounds": [1, 2]},
        {"bucketCounts": ["1", "1", "1"], "explicitBounds": [2, 1]},
        {"bucketCounts": [], "explicitBounds": [1]},
    ],
)
def test_a_histogram_that_contradicts_itself_is_refused(point: dict[str, Any]) -> None:
    found = one({"name": "m", "histogram": {"dataPoints": [{"timeUnixNano": AT, "count": "2", **point}]}})
    assert isinstance(found, Malformed)
    assert found.reason == "wrong_type"


def test_a_histogram_without_observations_has_a_count_and_nothing_else() -> None:
    point = {"timeUnixNano": AT, "count": "0", "sum": 0, "bucketCounts": ["0", "0"], "explicitBounds": [1]}
    found = one({"name": "m", "histogram": {"dataPoints": [point]}})
    assert isinstance(found, Point)
    assert {name for name, value in found.fields.items() if not math.isnan(value)} == {"count"}


edges = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8, unique=True).map(sorted)


@settings(max_examples=60, deadline=None)
@given(edges=edges, tops=st.lists(st.integers(0, 5), min_size=7, max_size=7))
def test_quantiles_rise_and_lie_within_the_buckets_that_hold_observations(edges: list[float], tops: list[int]) -> None:
    held = [Bucket(*each) for each in zip(edges, edges[1:], tops, strict=False)]
    found = [buckets.quantile(held, each / 20) for each in range(21)]
    filled = [each for each in held if each.count]
    if not filled:
        assert all(math.isnan(each) for each in found)
        return
    assert found == sorted(found)
    slack = 1e-9 * max(map(abs, edges))
    assert filled[0].lower - slack <= found[0] <= found[-1] <= filled[-1].upper + slack


@pytest.mark.parametrize(
    ("scale", "index", "bound"), [(0, 3, 8.0), (1, 2, 2.0), (-1, 1, 4.0), (20, 0, 1.0), (3, -8, 0.5)]
)
def test_exponential_buckets_have_powers_for_bounds(scale: int, index: int, bound: float) -> None:
    first, second = buckets.exponential(scale, index, [1, 2])
    assert (first.lower, first.upper) == (bound, second.lower)
    assert second.upper == pytest.approx(bound * 2 ** (2.0**-scale * 2))


@pytest.mark.parametrize("scale", [-(2**31), -20, 2**31 - 1])
@pytest.mark.parametrize("offset", [-(2**31), -1, 0, 2**31 - 1])
def test_exponents_beyond_all_numbers_give_no_number_rather_than_an_error(scale: int, offset: int) -> None:
    held = buckets.exponential(scale, offset, [1, 2, 3])
    assert len(held) == 3
    assert not math.isinf(buckets.quantile([*buckets.mirrored(held), *held], 0.99))
