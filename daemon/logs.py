"""The log: JSON lines for machines, coloured text on a terminal, and never more lines than a person can use."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Literal, Protocol, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import Processor

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "text"]

_OURS = "longwatch"
_FOREIGN_LINES_MAX = 30
_SPAN_SECONDS = 60.0


class Log(Protocol):
    """What the daemon's parts need of a logger: a fixed event name and the facts as fields."""

    def debug(self, event: str, /, **fields: object) -> object:
        """Record what only a developer wants to see."""

    def info(self, event: str, /, **fields: object) -> object:
        """Record that something expected happened."""

    def warning(self, event: str, /, **fields: object) -> object:
        """Record what an operator may have to look at."""

    def error(self, event: str, /, **fields: object) -> object:
        """Record what an operator has to act on."""

    def exception(self, event: str, /, **fields: object) -> object:
        """Record the exception that is being handled, with its traceback, as an error."""


class Budget:
    """Allow a few lines per minute for each kind of line, and count the rest.

    `kinds_max` bounds the memory: beyond it, all further kinds share one allowance.
    """

    def __init__(self, lines_max: int, span_seconds: float = _SPAN_SECONDS, kinds_max: int = 256) -> None:
        self._lines_max = lines_max
        self._span_seconds = span_seconds
        self._kinds_max = kinds_max
        self._spans: dict[Hashable, _Span] = {}

    def take(self, kind: Hashable, now: float, weight: int = 1) -> int | None:
        """Return how much was suppressed since the last line of this kind, or None when this one is suppressed too.

        `now` is in seconds; `weight` is what a suppressed line adds to the count.
        """
        if kind not in self._spans and len(self._spans) >= self._kinds_max:
            kind = None
        span = self._spans.setdefault(kind, _Span(now))
        # A clock that was set back must not silence the log until it catches up, hence the lower bound.
        if not 0.0 <= now - span.began < self._span_seconds:
            span.began, span.lines = now, 0
        if span.lines >= self._lines_max:
            span.suppressed += weight
            return None
        span.lines += 1
        suppressed, span.suppressed = span.suppressed, 0
        return suppressed


class _Span:
    """What one kind of line has used of its allowance."""

    __slots__ = ("began", "lines", "suppressed")

    def __init__(self, began: float) -> None:
        self.began = began
        self.lines = 0
        self.suppressed = 0


class _Foreign(logging.Filter):
    """Thin out what libraries say: harmless noise goes, floods are cut and counted."""

    def __init__(self) -> None:
        super().__init__()
        self._budget = Budget(_FOREIGN_LINES_MAX)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == _OURS:
            return True
        if _harmless(record):
            return False
        suppressed = self._budget.take(record.name, record.created)
        if suppressed:
            record.suppressed = suppressed
        return suppressed is not None


def _harmless(record: logging.LogRecord) -> bool:
    # The client reports at ERROR that an offset still belongs to an open transaction, then waits as it should.
    return record.name.startswith("kafka") and "UnstableOffsetCommit" in record.getMessage()


def configure(level: Level, form: Format, stream: TextIO, fields: Mapping[str, str] | None = None) -> Log:
    """Set up logging for the process and return the daemon's logger, with `fields` on each of its lines.

    `auto` writes text to a terminal and JSON elsewhere. Loggers of libraries come out in the same form; calling it
    again replaces what the last call set up.
    """
    text = form == "text" or (form == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(text=text, colours=stream.isatty()))
    handler.addFilter(_Foreign())
    _replace_root_handler(handler, level)
    logger = structlog.wrap_logger(
        logging.getLogger(_OURS),
        processors=[*_common(), ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        cache_logger_on_first_use=True,
    )
    bound: Log = logger.bind(**(fields or {}))
    return bound


def _replace_root_handler(handler: logging.Handler, level: Level) -> None:
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one.formatter, ProcessorFormatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(_number(level))
    # At INFO the client tells every connection and every heartbeat of its life.
    logging.getLogger("kafka").setLevel(logging.DEBUG if level == "debug" else max(logging.WARNING, _number(level)))


def _number(level: Level) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _common() -> list[Processor]:
    # Tracebacks are rendered without local variables: those hold passwords and other people's data.
    return [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]


def _formatter(*, text: bool, colours: bool) -> ProcessorFormatter:
    foreign: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=["suppressed"]),
        *_common(),
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)
        if text
        else structlog.processors.JSONRenderer()
    )
    return ProcessorFormatter(
        processors=[ProcessorFormatter.remove_processors_meta, renderer],
        foreign_pre_chain=foreign,
    )
