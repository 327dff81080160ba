"""/streams and /streams/NAME/state: which streams there are, and what went on inside the cell over one's window."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from typing import Final
from urllib.parse import parse_qs, quote

import numpy as np
from numpy.typing import NDArray

from daemon.inquiry import LISTED_MAX, Inquiries, NoAnswer, Search, State
from daemon.inside import gate_panels, without_nan
from daemon.plots import Line, Panel, PlotsMissing, svg
from daemon.serving import Page
from detectors import scaling
from detectors.ahead import next_sample
from detectors.introspection import NoGates, WindowSeen, window_seen

F = NDArray[np.float64]

ANSWER_SECONDS: Final = 5.0
NUMBERS_MAX: Final = 200_000  # of an answer; of a wide cell the newest samples are shown
CHANNELS_SHOWN: Final = 4
TITLE_CHARS_MAX: Final = 160


class _BadQuestion(ValueError):
    """The address asks for something that there cannot be; the text says what there can."""


class StreamPages:
    """Answers the pages of streams, on the thread that asks; pictures one at a time."""

    def __init__(self, inquiries: Inquiries, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._inquiries, self._answer_seconds = inquiries, answer_seconds
        self._drawing = threading.Lock()

    def answer(self, path: str, query: str) -> Page:
        """Return the page at `path`, as WSGI gives it, with its `query`."""
        try:
            asked = _Query(query)
            if path == "/streams":
                return self._found(asked)
            return self._state(_stream_of(path), asked)
        except _BadQuestion as error:
            return Page("400 Bad Request", f"{error}\n".encode())
        except NoAnswer as error:
            return Page("503 Service Unavailable", f"{error}\n".encode())

    def _found(self, query: _Query) -> Page:
        asked = Search(query.text("match", "") or "", query.text("group"), query.number("limit", 50, LISTED_MAX))
        query.nothing_else()
        found = self._inquiries.search(asked, self._answer_seconds)
        listed = [{**asdict(each), "state": f"/streams/{quote(each.stream, safe='')}/state"} for each in found.streams]
        return _json({"matched": found.matched, "searched": found.searched, "streams": listed})

    def _state(self, stream: str, query: _Query) -> Page:
        group, kind = query.text("group"), query.text("format", "json")
        query.nothing_else()
        if kind not in ("json", "svg"):
            raise _BadQuestion(f"format={kind}: expected json or svg")
        state = self._inquiries.state(stream, group, self._answer_seconds)
        if state is None:
            return Page("404 Not Found", b"this member has no such stream; /streams lists those it has\n")
        return _json(_told(state)) if kind == "json" else self._drawn(state)

    def _drawn(self, state: State) -> Page:
        if not self._drawing.acquire(blocking=False):
            raise NoAnswer("another picture is being drawn; ask again later")
        try:
            return Page("200 OK", _picture(state).encode(), "image/svg+xml")
        except (PlotsMissing, NoGates) as error:
            return Page("501 Not Implemented", f"{error}\n".encode())
        finally:
            self._drawing.release()


class _Query:
    """The part of an address behind the question mark."""

    def __init__(self, query: str) -> None:
        try:
            self._given = parse_qs(query, keep_blank_values=True, max_num_fields=10, errors="strict")
        except ValueError as error:
            raise _BadQuestion(f"the address cannot be read: {error}") from error

    def text(self, name: str, default: str | None = None) -> str | None:
        values = self._given.pop(name, [])
        return values[-1] if values else default

    def number(self, name: str, default: int, most: int) -> int:
        text = self.text(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
            raise _BadQuestion(f"{name}={text[:40]}: expected a number from 1 to {most}")
        return int(text)

    def nothing_else(self) -> None:
        """Raise _BadQuestion when something was asked that has no meaning: it may be mistyped."""
        if self._given:
            raise _BadQuestion(f"{', '.join(name[:40] for name in self._given)}: there is no such word here")


def _stream_of(path: str) -> str:
    """Return the stream's name in /streams/NAME/state; WSGI gives the path's bytes as Latin-1."""
    name, _, last = path.removeprefix("/streams/").rpartition("/")
    if last != "state" or not name:
        raise _BadQuestion("expected /streams/NAME/state, with the name percent-encoded as /streams gives it")
    try:
        return name.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError as error:
        raise _BadQuestion("the stream's name is not UTF-8") from error


def _json(told: object) -> Page:
    return Page("200 OK", json.dumps(told, allow_nan=False, ensure_ascii=False).encode() + b"\n", "application/json")


# what is told of one stream


def _told(state: State) -> dict[str, object]:
    expected, margin = next_sample(state.group.detector, state.row)
    times_ms, level = _window(state, _samples_max(state))
    try:
        seen = window_seen(state.group.detector, state.row, _samples_max(state))
        gates: dict[str, object] = {"gap": _short(seen.gap), **{k: _short(v) for k, v in seen.gates.named()}}
    except NoGates as error:
        gates = {"missing": str(error)}
    row = state.row[0]
    return {
        **asdict(state.stream),
        "model_id": state.group.detector.model_id,
        "interval_seconds": _short(row["interval_ms"] / 1000.0),
        "pause_seconds": _short(row["pause_ms"] / 1000.0),
        "channels": list(state.group.detector.settings.channels),
        "window": {"time_ms": times_ms.tolist(), "level": _short(level)},
        "next": {"expected": _short(expected[0]), "margin": _short(margin[0])},
        "carried": {name: _short(row[name]) for name in ("hidden", "cell")},
        "gates": gates,
    }


def _samples_max(state: State) -> int:
    numbers = 6 * state.row["hidden"].size + state.row["location"].size  # a sample
    return max(1, NUMBERS_MAX // numbers)


def _window(state: State, samples_max: int) -> tuple[NDArray[np.int64], F]:
    """Return times (T,) and levels (T, D) of the stored window, oldest first; the times by the usual interval."""
    row = state.row
    filled = min(int(row["window_filled"][0]), samples_max)
    level = row["window"][0, :filled][::-1] * scaling.floored(row)[0] + row["location"][0]
    ago = (np.arange(filled - 1, -1, -1) * row["interval_ms"][0]).astype(np.int64)
    return row["time_ms"][0] - ago, level


def _short(values: object) -> object:
    """Return numbers with seven digits, as JSON can hold them."""
    array = np.asarray(values, dtype=np.float64)
    rounded = [float(f"{value:.7g}") for value in array.ravel().tolist()]
    return without_nan(np.array(rounded).reshape(array.shape).tolist())


def _picture(state: State) -> str:
    seen = window_seen(state.group.detector, state.row, _samples_max(state))
    x = np.arange(1 - len(seen.times_ms), 1, dtype=np.float64)
    panels = [_channel(state, x, d) for d in range(min(state.row["location"].shape[1], CHANNELS_SHOWN))]
    return svg([*panels, *gate_panels(x, seen.gates)], title=_title(state, seen), x_name="samples from the last one")


def _channel(state: State, x: F, d: int) -> Panel:
    _, level = _window(state, len(x))
    expected, margin = (each[0, d : d + 1] for each in next_sample(state.group.detector, state.row))
    last = np.r_[level[-1:, d], expected]
    band = np.r_[np.zeros(len(level[-1:])), margin]
    ahead = np.arange(1 - len(level[-1:]), 2, dtype=np.float64)
    lines = [
        Line("seen", x, level[:, d]),
        Line("expected next, and how far off that usually is", ahead, last, last - band, last + band),
    ]
    return Panel(state.group.detector.settings.channels[d], lines)


def _title(state: State, seen: WindowSeen) -> str:
    name = "".join(char if char.isprintable() else "?" for char in state.stream.stream)
    score = "warming up" if state.stream.score is None else f"score {state.stream.score:.2f}"
    shown = name if len(name) <= TITLE_CHARS_MAX else name[: TITLE_CHARS_MAX - 1] + "…"
    return f"{shown}\n{score}; the state shown last is within {seen.gap:.2g} of the one carried"
