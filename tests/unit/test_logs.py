"""The log is one form for everything that speaks, and bounded."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest

from daemon.logs import Budget, configure


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Claim it."""
        return True


@pytest.fixture(autouse=True)
def untouched_root() -> Iterator[None]:
    root = logging.getLogger()
    kafka = logging.getLogger("kafka")
    before = (list(root.handlers), root.level, kafka.level)
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], level, kafka_level = before
    root.setLevel(level)
    kafka.setLevel(kafka_level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_for_machines_is_one_json_object_with_its_fields() -> None:
    stream = io.StringIO()
    configure("info", "auto", stream, {"instance": "longwatch-0"}).info("partition_restored", pages=4)
    (line,) = lines(stream)
    assert line["event"] == "partition_restored"
    assert line["level"] == "info"
    assert line["instance"] == "longwatch-0"
    assert line["pages"] == 4
    assert str(line["timestamp"]).endswith("Z")


def test_a_terminal_gets_text_in_colour() -> None:
    stream = Terminal()
    configure("info", "auto", stream).info("ready", partitions=3)
    assert "\x1b[" in stream.getvalue()
    assert "ready" in stream.getvalue()


def test_text_that_is_asked_for_in_a_file_has_no_colour() -> None:
    stream = io.StringIO()
    configure("info", "text", stream).info("ready", partitions=3)
    assert "\x1b[" not in stream.getvalue()
    assert "partitions=3" in stream.getvalue()


def test_json_that_is_asked_for_on_a_terminal_is_json() -> None:
    stream = Terminal()
    configure("info", "json", stream).info("ready")
    assert lines(stream)[0]["event"] == "ready"


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    log = configure("warning", "json", stream)
    log.info("ready")
    log.warning("turn_failed")
    assert [line["event"] for line in lines(stream)] == ["turn_failed"]


def test_loggers_of_libraries_come_out_in_the_same_form() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    logging.getLogger("kafka.conn").warning("connection to %s lost", "broker-1")
    (line,) = lines(stream)
    assert line["event"] == "connection to broker-1 lost"
    assert line["logger"] == "kafka.conn"
    assert line["level"] == "warning"


def test_the_clients_chatter_and_its_harmless_error_are_left_out() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    logging.getLogger("kafka.conn").info("connecting")
    logging.getLogger("kafka.coordinator").error("Offset fetch failed: [Error 88] UnstableOffsetCommitError")
    logging.getLogger("kafka.coordinator").error("Offset fetch failed: something else")
    assert [line["event"] for line in lines(stream)] == ["Offset fetch failed: something else"]


def test_a_library_that_repeats_itself_is_cut_and_counted() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    logger = logging.getLogger("kafka.client")
    for number in range(100):
        record = logger.makeRecord(logger.name, logging.WARNING, "", 0, "attempt %d", (number,), None)
        record.created = 1_800_000_000.0 + number * 0.1
        logger.handle(record)
    late = logger.makeRecord(logger.name, logging.WARNING, "", 0, "later", (), None)
    late.created = 1_800_000_060.0
    logger.handle(late)
    written = [line for line in lines(stream) if line["logger"] == logger.name]
    assert len(written) == 31
    assert written[-1]["suppressed"] == 70


def test_a_warning_of_python_is_a_line_too() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old style", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "old style" in str(lines(stream)[0]["event"])


def fail_with_a_secret() -> None:
    password = "hunter" + "2"
    raise ValueError(len(password))


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_is_on_its_line_without_local_variables(form: str) -> None:
    stream = io.StringIO()
    log = configure("info", "json" if form == "json" else "text", stream)
    try:
        fail_with_a_secret()
    except ValueError:
        log.exception("crashed")
    assert "fail_with_a_secret" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_configuring_again_replaces_the_handler() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", "json", first)
    configure("info", "json", second).info("ready")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_values_that_json_does_not_know_are_written_as_text() -> None:
    stream = io.StringIO()
    configure("info", "json", stream).info("ready", where=frozenset({1}))
    assert lines(stream)[0]["where"] == "frozenset({1})"


def test_a_budget_counts_what_it_leaves_out() -> None:
    budget = Budget(lines_max=2, span_seconds=60)
    assert [budget.take("a", 0.0, weight=5) for _ in range(4)] == [0, 0, None, None]
    assert budget.take("b", 0.0) == 0
    assert budget.take("a", 60.0) == 10
    assert budget.take("a", 61.0) == 0


def test_a_clock_that_is_set_back_does_not_silence_a_budget() -> None:
    budget = Budget(lines_max=1)
    assert budget.take("a", 1000.0) == 0
    assert budget.take("a", 10.0) == 0


def test_a_budget_remembers_a_bounded_number_of_kinds() -> None:
    budget = Budget(lines_max=1, kinds_max=3)
    allowed = [budget.take(kind, 0.0) for kind in range(1000)]
    assert allowed.count(0) == 4
    assert len(budget._spans) == 4
