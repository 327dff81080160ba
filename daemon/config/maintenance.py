"""Windows of maintenance, in Alertmanager's words: its time intervals for what recurs, its silences for the rest."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from daemon.config.kinds import Form, Section, expected
from daemon.maintenance import DAY_MINUTES, Once, Recurring, Window

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
WINDOWS_MAX = 1000

_CLOCK = Form(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00", "a time of day from 00:00 to 24:00 such as 02:30")
_MOMENT = Form(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
    r"(?:[Zz]|[+-][0-2][0-9]:[0-5][0-9])",
    "a time with its offset such as 2026-03-01T20:00:00Z or 2026-03-01T21:00:00+01:00",
)


def _moment(text: str) -> str:
    _MOMENT(text)
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise expected("a day and a time that exist") from None
    return text


def _weekdays(text: str) -> str:
    first, _, last = text.lower().partition(":")
    if first not in WEEKDAYS or (last or first) not in WEEKDAYS:
        raise expected("a day such as saturday, or days such as monday:friday")
    return text


def _months(text: str) -> str:
    first, _, last = text.lower().partition(":")
    if not (_month(first) and _month(last or first)):
        raise expected("a month such as march or 3, or months such as june:august")
    return text


def _days_of_month(text: str) -> str:
    words = "a day from 1 to 31, or from the month's end from -1 to -31, or days such as 1:7"
    Form(r"-?(?:[1-9]|[12][0-9]|3[01])(?::-?(?:[1-9]|[12][0-9]|3[01]))?", words)(text)
    first, last = _pair(text)
    if (first > 0) == (last > 0) and last < first:
        raise expected(f"{words}, the first before the last")
    return text


def _location(name: str) -> str:
    zone(name)
    return name


def zone(name: str) -> tzinfo:
    """Return the time zone of that IANA name; `UTC` needs no time zone data."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        if not available_timezones():
            lacking = "this machine has no time zone data: install the system's package tzdata, or `pip install tzdata`"
            raise expected(f"UTC ({lacking})") from None
        raise expected("the IANA name of a time zone such as Europe/Berlin") from None


class TimesConfig(Section):
    """A part of the day. One that ends no later than it begins ends on the next day, and belongs to the first."""

    start_time: Annotated[str, AfterValidator(_CLOCK)]
    """When it begins, HH:MM."""
    end_time: Annotated[str, AfterValidator(_CLOCK)]
    """When it ends, HH:MM, which lies outside; 24:00 is the day's end."""

    @field_validator("end_time")
    @classmethod
    def _takes_time(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("start_time"):
            raise expected("another time than start_time; a whole day is 00:00 to 24:00")
        if info.data.get("start_time") == "24:00":
            raise expected("it after a start_time of 23:59 at the latest; 24:00 is 00:00 of the next day")
        return value


class MaintenanceConfig(Section):
    """A window of maintenance, in event time: no alert opens in it, open ones may close, and nothing is learnt.

    Either it comes once (`starts_at`, `ends_at`), or it recurs on every day that fits all of the lists.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """What it is for, for people."""
    starts_at: Annotated[str, AfterValidator(_moment)] | None = None
    """When a window that comes once begins, with its offset: `2026-03-01T20:00:00Z`."""
    ends_at: Annotated[str, AfterValidator(_moment)] | None = None
    """When it ends."""
    weekdays: Annotated[tuple[Annotated[str, AfterValidator(_weekdays)], ...], Field(strict=False, max_length=100)] = ()
    """The days of the week on which it begins, such as `saturday` or `monday:friday`; none means every one."""
    days_of_month: Annotated[
        tuple[Annotated[str, AfterValidator(_days_of_month)], ...], Field(strict=False, max_length=100)
    ] = ()
    """The days of the month, such as `"1:7"`; `"-1"` is the last one. None means every one."""
    months: Annotated[tuple[Annotated[str, AfterValidator(_months)], ...], Field(strict=False, max_length=100)] = ()
    """The months, such as `march` or `june:august`; none means every one."""
    times: Annotated[tuple[TimesConfig, ...], Field(strict=False, max_length=100)] = ()
    """The parts of these days; none means all day."""
    location: Annotated[str, AfterValidator(_location)] = "UTC"
    """Whose wall clock that is: a time zone's IANA name, such as `Europe/Berlin`."""
    guards: bool = True
    """Whether guard rails go on opening alerts in it: they are limits that hold whatever is usual."""

    @field_validator("ends_at")
    @classmethod
    def _ends_later(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "starts_at" not in info.data:
            return value
        starts_at = info.data["starts_at"]
        if value is None and starts_at is not None:
            raise expected("when the window ends that has starts_at")
        if value is not None and starts_at is None:
            raise expected("starts_at with it")
        if value is not None and _milliseconds(value) <= _milliseconds(starts_at):
            raise expected(f"a later time than starts_at, which is {starts_at}")
        return value

    @field_validator("weekdays", "days_of_month", "months", "times", "location")
    @classmethod
    def _recurs(cls, value: object, info: ValidationInfo) -> object:
        if info.data.get("starts_at") is not None and value not in ((), "UTC"):
            raise expected("it without starts_at: a window comes once, or it recurs")
        return value

    @field_validator("times")
    @classmethod
    def _has_a_time(cls, value: tuple[TimesConfig, ...], info: ValidationInfo) -> tuple[TimesConfig, ...]:
        known = info.data
        others = {"starts_at", "ends_at", "weekdays", "days_of_month", "months"}
        if not others <= set(known) or known["starts_at"] is not None:
            return value
        days = [known[name] for name in ("weekdays", "days_of_month", "months")]
        if not value and not any(days):
            raise expected("starts_at and ends_at, or when it recurs: weekdays, days_of_month, months, times")
        whole = not value or any((each.start_time, each.end_time) == ("00:00", "24:00") for each in value)
        if whole and not any(days[1:]) and len(_every(days[0])) in {0, len(WEEKDAYS)}:
            raise expected("a window that leaves some time for alerts")
        return value

    def window(self) -> Window:
        """Return the window as the step needs it."""
        if self.starts_at is not None and self.ends_at is not None:
            return Once(_milliseconds(self.starts_at), _milliseconds(self.ends_at), self.guards)
        return Recurring(
            times=tuple((_minutes(each.start_time), _minutes(each.end_time)) for each in self.times)
            or ((0, DAY_MINUTES),),
            weekdays=_every(self.weekdays),
            days_of_month=tuple(_pair(each) for each in self.days_of_month),
            months=frozenset(number for each in self.months for number in _month_range(each)),
            zone=zone(self.location),
            guards=self.guards,
        )


Windows = Annotated[tuple[MaintenanceConfig, ...], Field(strict=False, max_length=WINDOWS_MAX)]
"""Windows of maintenance."""


def _every(weekdays: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for text in weekdays:
        first, _, last = text.lower().partition(":")
        begin = WEEKDAYS.index(first)
        days = (WEEKDAYS.index(last or first) - begin) % len(WEEKDAYS) + 1
        found.update((begin + day) % len(WEEKDAYS) for day in range(days))
    return frozenset(found)


def _month(text: str) -> int:
    """Return a month's number, 0 where `text` is none."""
    if text in MONTHS:
        return MONTHS.index(text) + 1
    return int(text) if text in {str(number) for number in range(1, 13)} else 0


def _month_range(text: str) -> list[int]:
    first, _, last = text.lower().partition(":")
    begin = _month(first)
    count = (_month(last or first) - begin) % len(MONTHS) + 1
    return [(begin + number - 1) % len(MONTHS) + 1 for number in range(count)]


def _pair(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    return int(first), int(last or first)


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
