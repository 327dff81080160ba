"""What the daemon tells its operator: one event moves the metrics and writes the log line, so they cannot disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

from prometheus_client import CollectorRegistry, ProcessCollector

from daemon import events, stages
from daemon.exposition import Numbers
from daemon.lines import Line, short
from daemon.logs import Budget, Log
from daemon.metrics import Metrics
from daemon.series import start_group, start_process, start_topic
from daemon.types import TopicPartition

_LINES_MAX = 30  # a minute, for each kind of event
_CHANGE_EVENTS = {"open": "alert_opened", "update": "alert_updated", "close": "alert_closed"}


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether something is as it should be, and why not, in words for a person."""

    ok: bool
    reason: str


class Telemetry:
    """Counts and logs what happens; the pages read their metrics, health and readiness from it.

    `clock` returns seconds since 1970, `monotonic` seconds that nobody sets. Any thread may call any method.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        log: Log,
        config_checksum: str = "",
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._clock, self._monotonic = clock, monotonic or clock
        self._log = log
        self._numbers = Numbers(self._refresh)
        self._frequent, self._scarce = Budget(_LINES_MAX), Budget(1)
        self._started = clock()
        self._progressed, self._alive = self._started, self._monotonic()
        self._flushed: float | None = None
        self._newest: dict[TopicPartition, float] = {}
        self._readiness: events.Readiness | None = None
        self._known: set[tuple[str, str]] = set()
        self.registry = CollectorRegistry()
        self.registry.register(self._numbers)
        ProcessCollector(registry=self.registry)
        start_process(self._numbers, config_checksum)

    def note(self, event: events.Event) -> None:
        """Move the metrics of `event` and write its log line, if it has one."""
        with self._numbers.lock:
            lines = [line for one in self._count(event) if (line := self._allowed(one)) is not None]
        # Outside the lock: a log that is slow to take a line must not hold up a scrape.
        for line in lines:
            getattr(self._log, line.level)(line.event, **line.fields)

    def progress(self, now: float) -> None:
        """Mark that the loop made progress at `now` (seconds since 1970)."""
        with self._numbers.lock:
            self._progressed, self._alive = now, self._monotonic()

    def health(self, healthy_seconds: float) -> Condition:
        """Return whether the loop made progress within `healthy_seconds`; the start counts as progress."""
        age = self._monotonic() - self._alive  # a wall clock that is set makes no loop well or ill
        if age <= healthy_seconds:
            return Condition(ok=True, reason=f"the loop made progress {max(age, 0.0):.1f} s ago")
        return Condition(
            ok=False, reason=f"the loop made no progress for {age:.1f} s, the limit is {healthy_seconds:g} s"
        )

    def readiness(self) -> Condition:
        """Return whether every assigned partition is restored."""
        known = self._readiness
        if known is None:
            return Condition(ok=False, reason="no partitions were assigned yet")
        if known.ready:
            return Condition(ok=True, reason=f"{known.partitions_assigned} partitions assigned, all restored")
        return Condition(
            ok=False, reason=f"{known.partitions_restoring} of {known.partitions_assigned} partitions are restoring"
        )

    def _allowed(self, line: Line) -> Line | None:
        """Return the line as it may be written: with what was left out before it, or not at all."""
        if line.level == "debug":
            return line
        now = self._clock()
        suppressed = (
            self._frequent.take(line.event, now, line.weight)
            if line.scarce is None
            else self._scarce.take((line.event, line.scarce), now, line.weight)
        )
        if suppressed is None:
            self._numbers.add(Metrics.LINES_SUPPRESSED, 1, line.event)
            return None
        fields = {**line.fields, "suppressed": suppressed} if suppressed else line.fields
        return Line(line.level, line.event, fields)

    def _count(self, event: events.Event) -> Iterable[Line]:  # noqa: C901, PLR0911, PLR0912 - a table, one line each
        match event:
            case events.TurnCommitted():
                return self._turn_committed(event)
            case events.TurnFailed():
                return self._turn_failed(event)
            case events.RecordsRejected():
                return self._records_rejected(event)
            case events.SamplesDropped():
                return self._samples_dropped(event)
            case events.StreamsSpread():
                return self._streams_spread(event)
            case events.TopicsFound():
                self._numbers.set(Metrics.TOPICS, len(event.topics))
                return (Line("info", "topics_found", {"topics": short(", ".join(event.new))}),) if event.new else ()
            case events.SamplesJoined():
                return self._samples_joined(event)
            case events.ChannelsMissing():
                self._numbers.add(Metrics.CHANNELS_MISSING, event.count, event.group, event.channel)
                return ()
            case events.PointsUnselected():
                return self._points_unselected(event)
            case events.StreamsForgotten():
                return self._streams_forgotten(event)
            case events.AlertChanged():
                return self._alert_changed(event)
            case events.StreamsCounted():
                return self._streams_counted(event)
            case events.LagMeasured():
                return self._lag_measured(event)
            case events.PartitionRestored():
                return self._partition_restored(event)
            case events.PartitionDropped():
                return self._partition_dropped(event)
            case events.StateDiscarded():
                return self._state_discarded(event)
            case events.InputGap():
                return self._input_gap(event)
            case events.StateFlushed():
                return self._state_flushed(event)
            case events.ModelSwapped():
                return self._model_swapped(event)
            case events.ModelRefused():
                return self._model_refused(event)
            case events.DriftMeasured():
                return self._drift_measured(event)
            case events.TrainingStarted():
                return self._training_started(event)
            case events.TrainingProgressed():
                return self._training_progressed(event)
            case events.TrainingFinished():
                return self._training_finished(event)
            case events.BrokerLost():
                return self._broker_lost(event)
            case events.Inquired():
                self._numbers.add(Metrics.INQUIRIES, 1, event.outcome)
                return ()
            case events.Repartitioning() | events.Repartitioned() | events.RepartitionFailed():
                return stages.repartition(self._numbers, event)
            case events.Delivered() | events.DeliveryRefused() | events.DeliveryFailed() | events.DeliveryMeasured():
                return stages.delivery(self._numbers, event)
            case events.Readiness():
                return self._readiness_measured(event)
            case _:
                assert_never(event)

    def _turn_committed(self, event: events.TurnCommitted) -> Iterable[Line]:
        self._numbers.add(Metrics.TURNS, 1, "committed")
        self._numbers.add(Metrics.TRANSACTIONS, 1, "committed")
        self._numbers.add(Metrics.RECORDS, event.records)
        phases = {"poll": event.poll_seconds, "step": event.step_seconds, "commit": event.commit_seconds}
        for phase, lasted in phases.items():
            self._numbers.observe(Metrics.TURN_SECONDS, lasted, phase)
        self._numbers.set(Metrics.TURN_RECORDS_MAX, event.records_next)
        self._numbers.set(Metrics.PARTITIONS, event.paused, "paused")
        for group, scores in event.scores.items():
            self._introduce_group(group)
            self._numbers.add(Metrics.SAMPLES, len(scores), group)
            self._numbers.observe_all(Metrics.SCORE, scores, group)
            self._numbers.add(Metrics.WITHHELD, event.withheld.get(group, 0), group)
        fields = {"records": event.records, "samples": event.samples, "seconds": round(sum(phases.values()), 4)}
        yield Line("debug", "turn_committed", fields)

    def _turn_failed(self, event: events.TurnFailed) -> Iterable[Line]:
        self._numbers.add(Metrics.TURNS, 1, "failed")
        self._numbers.add(Metrics.TRANSACTIONS, 1, "failed")
        partitions = short(", ".join(f"{topic}/{number}" for topic, number in event.partitions))
        yield Line("warning", "turn_failed", {"why": short(event.why), "partitions": partitions})

    def _records_rejected(self, event: events.RecordsRejected) -> Iterable[Line]:
        for (topic, reason), count in Counter((one.topic, one.reason) for one in event.rejected).items():
            self._introduce_topic(topic)
            self._numbers.add(Metrics.REJECTED, count, topic, reason)
            first = next(one for one in event.rejected if (one.topic, one.reason) == (topic, reason))
            fields = {"topic": topic, "reason": reason, "records": count, "partition": first.partition}
            detail = {"offset": first.offset, "detail": short(first.detail)}
            yield Line("warning", "records_rejected", {**fields, **detail}, scarce=reason, weight=count)

    def _samples_dropped(self, event: events.SamplesDropped) -> Iterable[Line]:
        self._introduce_group(event.group)
        self._numbers.add(Metrics.DROPPED, event.count, event.group, event.reason)
        fields = {"group": event.group, "reason": event.reason, "samples": event.count}
        yield Line("info", "samples_dropped", fields, scarce=(event.group, event.reason), weight=event.count)

    def _streams_spread(self, event: events.StreamsSpread) -> Iterable[Line]:
        self._numbers.add(Metrics.SPREAD, event.count, event.topic, event.group)
        if self._first("spread", event.topic):  # nobody has to read it twice
            fields = {"topic": event.topic, "group": event.group, "stream": short(event.stream)}
            yield Line("warning", "streams_spread", fields)

    def _samples_joined(self, event: events.SamplesJoined) -> Iterable[Line]:
        self._numbers.add(Metrics.JOINED, event.complete, event.group, "complete")
        self._numbers.add(Metrics.JOINED, event.incomplete, event.group, "incomplete")
        return ()

    def _points_unselected(self, event: events.PointsUnselected) -> Iterable[Line]:
        self._introduce_topic(event.topic)
        self._numbers.add(Metrics.UNSELECTED, event.count, event.topic)
        return ()

    def _streams_forgotten(self, event: events.StreamsForgotten) -> Iterable[Line]:
        self._introduce_group(event.group)
        self._numbers.add(Metrics.FORGOTTEN, event.count, event.group, event.reason)
        why = {"group": event.group, "reason": event.reason}
        yield Line("warning", "streams_forgotten", {**why, "streams": event.count}, (*why.values(),), event.count)

    def _alert_changed(self, event: events.AlertChanged) -> Iterable[Line]:
        self._introduce_group(event.group)
        self._numbers.add(Metrics.ALERTS, 1, event.group, event.change, event.rule)
        what = {"group": event.group, "rule": event.rule, "stream": short(event.stream)}
        fields = {**what, "alert_id": event.alert_id, "score": round(float(event.score), 3)}
        yield Line("info" if event.change == "close" else "warning", _CHANGE_EVENTS[event.change], fields)

    def _streams_counted(self, event: events.StreamsCounted) -> Iterable[Line]:
        self._introduce_group(event.group)
        for state in get_args(events.StreamState):
            self._numbers.set(Metrics.STREAMS, event.by_state.get(state, 0), event.group, state)
        self._numbers.set(Metrics.STREAMS_MAX, event.streams_max, event.group)
        self._numbers.set(Metrics.ALERTS_OPEN, event.alerts_open, event.group)
        self._numbers.set(Metrics.MAINTENANCE, event.maintenance, event.group)
        return ()

    def _lag_measured(self, event: events.LagMeasured) -> Iterable[Line]:
        self._introduce_topic(event.partition.topic)
        self._newest[event.partition] = self._clock() - event.seconds
        self._numbers.set(Metrics.LAG_RECORDS, event.records, *_labels(event.partition))
        self._numbers.set(Metrics.REJECTED_RUN, event.rejected_run, *_labels(event.partition))
        return ()

    def _partition_restored(self, event: events.PartitionRestored) -> Iterable[Line]:
        self._introduce_topic(event.partition.topic)
        self._numbers.observe(Metrics.RESTORE_SECONDS, event.seconds)
        self._numbers.add(Metrics.RESTORED_RECORDS, event.replayed_records)
        fields = {"seconds": round(event.seconds, 3), "pages": event.pages, "replayed_records": event.replayed_records}
        yield Line("info", "partition_restored", {**_where(event.partition), **fields})

    def _partition_dropped(self, event: events.PartitionDropped) -> Iterable[Line]:
        # Another member exports these from now on; two members with one series would add up.
        self._newest.pop(event.partition, None)
        for metric in (Metrics.LAG_RECORDS, Metrics.LAG_SECONDS, Metrics.REJECTED_RUN):
            self._numbers.remove(metric, *_labels(event.partition))
        yield Line("info", "partition_dropped", _where(event.partition))

    def _state_discarded(self, event: events.StateDiscarded) -> Iterable[Line]:
        self._numbers.add(Metrics.DISCARDED, 1)
        yield Line("warning", "state_discarded", {**_where(event.partition), "why": short(event.why)})

    def _input_gap(self, event: events.InputGap) -> Iterable[Line]:
        self._introduce_topic(event.partition.topic)
        self._numbers.add(Metrics.INPUT_GAPS, 1, event.partition.topic, event.reason)
        fields = {"reason": event.reason, "reached": event.reached, "resumed": event.resumed}
        yield Line("warning", "input_gap", {**_where(event.partition), **fields})

    def _state_flushed(self, event: events.StateFlushed) -> Iterable[Line]:
        self._flushed = self._clock()
        self._numbers.set(Metrics.FLUSH_TIME, self._flushed)
        self._numbers.add(Metrics.PAGES, event.pages)
        self._numbers.add(Metrics.BYTES, event.bytes)
        yield Line("debug", "state_flushed", {"pages": event.pages, "bytes": event.bytes})

    def _model_swapped(self, event: events.ModelSwapped) -> Iterable[Line]:
        self._introduce_group(event.group)
        self._numbers.tell(Metrics.MODEL_INFO, event.group, event.model_id)
        self._numbers.set(Metrics.MODEL_SAMPLES, event.trained_samples, event.group)
        self._numbers.set(Metrics.MODEL_TIME, event.created_at_ms / 1000.0, event.group)
        fields = {"group": event.group, "model_id": event.model_id, "trained_samples": event.trained_samples}
        yield Line("info", "model_swapped", fields)

    def _model_refused(self, event: events.ModelRefused) -> Iterable[Line]:
        self._introduce_group(event.group)
        self._numbers.add(Metrics.MODELS_REFUSED, 1, event.group)
        yield Line("warning", "model_refused", {"group": event.group, "why": short(event.why)})

    def _training_started(self, event: events.TrainingStarted) -> Iterable[Line]:
        self._introduce_group(event.group)
        self._numbers.set(Metrics.TRAINING_RUNNING, 1, event.group)
        self._numbers.add(Metrics.TRAINING_CAUSES, 1, event.group, event.cause)
        yield Line("info", "training_started", {"group": event.group, "cause": event.cause})

    def _drift_measured(self, event: events.DriftMeasured) -> Iterable[Line]:
        self._numbers.set(Metrics.DRIFTED, event.drifted, event.group)
        for metric, figure in ((Metrics.DRIFT_SHARE, event.share), (Metrics.DRIFT_GROWTH, event.growth)):
            self._numbers.set(metric, figure, event.group)
        figures = {"share": round(event.share, 3), "growth": round(event.growth, 3), "streams": event.streams}
        return (Line("info", "drifted", {"group": event.group, **figures}, event.group),) if event.drifted else ()

    def _training_progressed(self, event: events.TrainingProgressed) -> Iterable[Line]:
        epochs = {"group": event.group, "epoch": event.epoch, "epochs_max": event.epochs_max}
        fields = {**epochs, "validation_loss": round(float(event.validation_loss), 6)}
        yield Line("info", "training_progressed", fields, scarce=event.group)

    def _broker_lost(self, event: events.BrokerLost) -> Iterable[Line]:
        self._numbers.add(Metrics.BROKER_LOST, 1)
        yield Line("warning", "broker_lost", {"why": short(event.why)}, scarce="")

    def _training_finished(self, event: events.TrainingFinished) -> Iterable[Line]:
        self._introduce_group(event.group)
        self._numbers.set(Metrics.TRAINING_RUNNING, 0, event.group)
        self._numbers.set(Metrics.TRAINING_SECONDS, event.seconds, event.group)
        self._numbers.add(Metrics.TRAINING_RUNS, 1, event.group, event.outcome)
        fields = {"group": event.group, "outcome": event.outcome, "seconds": round(event.seconds, 1)}
        level: Literal["info", "warning"] = "warning" if event.outcome in {"failed", "refused"} else "info"
        yield Line(level, "training_finished", {**fields, "detail": short(event.detail)})

    def _readiness_measured(self, event: events.Readiness) -> Iterable[Line]:
        self._numbers.set(Metrics.READY, event.ready)
        self._numbers.set(Metrics.PARTITIONS, event.partitions_assigned, "assigned")
        self._numbers.set(Metrics.PARTITIONS, event.partitions_restoring, "restoring")
        changed = self._readiness is None or self._readiness.ready != event.ready
        self._readiness = event
        fields = {"assigned": event.partitions_assigned, "restoring": event.partitions_restoring}
        return (Line("info", "ready" if event.ready else "not_ready", fields),) if changed else ()

    def _refresh(self) -> None:
        """Bring to the moment of the scrape what grows without an event."""
        now = self._clock()
        self._numbers.set(Metrics.PROGRESS_TIME, self._progressed)
        self._numbers.set(Metrics.FLUSH_AGE, max(0.0, now - (self._flushed or self._started)))
        for partition, newest in self._newest.items():
            self._numbers.set(Metrics.LAG_SECONDS, now - newest, *_labels(partition))

    def _introduce_group(self, group: str) -> None:
        if self._first("group", group):
            start_group(self._numbers, group)

    def _introduce_topic(self, topic: str) -> None:
        if self._first("topic", topic):
            start_topic(self._numbers, topic)

    def _first(self, kind: str, name: str) -> bool:
        new = (kind, name) not in self._known
        self._known.add((kind, name))
        return new


def _labels(partition: TopicPartition) -> tuple[str, str]:
    return partition.topic, str(partition.partition)


def _where(partition: TopicPartition) -> dict[str, object]:
    return {"topic": partition.topic, "partition": partition.partition}
