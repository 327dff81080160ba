"""What the demonstration shows is plain, aligned, and free of control codes where nobody can see them."""

from __future__ import annotations

import io

import pytest

from daemon.demo import judge, screen
from daemon.demo.judge import HOUR_MS, MINUTE_MS, WEEK_MS, Alert, Finding, Label, Observed
from daemon.demo.screen import Progress, Screen

NOON_MS = 1_700_049_600_000  # Wednesday, 15 November 2023, 12:00 UTC
LABEL = Label('cpu{host="a"}', "level_shift", NOON_MS, NOON_MS + HOUR_MS)
ALERT = Alert("1", "open", LABEL.stream, "anomaly", NOON_MS, NOON_MS + 15 * MINUTE_MS, 1.234)


class Terminal(io.StringIO):
    """Text that says it goes to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("share", "line"),
    [
        (0.0, "history   [........................]   0%  x"),
        (0.5, "history   [############............]  50%  x"),
        (1.0, "history   [########################] 100%  x"),
        (7.0, "history   [########################] 100%  x"),
        (None, "history   x"),
    ],
)
def test_a_progress_line_shows_the_share(share: float | None, line: str) -> None:
    assert screen.progress_line(Progress("history", share, "x")) == line


def test_an_alert_says_when_what_how_much_where_and_which_fault_it_met() -> None:
    line = screen.alert_line(ALERT, Finding(ALERT, "caught", LABEL))
    assert line.split("  ")[0] == "Wed 15 Nov 12:15"
    for part in ("open", "anomaly", "1.23", "cpu{a}", "caught: level shift, after 15 min"):
        assert part in line


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (Finding(ALERT, "repeat", LABEL), "again: level shift, after 15 min"),
        (Finding(ALERT, "after_effect", LABEL), "after-effect of level shift"),
        (Finding(ALERT, "false", None), "no fault was due here"),
    ],
)
def test_each_finding_has_its_words(finding: Finding, words: str) -> None:
    assert screen.finding_text(finding) == words


@pytest.mark.parametrize(("minutes", "text"), [(None, "-"), (4.6, "5 min"), (119.0, "119 min"), (150.0, "2.5 h")])
def test_long_delays_are_told_in_hours(minutes: float | None, text: str) -> None:
    assert screen.minutes_text(minutes) == text


def test_a_score_that_does_not_exist_is_a_dash() -> None:
    assert screen.score_text(float("nan")) == "-"


def test_a_stream_is_shown_without_its_labels_names() -> None:
    assert screen.shortened('cpu{host="a-1",service="b"}').strip() == "cpu{a-1,b}"


def test_a_long_stream_is_cut_to_the_column() -> None:
    assert len(screen.shortened("x" * 500)) == len(screen.shortened("x")) == screen.STREAM_CHARACTERS


def test_columns_line_up() -> None:
    lines = screen.aligned([["a", "1", "10"], ["long", "200", "3"]])
    assert lines == ["a       1  10", "long  200   3"]


def test_the_closing_table_sets_the_detectors_side_by_side() -> None:
    labels = [LABEL, Label("b", "spike", NOON_MS, NOON_MS + HOUR_MS)]
    observed = Observed(2, NOON_MS - WEEK_MS, NOON_MS + WEEK_MS)
    model = judge.judge(labels, [ALERT], observed)
    baseline = judge.judge(labels, [], observed)
    lines = screen.closing_table([("model", model), ("baseline", baseline)]).splitlines()
    assert lines[0].split("  ")[0] == "fault"
    assert [line.split() for line in lines[2:4]] == [
        ["level", "shift", "1", "1", "0", "15", "min", "0", "1", "-"],
        ["spike", "1", "0", "1", "-", "0", "1", "-"],
    ]
    assert lines[5].split() == ["all", "2", "1", "1", "15", "min", "0", "2", "-"]
    assert len({len(line) for line in lines[:6]}) == 1
    assert "false, per stream and week  0.000     0.000" in lines


def test_a_file_gets_plain_lines_and_each_phase_only_once() -> None:
    out = io.StringIO()
    shown = Screen(out)
    for share in (0.0, 0.3, 0.6, 1.0):
        shown.progress(Progress("history", share, "x"))
    shown.alert(ALERT, Finding(ALERT, "false", None))
    shown.progress(Progress("live", None, "y"))
    text = out.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    assert [line.split()[0] for line in text.splitlines()] == ["history", "history", "Wed", "live"]


def test_a_terminal_keeps_its_progress_line_below_what_is_said() -> None:
    out = Terminal()
    shown = Screen(out)
    shown.progress(Progress("live", 0.5, "y"))
    shown.say("hello")
    shown.settle()
    line = screen.progress_line(Progress("live", 0.5, "y"))
    assert out.getvalue() == f"\r\x1b[2K{line}\r\x1b[2Khello\n{line}\n"


def test_a_terminal_shows_a_catch_in_colour() -> None:
    out = Terminal()
    Screen(out).alert(ALERT, Finding(ALERT, "caught", LABEL))
    assert out.getvalue().startswith("\x1b[32m")
    assert out.getvalue().endswith("\x1b[0m\n")
