"""What the demonstration shows: progress lines, alerts as they come and go, and the closing table."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TextIO

from daemon.demo.judge import GRACE_MS, HOUR_MS, Alert, Finding, Found, KindRow, Verdict

BAR_CELLS: Final = 24
STREAM_CHARACTERS: Final = 46
HOURS_FROM_MINUTES: Final = 120  # longer delays are told in hours
_GREEN, _YELLOW, _DIM = "\x1b[32m", "\x1b[33m", "\x1b[2m"
_COLOURS: Final[dict[Found, str]] = {"caught": _GREEN, "repeat": _DIM, "after_effect": _DIM, "false": _YELLOW}
_PLAIN: Final = "\x1b[0m"
_LABEL = re.compile(r'\w+="([^"]*)"')
_CLEAR_LINE: Final = "\r\x1b[2K"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a phase is: a share from 0 to 1 (None: unknown) and a few words."""

    phase: str
    share: float | None
    words: str


def progress_line(progress: Progress) -> str:
    """Return one line of at most about 100 characters."""
    if progress.share is None:
        return f"{progress.phase:<9} {progress.words}"
    share = min(max(progress.share, 0.0), 1.0)
    filled = round(share * BAR_CELLS)
    return f"{progress.phase:<9} [{'#' * filled}{'.' * (BAR_CELLS - filled)}] {share:4.0%}  {progress.words}"


def alert_line(alert: Alert, finding: Finding | None) -> str:
    """Return one line for an alert that opened (with what the judge makes of it) or closed."""
    when = clock_text(alert.detected_at_ms)
    head = f"{when}  {alert.change:<6} {alert.rule:<8} {score_text(alert.score):>6}  {shortened(alert.stream)}"
    return f"{head}  {finding_text(finding)}" if finding else head.rstrip()


def finding_text(finding: Finding) -> str:
    """Return what an opened alert was, in a few words."""
    if finding.label is None:
        return "no fault was due here"
    kind = finding.label.kind.replace("_", " ")
    if finding.found == "after_effect":
        return f"after-effect of {kind}"
    word = "caught" if finding.found == "caught" else "again"
    return f"{word}: {kind}, after {minutes_text(finding.delay_minutes)}"


def clock_text(time_ms: int) -> str:
    """Return an event time (milliseconds since 1970) as day and minute, UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%a %d %b %H:%M")


def score_text(score: float) -> str:
    """Return a score (1.0 is the threshold) with two decimals; a dash where a rule has none."""
    return "-" if math.isnan(score) else f"{score:.2f}"


def minutes_text(minutes: float | None) -> str:
    """Return simulated minutes as text, hours from two hours on; a dash for none."""
    if minutes is None:
        return "-"
    return f"{minutes:.0f} min" if minutes < HOURS_FROM_MINUTES else f"{minutes / 60:.1f} h"


def shortened(stream: str) -> str:
    """Return the stream's key without its labels' names, padded or cut to STREAM_CHARACTERS."""
    plain = _LABEL.sub(r"\1", stream)
    cut = plain if len(plain) <= STREAM_CHARACTERS else plain[: STREAM_CHARACTERS - 3] + "..."
    return f"{cut:<{STREAM_CHARACTERS}}"


def closing_table(columns: Sequence[tuple[str, Verdict]]) -> str:
    """Return the judgement of one or more detectors of the same faults, side by side, as aligned text."""
    kinds = [row.kind for row in columns[0][1].kinds]
    heads = ["fault", "count", *(f"{name} {part}" for name, _ in columns for part in ("caught", "missed", "delay"))]
    rows = [_table_row(kind, [_row_of(verdict, kind) for _, verdict in columns]) for kind in [*kinds, "all"]]
    body = aligned([heads, *rows])
    body.insert(1, "-" * len(body[0]))
    body.insert(len(body) - 1, "-" * len(body[0]))
    return "\n".join([*body, "", *aligned(_alert_rows(columns)), "", footnote()])


def footnote() -> str:
    """Return how the table is to be read."""
    return (
        "caught: an alert opened on the fault's stream between its start and its end plus "
        f"{GRACE_MS // HOUR_MS} h. delay: median, simulated time.\n"
        "after-effects: alerts while a stream comes back from a fault; neither caught nor false."
    )


def _row_of(verdict: Verdict, kind: str) -> KindRow:
    return next((row for row in verdict.kinds if row.kind == kind), verdict.total)


def _table_row(kind: str, rows: Sequence[KindRow]) -> list[str]:
    cells = [[str(row.caught), str(row.missed), minutes_text(row.delay_minutes)] for row in rows]
    return [kind.replace("_", " "), str(rows[0].count), *(cell for triple in cells for cell in triple)]


def _alert_rows(columns: Sequence[tuple[str, Verdict]]) -> list[list[str]]:
    heads = ["alerts opened", *(name for name, _ in columns)]
    words: tuple[tuple[str, Found], ...] = (
        ("on a fault, the first", "caught"),
        ("on a fault, again", "repeat"),
        ("after-effects", "after_effect"),
        ("false", "false"),
    )
    counts = [[word, *(str(verdict.count(found)) for _, verdict in columns)] for word, found in words]
    rate = ["false, per stream and week", *(f"{verdict.false_per_week:.3f}" for _, verdict in columns)]
    return [heads, *counts, rate]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines whose columns line up: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


class Screen:
    """Writes lines; on a terminal the newest progress line is overwritten, elsewhere only a phase's ends appear."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._pending = ""  # the progress line that stands on the terminal
        self._phase = ""

    def progress(self, progress: Progress) -> None:
        """Show how far a phase is."""
        line = progress_line(progress)
        if self._terminal:
            self._pending = line
            self._out.write(_CLEAR_LINE + line)
            self._out.flush()
        elif progress.phase != self._phase or progress.share == 1.0:
            self._put(line)
        self._phase = progress.phase

    def say(self, text: str) -> None:
        """Write text on lines of its own; on a terminal the progress line moves down."""
        self._put(text)

    def settle(self) -> None:
        """Leave the progress line where it stands; what follows begins on a new line."""
        if self._pending:
            self._out.write("\n")
            self._pending = ""

    def alert(self, alert: Alert, finding: Finding | None) -> None:
        """Show an alert; on a terminal in the colour of what the judge makes of it."""
        line = alert_line(alert, finding)
        coloured = finding is not None and self._terminal
        self._put(f"{_COLOURS[finding.found]}{line}{_PLAIN}" if finding and coloured else line)

    def _put(self, text: str) -> None:
        before = _CLEAR_LINE if self._pending else ""
        self._out.write(f"{before}{text}\n{self._pending}")
        self._out.flush()
