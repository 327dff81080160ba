"""JSON read into typed structs: what does not fit comes back as a reason."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from daemon.formats.point import DETAIL_CHARS_MAX, Malformed

T = TypeVar("T")

# JSON's numbers have no end; those of a program do, and beyond it not even a float can hold them
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[float, msgspec.Meta(ge=0)]


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
