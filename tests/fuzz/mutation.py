"""Damages valid examples, from a seed: bytes flipped, cut, spliced and sown with tokens, trees changed node by node."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

BYTES_MAX = 20_000
POOL_MAX = 400  # examples, those included that were kept for what they showed
CHANGES = (1, 1, 1, 2, 3)  # how many at once, as likely as they stand here

TOKENS = (
    b"",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",  # half of a surrogate pair, as UTF-8 would write it
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"-0.0",
    b"9" * 5000,  # more digits than Python turns into an integer
    b"18446744073709551616",
    b"9223372036854775808",
    b"\\ud800",
    b"\\u0000",
    b'"',
    b"'",
    b"\\",
    b"\n",
    b"\r\n",
    b"{",
    b"}",
    b"[" * 2000,
    b"]",
    b":",
    b",",
    b"=",
    b"null",
    b"true",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\xde\xff\xff",
    b"\xdd\xff\xff\xff\xff",
)


def _nested(depth: int) -> object:
    found: object = 1
    for _ in range(depth):
        found = [found]
    return found


LEAVES: tuple[object, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    0.5,
    -0.0,
    1e308,
    -1e308,
    5e-324,
    float("nan"),
    float("inf"),
    float("-inf"),
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63),
    2**64,
    2**200,
    10**400,
    "",
    " ",
    "value",
    "NaN",
    "1e5",
    "1" * 5000,
    "\x00",
    "\ud800",
    "é\U0001f600",
    "a" * 1000,
    "2026-11-21T10:00:00Z",
    "2026-11-21T10:00:00.123456789+14:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-W47-6",
    [],
    {},
    [[]],
    {"": 0},
    {"value": None},
    _nested(150),
    b"",
    b"\xff\xfe",
)
KEYS = ("", "name", "value", "timestamp", "labels", "fields", "a.b", "\x00", "\ud800", '"', "{", "a" * 300, "__name__")


@dataclass(frozen=True, slots=True)
class Shape:
    """How a reader's bytes become a tree of dicts, lists and leaves, and bytes again; each may raise ValueError."""

    parse: Callable[[bytes], object]
    write: Callable[[object], bytes]


