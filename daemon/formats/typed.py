"""JSON read into typed structs: what does not fit comes back as a reason."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from daemon.formats.point import DETAIL_CHARS_MAX, Malformed

T = TypeVar("T")


def typed(decoder: msgspec.json.Decoder[T], value: bytes) -> T | Malformed:
    """Return what `decoder` makes of `value`, or why it cannot."""
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        text = str(error)[:DETAIL_CHARS_MAX]
        if "missing required field" in text:
            return Malformed("missing_field", text)
        return Malformed("not_finite" if text.startswith("Number out of range") else "wrong_type", text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Malformed("undecodable", f"expected JSON: {error}"[:DETAIL_CHARS_MAX])
