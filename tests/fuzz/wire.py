"""Protobuf's wire format as a tree that can be changed node by node, without knowing any message."""

from __future__ import annotations

from typing import Any

from cramjam import DecompressionError, snappy

from tests.fuzz.mutation import Shape

Part = list[Any]  # field number, wire type, and an integer, bytes, or the parts of a message
WIDTHS = {1: 8, 5: 4}
DEPTH_MAX = 12
PACKED_BYTES_MAX = 1 << 17


def parsed(data: bytes, depth: int = 0) -> list[Part]:
    """Return the parts of a message. Raises ValueError where it is none."""
    at, parts = 0, list[Part]()
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not number:
            raise ValueError("not a message")
        if wire == 0:
            value, at = _varint(data, at)
            parts.append([number, wire, value])
        elif wire in WIDTHS:
            end = at + WIDTHS[wire]
            parts.append([number, wire, int.from_bytes(data[at:end], "little")])
            at = end
        elif wire == 2:
            size, at = _varint(data, at)
            inner = _inner(data[at : at + size], depth)
            parts.append([number, wire, inner])
            at += size
        else:
            raise ValueError(f"wire type {wire}")
    if at > len(data):
        raise ValueError("not a message")
    return parts


def written(tree: object) -> bytes:
    """Return the parts as bytes. Raises ValueError where they cannot be."""
    if isinstance(tree, bytes):
        return tree
    if isinstance(tree, str):
        return tree.encode()
    if not isinstance(tree, list):
        raise ValueError("not a list of parts")  # noqa: TRY004 - what a shape may raise
    result = bytearray()
    for part in tree:
        if not isinstance(part, list) or len(part) != 3 or not all(isinstance(each, int) for each in part[:2]):
            raise ValueError("not a part")
        number, wire, value = part
        result += _as_varint(number << 3 | wire & 7)
        if wire == 2:
            inner = written(value)
            result += _as_varint(len(inner)) + inner
        elif wire in WIDTHS:
            result += (_whole(value) % (1 << 8 * WIDTHS[wire])).to_bytes(WIDTHS[wire], "little")
        else:
            result += _as_varint(_whole(value))
    return bytes(result)


def _inner(data: bytes, depth: int) -> object:
    try:
        return parsed(data, depth + 1) if data and depth < DEPTH_MAX else data
    except ValueError:
        return data


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError("not a whole number")  # noqa: TRY004 - what a shape may raise
    return value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        result |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return result, at
    raise ValueError("a number without its end")


def _as_varint(value: int) -> bytes:
    value %= 1 << 64
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    return bytes((*result, value))


def _unpacked(data: bytes) -> object:
    try:
        if snappy.decompress_raw_len(data) > PACKED_BYTES_MAX:  # it would be made room for, or the process aborted
            raise ValueError("too large")
        return parsed(bytes(snappy.decompress_raw(data)))
    except DecompressionError as error:
        raise ValueError(str(error)) from error


PARTS = Shape(parsed, written)
PACKED = Shape(_unpacked, lambda tree: bytes(snappy.compress_raw(written(tree))))