def _write_msgpack(tree: object) -> bytes:
    try:
        return msgspec.msgpack.encode(tree)
    except (msgspec.MsgspecError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error


JSON = Shape(json.loads, lambda tree: json.dumps(tree).encode())
MSGPACK = Shape(msgspec.msgpack.decode, _write_msgpack)


class Mutator:
    """An endless row of inputs that are nearly right; the same for the same dice and examples."""

    def __init__(
        self, dice: random.Random, examples: Sequence[bytes], tokens: Sequence[bytes] = (), shape: Shape | None = None
    ) -> None:
        self._dice = dice
        self._pool = list(examples)
        self._first = len(self._pool)
        self._tokens = (*TOKENS, *tokens)
        self._shape = shape

    def keep(self, data: bytes) -> None:
        """Go on from `data`, too: it showed something new."""
        if len(data) > BYTES_MAX:
            return
        if len(self._pool) < POOL_MAX:
            self._pool.append(data)
        else:
            self._pool[self._dice.randrange(self._first, POOL_MAX)] = data

    def next(self) -> bytes:
        """Return another input."""
        dice = self._dice
        data = self._pool[dice.randrange(self._first)] if dice.random() < 0.5 else dice.choice(self._pool)
        if self._shape is not None and dice.random() < 0.6:
            data = self._changed_tree(data, self._shape)
            if dice.random() < 0.9:
                return data
        for _ in range(dice.choice(CHANGES)):
            data = dice.choice(_CHANGES)(self, data)
        return data[: 2 * BYTES_MAX]

    def _changed_tree(self, data: bytes, shape: Shape) -> bytes:
        try:
            tree = shape.parse(data)
            for _ in range(self._dice.choice(CHANGES)):
                tree = self._grafted(tree)
            return shape.write(tree)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):  # a leaf that cannot be written
            return data

    def _grafted(self, tree: object) -> object:
        """Return the tree with one node changed; containers are changed in place."""
        dice = self._dice
        place: Any = None
        key: Any = None
        node: Any = tree
        while isinstance(node, dict | list) and node and (place is None or dice.random() < 0.8):
            place, key = node, dice.choice(list(node)) if isinstance(node, dict) else dice.randrange(len(node))
            node = place[key]
        if place is None or (isinstance(node, dict | list) and dice.random() < 0.3):
            return self._reshaped(tree)
        place[key] = self._leaf(node)
        return tree

    def _leaf(self, node: object) -> object:
        dice = self._dice
        if isinstance(node, bytes) and dice.random() < 0.8:
            return dice.choice(_CHANGES)(self, node)
        if isinstance(node, str) and dice.random() < 0.4:
            changed = dice.choice(_CHANGES)(self, node.encode("utf-8", "surrogatepass"))
            return changed.decode("utf-8", "replace")
        if isinstance(node, int) and dice.random() < 0.4:
            return node + dice.choice((-1, 1, 1 << dice.randrange(70), -(1 << dice.randrange(70))))
        return copy.deepcopy(dice.choice(LEAVES))

    def _reshaped(self, tree: object) -> object:
        """Return the tree with an entry more, fewer, renamed or repeated at the top, or put into a list."""
        dice = self._dice
        if isinstance(tree, dict) and tree:
            key, kind = dice.choice(list(tree)), dice.randrange(4)
            if kind == 0:
                del tree[key]
            elif kind == 1:
                tree[dice.choice(KEYS)] = tree.pop(key)
            elif kind == 2:
                tree[dice.choice(KEYS)] = copy.deepcopy(dice.choice(LEAVES))
            else:
                tree[key] = [tree[key]] * dice.choice((0, 1, 2, 50))
        elif isinstance(tree, list) and tree:
            tree[dice.randrange(len(tree)) :] = [dice.choice(tree)] * dice.choice((0, 1, 2, 50))
        else:
            return copy.deepcopy(dice.choice(LEAVES))
        return tree

    def _flipped(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self._dice.randrange(len(data))
        return data[:at] + bytes((data[at] ^ 1 << self._dice.randrange(8),)) + data[at + 1 :]

    def _another(self, data: bytes) -> bytes:
        at = self._dice.randrange(len(data) + 1)
        return data[:at] + bytes((self._dice.randrange(256),)) + data[at + 1 :]

    def _sown(self, data: bytes) -> bytes:
        at = self._dice.randrange(len(data) + 1)
        return data[:at] + self._dice.choice(self._tokens) + data[at + self._dice.choice((0, 0, 1, 4)) :]

    def _cut(self, data: bytes) -> bytes:
        return data[: self._dice.randrange(len(data) + 1)]

    def _gap(self, data: bytes) -> bytes:
        first, last = self._span(data)
        return data[:first] + data[last:]

    def _repeated(self, data: bytes) -> bytes:
        first, last = self._span(data)
        return data[:first] + data[first:last] * self._dice.choice((2, 2, 3, 20)) + data[last:]

    def _spliced(self, data: bytes) -> bytes:
        other = self._dice.choice(self._pool)
        return data[: self._dice.randrange(len(data) + 1)] + other[self._dice.randrange(len(other) + 1) :]

    def _swapped(self, data: bytes) -> bytes:
        first, last = self._span(data)
        middle = (first + last) // 2
        return data[:first] + data[middle:last] + data[first:middle] + data[last:]

    def _span(self, data: bytes) -> tuple[int, int]:
        first = self._dice.randrange(len(data) + 1)
        return first, min(len(data), first + self._dice.choice((1, 2, 4, 16, 64, 256)))


_CHANGES: tuple[Callable[[Mutator, bytes], bytes], ...] = (
    Mutator._flipped,
    Mutator._flipped,
    Mutator._another,
    Mutator._sown,
    Mutator._sown,
    Mutator._cut,
    Mutator._gap,
    Mutator._repeated,
    Mutator._spliced,
    Mutator._swapped,
)
