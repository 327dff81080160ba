"""The bar moves on a terminal, says little elsewhere, and never floods anybody."""

from __future__ import annotations

from io import StringIO

import pytest

from daemon.progress import Bar


class Terminal(StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


@pytest.mark.parametrize(
    ("share", "drawn"), [(None, "." * 30), (0.0, "." * 30), (0.5, "#" * 15), (1.0, "#" * 30), (7.0, "#" * 30)]
)
def test_the_bar_is_as_long_as_the_share_that_is_done(share: float | None, drawn: str) -> None:
    out = StringIO()
    Bar(out).show("training", share, "epoch 1")
    assert drawn in out.getvalue()
    assert out.getvalue().endswith("  epoch 1\n")


def test_elsewhere_than_on_a_terminal_there_is_a_line_now_and_then() -> None:
    out, clock = StringIO(), Clock()
    bar = Bar(out, clock)
    for second in range(12):
        clock.now = float(second)
        bar.show("reading", None, str(second))
    bar.show("training", 0.0, "new phase")  # at once
    bar.clear()
    assert [line.split()[-1] for line in out.getvalue().splitlines()] == ["0", "5", "10", "phase"]
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_one_line_moves_and_is_taken_away_at_the_end() -> None:
    out, clock = Terminal(), Clock()
    bar = Bar(out, clock)
    for tenth in range(5):
        clock.now = tenth * 0.06
        bar.show("reading", None, "x")
    bar.clear()
    assert "\n" not in out.getvalue()
    assert out.getvalue().count("\r") == 3 + 1
    assert out.getvalue().endswith("\r\x1b[K")


def test_a_bar_that_was_never_shown_takes_nothing_away() -> None:
    out = Terminal()
    Bar(out).clear()
    assert out.getvalue() == ""
