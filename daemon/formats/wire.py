"""As much of Protobuf's wire format as it takes to cut a message: its parts one by one, unread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LOW_BITS: Final = 0x7F  # of a byte of a number; the highest one says that there are more
_FIXED: Final = {1: 8, 5: 4}  # bytes of a number by its wire type
_BYTES: Final = 2


class NotPlainError(Exception):
    """The message has to be read by the library."""


def parted(data: bytes, span: Sequence[int], parts: bytes) -> tuple[bytes, Sequence[tuple[int, int, int]]]:
    """Return a message without its parts whose tag is among `parts`, and of each of these tag, begin and end.

    The message is what lies in the `span`, begin and end, of `data`. Raises NotPlainError, and IndexError when it ends
    early.
    """
    at, end = span
    rest, found, begin = [], [], at
    while at < end:
        tag, first = data[at], at
        if tag > LOW_BITS:
            raise NotPlainError
        if tag & 7 == _BYTES:
            size = data[at + 1]
            at += 2
            if size > LOW_BITS:
                size, at = number(data, at - 1)
            if tag in parts:
                if first > begin:
                    rest.append(data[begin:first])
                begin = at + size
                found.append((tag, at, begin))
            at += size
        else:
            at = _passed(data, at)
    if at != end:
        raise NotPlainError
    if end > begin:
        rest.append(data[begin:end])
    return b"".join(rest), found


def _passed(data: bytes, at: int) -> int:
    kind = data[at] & 7
    if kind in _FIXED:
        return at + 1 + _FIXED[kind]
    if kind:
        raise NotPlainError
    return number(data, at + 1)[1]


def number(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that stands at a place, and the place behind it. Raises NotPlainError, IndexError."""
    found = 0
    for shift in range(0, 63, 7):
        byte = data[at]
        at += 1
        found |= (byte & LOW_BITS) << shift
        if byte <= LOW_BITS:
            return found, at
    raise NotPlainError


def part(tag: int, data: bytes) -> bytes:
    """Return a part as it stands in its message."""
    size, head = len(data), bytearray([tag])
    while size > LOW_BITS:
        head.append(size & LOW_BITS | LOW_BITS + 1)
        size >>= 7
    head.append(size)
    return bytes(head) + data
