"""Chooses streams by their labels, in Prometheus' own words: `job="api"`, `host=~"web-.*"`, `env!="test"`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

Operator = Literal["=", "!=", "=~", "!~"]

LENGTH_MAX = 1000
_MATCHER = re.compile(
    r"""\s*(?P<label>[A-Za-z_][\w.\-/]*|"[^"\\]+")\s*(?P<operator>=~|!~|!=|=)\s*"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*""",
    re.DOTALL | re.ASCII,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


class MatcherError(ValueError):
    """A matcher cannot be used; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label. A label that a stream does not have counts as empty."""

    label: str
    operator: Operator
    value: str
    pattern: re.Pattern[str] | None = field(default=None, compare=False, repr=False)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether a stream with these labels fulfils the condition; patterns match the whole value."""
        found = labels.get(self.label, "")
        equal = found == self.value if self.pattern is None else self.pattern.fullmatch(found) is not None
        return equal is (self.operator in {"=", "=~"})

    def __str__(self) -> str:
        label = self.label if re.fullmatch(r"[A-Za-z_][\w.\-/]*", self.label, re.ASCII) else f'"{self.label}"'
        value = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{label}{self.operator}"{value}"'


def parse_matcher(text: str) -> Matcher:
    """Return the matcher that `text` describes. Raises MatcherError saying what was expected."""
    if len(text) > LENGTH_MAX:
        raise MatcherError(f"at most {LENGTH_MAX} characters")
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise MatcherError("""one matcher such as 'job="api"' or 'host=~"web-.*"', its value in quotes""")
    label, value = found["label"].strip('"'), _unescaped(found["value"][1:-1])
    if label == "__name__":
        raise MatcherError("""the label name: a metric's name is matched by 'name="..."'""")
    operator = cast("Operator", found["operator"])
    return Matcher(label, operator, value, _pattern(value) if operator in {"=~", "!~"} else None)


def _unescaped(text: str) -> str:
    # An unknown escape stays as it is: in a pattern `\d` and `\.` are what people write.
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), text, flags=re.DOTALL)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a pattern that Python only warns of means something else in Prometheus
            return re.compile(text, re.DOTALL)
    except (re.error, Warning, OverflowError, RecursionError) as error:
        raise MatcherError(f"a regular expression that can be read ({error})") from None
