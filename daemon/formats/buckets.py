"""Histograms as a few numbers that can be scored: count, mean and quantiles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

QUANTILES: Final = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class Bucket:
    """So many observations between two values."""

    lower: float
    upper: float
    count: float


def quantile_field(quantile: float) -> str:
    """Return the name of the field that holds a quantile: p50, p99.9."""
    return f"p{quantile * 100:g}"


def summary(count: float, total: float | None, buckets: Sequence[Bucket]) -> dict[str, float]:
    """Return count, mean and quantiles as fields; what cannot be known is NaN, and without buckets, not there."""
    fields = {"count": _finite(float(count))}
    fields["mean"] = _finite(total / count) if total is not None and count > 0 else math.nan
    if buckets:
        fields |= {quantile_field(each): quantile(buckets, each) for each in QUANTILES}
    return fields


def quantile(buckets: Sequence[Bucket], share: float) -> float:
    """Return the value below which `share` of the observations lie, taking each bucket's as evenly spread."""
    total = sum(bucket.count for bucket in buckets)
    if not 0 < total < math.inf:
        return math.nan
    rank, below = share * total, 0.0
    last = buckets[0]
    for bucket in (each for each in buckets if each.count > 0):
        last = bucket
        if below + bucket.count >= rank:
            break
        below += bucket.count
    if not math.isfinite(last.lower) or not math.isfinite(last.upper):
        return _finite(last.lower if math.isfinite(last.lower) else last.upper)
    inside = last.lower + (last.upper - last.lower) * ((rank - below) / last.count)
    return _finite(min(inside, last.upper))  # the last bit may be beyond it


def explicit(
    bounds: Sequence[float], counts: Sequence[float], low: float | None, high: float | None
) -> list[Bucket] | None:
    """Return the buckets between `bounds`, one more than those; None when the numbers do not fit together."""
    if not bounds and not counts:
        return []
    if len(counts) != len(bounds) + 1 or any(b <= a for a, b in pairwise(bounds)):
        return None
    first = low if low is not None else -math.inf if not bounds else min(0.0, bounds[0])
    edges = [first, *bounds, high if high is not None else math.inf]
    return [Bucket(*each) for each in zip(edges, edges[1:], counts, strict=False)]


def exponential(scale: int, offset: int, counts: Iterable[float]) -> list[Bucket]:
    """Return the buckets of one sign, whose bounds are powers of 2 ** 2 ** -scale, the first at `offset`."""
    edge = _power(scale, offset)
    found = []
    for index, count in enumerate(counts, offset + 1):
        upper = _power(scale, index)
        found.append(Bucket(edge, upper, count))
        edge = upper
    return found


def mirrored(buckets: Sequence[Bucket]) -> list[Bucket]:
    """Return the buckets with their sign changed, in rising order again."""
    return [Bucket(-bucket.upper, -bucket.lower, bucket.count) for bucket in reversed(buckets)]


def _power(scale: int, index: int) -> float:
    try:
        return float(2.0 ** math.ldexp(index, -scale))
    except OverflowError:
        return math.inf if index > 0 else 0.0


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan
