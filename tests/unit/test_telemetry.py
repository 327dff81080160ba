"""One event moves the metrics and writes the log line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from daemon import events
from daemon.events import (
    AlertChanged,
    BrokerLost,
    DriftMeasured,
    Event,
    InputGap,
    Inquired,
    LagMeasured,
    ModelRefused,
    ModelSwapped,
    PartitionDropped,
    PartitionRestored,
    PointsUnselected,
    Readiness,
    RecordsRejected,
    SamplesDropped,
    StateDiscarded,
    StateFlushed,
    StreamsCounted,
    StreamsForgotten,
    TrainingFinished,
    TrainingProgressed,
    TrainingStarted,
    TurnCommitted,
    TurnFailed,
)
from daemon.metrics import Metrics
from daemon.telemetry import Telemetry
from daemon.types import Rejected, RejectReason, TopicPartition

START = 1_800_000_000.0
ZERO = TopicPartition("metrics", 0)
ONE = TopicPartition("metrics", 1)


class Clock:
    """A clock that stands where it is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str, dict[str, object]]] = []

    def debug(self, event: str, /, **fields: object) -> None:
        """Keep a line of this level."""
        self.kept.append(("debug", event, fields))

    def info(self, event: str, /, **fields: object) -> None:
        """Keep a line of this level."""
        self.kept.append(("info", event, fields))

    def warning(self, event: str, /, **fields: object) -> None:
        """Keep a line of this level."""
        self.kept.append(("warning", event, fields))

    def error(self, event: str, /, **fields: object) -> None:
        """Keep a line of this level."""
        self.kept.append(("error", event, fields))

    def exception(self, event: str, /, **fields: object) -> None:
        """Keep a line of the level error."""
        self.kept.append(("error", event, fields))


class Watched:
    """Telemetry with a clock and a log that the test holds."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.lines = Lines()
        self.telemetry = Telemetry(self.clock, self.lines, config_checksum="c0ffee")

    def note(self, *happened: Event) -> None:
        """Note all of them, in order."""
        for event in happened:
            self.telemetry.note(event)

    def value(self, name: str, **labels: str) -> float | None:
        """Return one sample as a scrape sees it."""
        return self.telemetry.registry.get_sample_value(name, labels)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def turn(scores: dict[str, list[float]], records: int = 3) -> TurnCommitted:
    arrays = {group: np.asarray(values, dtype=np.float64) for group, values in scores.items()}
    return TurnCommitted(records, sum(map(len, scores.values())), 0.2, 0.004, 0.03, arrays, paused=2)


def rejects(reason: RejectReason, count: int, detail: str = "not JSON") -> RecordsRejected:
    return RecordsRejected(tuple(Rejected("metrics", 0, offset, reason, detail) for offset in range(count)))


def one_of_each() -> Iterator[Event]:
    yield turn({"api": [0.2, 1.2]})
    yield TurnFailed("the transaction timed out", (ZERO, ONE))
    yield rejects("undecodable", 2)
    yield SamplesDropped("api", "late", 4)
    yield from (events.SamplesJoined("api", 5, 1), events.ChannelsMissing("api", "cpu", 3))
    yield from (events.TopicsFound((), ()), events.StreamsSpread("metrics", "api", 1, "s"))
    yield PointsUnselected("metrics", 2)
    yield StreamsForgotten("api", "evicted", 3)
    yield AlertChanged("api", "open", "anomaly", "a1", "host=web-1", 1.7)
    yield StreamsCounted("api", {"ready": 7, "warming": 2}, 1, 100)
    yield LagMeasured(ZERO, 12, 3.5)
    yield PartitionRestored(ZERO, 1.5, 4, 100)
    yield PartitionDropped(ONE)
    yield StateDiscarded(ZERO, "checksum of page 3 is wrong")
    yield InputGap(ZERO, "trimmed", 100, 250)
    yield StateFlushed(4, 4096)
    yield ModelSwapped("api", "m1", 5000)
    yield ModelRefused("api", "another window")
    yield DriftMeasured("api", 40, 0.6, 1.4, drifted=True)
    yield TrainingStarted("api", "drift")
    yield TrainingFinished("api", "published", 12.0, "loss 0.1")
    yield TrainingProgressed("api", 3, 40, 0.25)
    yield BrokerLost("no broker answered within 10 s")
    yield Inquired("late")
    yield from (events.Repartitioning(active=True), events.Repartitioned(5, 7, 0.1), events.RepartitionFailed("why"))
    yield from (events.Delivered("duty", 4), events.DeliveryFailed("duty", "timed out"))
    yield from (events.DeliveryRefused("duty", "a1", "bad labels"), events.DeliveryMeasured("duty", 9, 2))
    yield Readiness(ready=True, partitions_assigned=2, partitions_restoring=0)


def test_the_list_of_one_of_each_event_is_complete() -> None:
    assert {type(event) for event in one_of_each()} == set(get_args(events.Event))


def test_every_metric_has_a_value_after_one_of_each_event(watched: Watched) -> None:
    watched.note(*one_of_each())
    exported = {metric.name: metric for metric in watched.telemetry.registry.collect()}
    for metric in Metrics:
        name = metric.declared.name.removesuffix("_total").removesuffix("_info")
        if metric not in {Metrics.LINES_SUPPRESSED, Metrics.WORKER_UP, Metrics.WORKER_RESTARTS}:  # others tell those
            assert exported[name].samples, metric


def test_both_expositions_are_readable(watched: Watched) -> None:
    watched.note(*one_of_each())
    text = generate_latest(watched.telemetry.registry).decode()
    families = list(text_string_to_metric_families(text))
    assert {"longwatch_records", "longwatch_score", "process_start_time_seconds"} <= {one.name for one in families}
    openmetrics: bytes = generate_openmetrics(watched.telemetry.registry)  # type: ignore[no-untyped-call]
    assert openmetrics.endswith(b"# EOF\n")


def test_a_committed_turn_counts_records_samples_and_seconds(watched: Watched) -> None:
    watched.note(turn({"api": [0.1, 0.3], "db": [2.0]}, records=5))
    assert watched.value("longwatch_records_total") == 5
    assert watched.value("longwatch_partitions", state="paused") == 2
    assert watched.value("longwatch_samples_total", group="api") == 2
    assert watched.value("longwatch_samples_total", group="db") == 1
    assert watched.value("longwatch_turns_total", outcome="committed") == 1
    assert watched.value("longwatch_turn_seconds_sum", phase="commit") == pytest.approx(0.03)
    assert watched.lines.kept[-1][:2] == ("debug", "turn_committed")


def test_scores_fall_into_the_bucket_whose_bound_they_do_not_exceed(watched: Watched) -> None:
    watched.note(turn({"api": [0.1, 0.1001, 1.0, 1.001, 100.0]}))
    by_bound = {
        bound: watched.value("longwatch_score_bucket", group="api", le=bound)
        for bound in ("0.1", "0.25", "1.0", "1.5", "8.0", "+Inf")
    }
    assert by_bound == {"0.1": 1, "0.25": 2, "1.0": 3, "1.5": 4, "8.0": 4, "+Inf": 5}
    assert watched.value("longwatch_score_sum", group="api") == pytest.approx(102.2011, rel=1e-5)


def test_samples_without_a_score_do_not_poison_the_sum(watched: Watched) -> None:
    watched.note(turn({"api": [float("nan"), float("inf"), 0.5]}))
    assert watched.value("longwatch_score_sum", group="api") == 0.5
    assert watched.value("longwatch_score_count", group="api") == 1
    assert watched.value("longwatch_samples_total", group="api") == 3


def test_counters_of_a_new_group_begin_at_zero(watched: Watched) -> None:
    watched.note(StreamsCounted("api", {}, 0, 10))
    assert watched.value("longwatch_alerts_total", group="api", change="open", rule="silence") == 0
    assert watched.value("longwatch_samples_dropped_total", group="api", reason="missing") == 0
    assert watched.value("longwatch_training_runs_total", group="api", outcome="failed") == 0


def test_a_state_without_streams_goes_back_to_zero(watched: Watched) -> None:
    watched.note(StreamsCounted("api", {"warming": 4}, 0, 10), StreamsCounted("api", {"ready": 4}, 0, 10))
    assert watched.value("longwatch_streams", group="api", state="warming") == 0
    assert watched.value("longwatch_streams", group="api", state="ready") == 4


def test_rejects_are_counted_by_reason_and_said_once_a_minute(watched: Watched) -> None:
    for _ in range(50):
        watched.note(rejects("undecodable", 10))
    watched.note(rejects("empty", 1))
    assert watched.value("longwatch_records_rejected_total", topic="metrics", reason="undecodable") == 500
    said = [fields["reason"] for _, event, fields in watched.lines.kept if event == "records_rejected"]
    assert said == ["undecodable", "empty"]
    watched.clock.now += 60
    watched.note(rejects("undecodable", 1))
    assert watched.lines.kept[-1][2]["suppressed"] == 490
    assert watched.value("longwatch_log_lines_suppressed_total", event="records_rejected") == 49


def test_the_detail_of_a_reject_is_bounded(watched: Watched) -> None:
    watched.note(rejects("undecodable", 1, detail="x" * 100_000))
    assert len(str(watched.lines.kept[-1][2]["detail"])) == 300


def test_a_storm_of_alerts_does_not_flood_the_log(watched: Watched) -> None:
    for number in range(1000):
        watched.note(AlertChanged("api", "open", "guard", str(number), f"host={number}", 2.0))
    assert len(watched.lines.kept) == 30
    assert watched.value("longwatch_alerts_total", group="api", change="open", rule="guard") == 1000


def test_a_broker_that_stays_away_is_counted_each_time_and_said_once_a_minute(watched: Watched) -> None:
    watched.note(*[BrokerLost("connection refused")] * 20)
    assert watched.value("longwatch_broker_lost_total") == 20
    assert [line[:2] for line in watched.lines.kept] == [("warning", "broker_lost")]


def test_an_alert_opens_as_a_warning_and_closes_as_information(watched: Watched) -> None:
    watched.note(AlertChanged("api", "open", "anomaly", "a1", "host=a", 1.2))
    watched.note(AlertChanged("api", "close", "anomaly", "a1", "host=a", 0.2))
    assert [line[:2] for line in watched.lines.kept] == [("warning", "alert_opened"), ("info", "alert_closed")]


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (TurnFailed("why", (ZERO,)), "warning"),
        (PartitionRestored(ZERO, 1.0, 1, 1), "info"),
        (StateDiscarded(ZERO, "why"), "warning"),
        (ModelRefused("api", "why"), "warning"),
        (TrainingFinished("api", "failed", 1.0, "killed"), "warning"),
        (TrainingFinished("api", "published", 1.0, "loss"), "info"),
    ],
)
def test_the_level_says_whether_somebody_should_look(watched: Watched, event: Event, level: str) -> None:
    watched.note(event)
    assert [line[0] for line in watched.lines.kept] == [level]


def test_a_failed_turn_is_counted_apart(watched: Watched) -> None:
    watched.note(TurnFailed("timed out", (ZERO,)))
    assert watched.value("longwatch_turns_total", outcome="failed") == 1
    assert watched.value("longwatch_transactions_total", outcome="failed") == 1
    assert watched.value("longwatch_turns_total", outcome="committed") == 0


def test_lag_in_seconds_grows_while_nothing_newer_arrives(watched: Watched) -> None:
    watched.note(LagMeasured(ZERO, 10, 2.0))
    watched.clock.now += 30
    assert watched.value("longwatch_lag_seconds", topic="metrics", partition="0") == pytest.approx(32.0)
    assert watched.value("longwatch_lag_records", topic="metrics", partition="0") == 10


def test_a_partition_that_went_away_is_not_exported_any_more(watched: Watched) -> None:
    watched.note(LagMeasured(ZERO, 10, 2.0), LagMeasured(ONE, 1, 1.0))
    assert watched.value("longwatch_lag_seconds", topic="metrics", partition="0") == 2.0
    watched.note(PartitionDropped(ZERO))
    assert watched.value("longwatch_lag_records", topic="metrics", partition="0") is None
    assert watched.value("longwatch_lag_seconds", topic="metrics", partition="0") is None
    assert watched.value("longwatch_lag_records", topic="metrics", partition="1") == 1


def test_the_age_of_the_last_flush_counts_from_the_start_and_then_from_the_flush(watched: Watched) -> None:
    watched.clock.now += 5
    assert watched.value("longwatch_state_flush_age_seconds") == 5
    assert watched.value("longwatch_state_flush_timestamp_seconds") is None
    watched.note(StateFlushed(2, 100))
    watched.clock.now += 7
    assert watched.value("longwatch_state_flush_age_seconds") == 7
    assert watched.value("longwatch_state_flush_timestamp_seconds") == START + 5


def test_a_swap_replaces_the_model_of_its_own_group_only(watched: Watched) -> None:
    watched.note(ModelSwapped("api", "m1", 10), ModelSwapped("db", "m1", 20), ModelSwapped("api", "m2", 30))
    assert watched.value("longwatch_model_info", group="api", model_id="m1") is None
    assert watched.value("longwatch_model_info", group="api", model_id="m2") == 1
    assert watched.value("longwatch_model_info", group="db", model_id="m1") == 1
    assert watched.value("longwatch_model_trained_samples", group="api") == 30


def test_health_follows_progress(watched: Watched) -> None:
    assert watched.telemetry.health(60).ok
    watched.clock.now += 61
    unhealthy = watched.telemetry.health(60)
    assert not unhealthy.ok
    assert "61.0 s" in unhealthy.reason
    watched.telemetry.progress(watched.clock.now)
    assert watched.telemetry.health(60).ok
    assert watched.value("longwatch_last_progress_timestamp_seconds") == START + 61


def test_readiness_is_said_when_it_changes_and_only_then(watched: Watched) -> None:
    assert not watched.telemetry.readiness().ok
    restoring = Readiness(ready=False, partitions_assigned=3, partitions_restoring=2)
    watched.note(restoring, restoring)
    assert watched.telemetry.readiness().reason == "2 of 3 partitions are restoring"
    watched.note(Readiness(ready=True, partitions_assigned=3, partitions_restoring=0))
    assert watched.telemetry.readiness().ok
    assert [line[1] for line in watched.lines.kept] == ["not_ready", "ready"]


def test_a_scrape_sees_all_of_a_turn_or_nothing_of_it(watched: Watched) -> None:
    enough = threading.Event()
    event = turn({"api": [0.5] * 7}, records=7)

    def work() -> None:
        for _ in range(1_000_000):
            watched.note(event)
            if enough.is_set():
                return

    worker = threading.Thread(target=work)
    worker.start()
    seen: set[float] = set()
    while len(seen) < 5 and worker.is_alive():
        values = {
            sample.name: sample.value
            for metric in watched.telemetry.registry.collect()
            for sample in metric.samples
            if "le" not in sample.labels
        }
        assert values["longwatch_records_total"] == values["longwatch_samples_total"] == values["longwatch_score_count"]
        seen.add(values["longwatch_records_total"])
    enough.set()
    worker.join()
    assert len(seen) > 1, "no scrape fell into the work"


def test_two_telemetries_share_nothing(watched: Watched) -> None:
    other = Watched()
    watched.note(turn({"api": [0.1]}))
    assert other.value("longwatch_records_total") == 0


def test_build_and_configuration_are_told(watched: Watched) -> None:
    assert watched.value("longwatch_config_info", checksum="c0ffee") == 1
    build = next(one for one in watched.telemetry.registry.collect() if one.name == "longwatch_build")
    assert set(build.samples[0].labels) == {"version", "python", "torch"}


def test_every_help_text_is_one_plain_sentence_or_more(watched: Watched) -> None:
    for metric in Metrics:
        assert metric.declared.help.endswith("."), metric
        assert "|" not in metric.declared.help, metric
        assert "\n" not in metric.declared.help, metric


def test_a_drift_moves_its_figures_and_is_logged_while_it_lasts(watched: Watched) -> None:
    watched.note(DriftMeasured("api", 40, 0.12, 1.1, drifted=False))
    assert not watched.lines.kept
    watched.note(DriftMeasured("api", 40, 0.61, 1.4, drifted=True))
    assert watched.value("longwatch_drift_share", group="api") == 0.61
    assert watched.value("longwatch_drift_growth", group="api") == 1.4
    assert watched.value("longwatch_drifted", group="api") == 1
    assert watched.lines.kept[-1][:2] == ("info", "drifted")
    watched.note(DriftMeasured("api", 40, 0.1, 1.0, drifted=False))
    assert watched.value("longwatch_drifted", group="api") == 0


def test_what_makes_a_training_due_and_that_it_was_refused_are_counted(watched: Watched) -> None:
    watched.note(TrainingStarted("api", "drift"), TrainingFinished("api", "refused", 9.0, "its usual error is 9"))
    assert watched.value("longwatch_trainings_started_total", group="api", cause="drift") == 1
    assert watched.value("longwatch_trainings_started_total", group="api", cause="schedule") == 0
    assert watched.value("longwatch_training_runs_total", group="api", outcome="refused") == 1
    assert watched.lines.kept[-1][0] == "warning"


def test_when_the_model_in_use_was_trained_is_told_with_the_swap(watched: Watched) -> None:
    watched.note(ModelSwapped("api", "m1", 5000, 1_700_000_000_000))
    assert watched.value("longwatch_model_created_timestamp_seconds", group="api") == 1_700_000_000
