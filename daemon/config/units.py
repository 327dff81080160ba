"""The units that keys end in, and what people write instead."""

from __future__ import annotations

import re

_WORDS = ("seconds", "hours", "samples", "bytes", "epochs", "intervals")

_TIMES = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0,
    "minute": 60.0, "h": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0,
}  # fmt: skip
_SIZES = {
    "b": 1.0, "byte": 1.0, "k": 1e3, "kb": 1e3, "kib": 1024.0, "ki": 1024.0, "m": 1e6, "mb": 1e6, "mib": 1024.0**2,
    "mi": 1024.0**2,
}  # fmt: skip
_MEASURE = re.compile(r"\s*(?P<number>[0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(?P<unit>[A-Za-zµ]{1,10})\s*")


def unit_of(key: str) -> str | None:
    """Return the unit that a key's name ends in, None when it has none: `flush_seconds` is in seconds."""
    return next((word for word in key.split("_") if word in _WORDS), None)


def without_unit(text: str, unit: str) -> str | None:
    """Return what `30s` or `64KiB` is as a plain number of `unit`, None when `text` is no such measure."""
    found = _MEASURE.fullmatch(text)
    if found is None:
        return None
    factor = _factor(found["unit"].lower(), unit)
    return None if factor is None else f"{float(found['number']) * factor:.10g}"


def _factor(written: str, unit: str) -> float | None:
    if unit in {"seconds", "hours"}:
        seconds = _TIMES.get(written) or _TIMES.get(written.removesuffix("s"))
        return None if seconds is None else seconds / (3600.0 if unit == "hours" else 1.0)
    if unit == "bytes":
        return _SIZES.get(written) or _SIZES.get(written.removesuffix("s"))
    return 1.0 if written.rstrip("s") == unit.rstrip("s") else None
