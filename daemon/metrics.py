"""Every metric that the daemon exports, declared once, each with what an operator should make of it."""

from __future__ import annotations

from enum import Enum

from daemon.declared import Declared

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_RESTORE_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SCORES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.5, 2.0, 4.0, 8.0)


class Metrics(Enum):
    """The table; its members are the only names by which numbers are moved, so a wrong one is a type error."""

    @property
    def declared(self) -> Declared:
        """The declaration behind this member."""
        value: Declared = self.value
        return value

    RECORDS = Declared(
        "counter",
        "longwatch_records_total",
        "Kafka messages read in committed turns. If it stands still while producers write, look at "
        "longwatch_lag_records and at failed turns.",
    )
    TOPICS = Declared(
        "gauge",
        "longwatch_input_topics",
        "Topics that are read, by name or by a pattern. Is one missed, see whether the pattern is of its whole name.",
    )
    SPREAD = Declared(
        "counter",
        "longwatch_streams_spread_total",
        "Streams seen on a second partition of their topic by this member (1000 new ones a turn are looked at). Their "
        "producer sends no key: give it one, or set input.repartition, or each partition scores a part of the stream.",
        ("topic", "group"),
    )
    SAMPLES = Declared(
        "counter",
        "longwatch_samples_total",
        "Samples of the group in committed turns, the ones that were dropped included. If records rise and this does "
        "not, look at rejected records and at the selectors of the groups.",
        ("group",),
    )
    TURNS = Declared(
        "counter",
        "longwatch_turns_total",
        "Turns by outcome. A failed turn is repeated from the last commit, nothing is lost; many of them mean "
        "that the broker or the network is in trouble.",
        ("outcome",),
    )
    TURN_SECONDS = Declared(
        "histogram",
        "longwatch_turn_seconds",
        "Time of a turn by phase. A slow commit points to the broker, a slow step to too little CPU; a slow poll "
        "only means that little arrives. `repartition` is all of a turn of the first stage, with input.repartition.",
        ("phase",),
        _SECONDS,
    )
    TURN_RECORDS_MAX = Declared(
        "gauge",
        "longwatch_turn_records_max",
        "Records that the next turn takes at most: it grows while there is lag, until a turn lasts input.turn_seconds, "
        "and shrinks without. Small while longwatch_lag_records grows: the records hold much, or the machine is busy.",
    )
    SCORE = Declared(
        "histogram",
        "longwatch_score",
        "Scores of the samples; 1 is the threshold. If far more than the expected share lies above 1, the model "
        "no longer fits: train it again.",
        ("group",),
        _SCORES,
    )
    ALERTS_OPEN = Declared(
        "gauge",
        "longwatch_alerts_open",
        "Alerts that are open now. Many at once usually have one cause in common; read the alerts topic for the "
        "streams.",
        ("group",),
    )
    ALERTS = Declared(
        "counter",
        "longwatch_alerts_total",
        "Changes of alerts that were committed to the alerts topic, by kind of change and by the rule that fired.",
        ("group", "change", "rule"),
    )
    MAINTENANCE = Declared(
        "gauge",
        "longwatch_maintenance_active",
        "1 while the newest sample of one of this member's partitions lies in a window of maintenance of the group. "
        "1 when nobody maintains anything: the window's location or end is wrong.",
        ("group",),
    )
    WITHHELD = Declared(
        "counter",
        "longwatch_alerts_withheld_total",
        "Alerts that did not open because of a window of maintenance. Many of them: look at the scores of that time, "
        "the maintenance may have broken something.",
        ("group",),
    )
    STREAMS = Declared(
        "gauge",
        "longwatch_streams",
        "Streams remembered, by state. Many that stay `warming` get too few samples; many `stale` ones stopped "
        "sending.",
        ("group", "state"),
    )
    STREAMS_MAX = Declared(
        "gauge",
        "longwatch_streams_max",
        "Limit of streams in the group. When longwatch_streams reaches it, new streams are rejected: raise "
        "max_streams or narrow the selectors.",
        ("group",),
    )
    LAG_RECORDS = Declared(
        "gauge",
        "longwatch_lag_records",
        "Records of a partition that were not read yet. If it grows, the daemon is too slow or stands still: add "
        "members or CPU.",
        ("topic", "partition"),
    )
    LAG_SECONDS = Declared(
        "gauge",
        "longwatch_lag_seconds",
        "Age of the newest event time seen in a partition. High with longwatch_lag_records at 0 means that the "
        "producers are late or silent, not the daemon.",
        ("topic", "partition"),
    )
    REJECTED = Declared(
        "counter",
        "longwatch_records_rejected_total",
        "Records that went to the dead-letter topic, by reason. The headers there name the origin and the detail.",
        ("topic", "reason"),
    )
    REJECTED_RUN = Declared(
        "gauge",
        "longwatch_rejected_run",
        "Records of a partition in a row, up to the last one read, that could not be used. In the hundreds: the "
        "producer has changed, or input.format is wrong. input.rejected_run_max lets the daemon stop there.",
        ("topic", "partition"),
    )
    UNSELECTED = Declared(
        "counter",
        "longwatch_points_unselected_total",
        "Well-formed points that no group wants. If streams are missed, look at the groups' select and channels.",
        ("topic",),
    )
    DROPPED = Declared(
        "counter",
        "longwatch_samples_dropped_total",
        "Well-formed samples that were left out. Many `late` or `duplicate` ones: a producer repeats itself or "
        "writes one stream to several partitions. `missing` ones hold no value at all; at a `not_finite` one the state "
        "of its stream could not be used any more. With `join`, readings that came after their sample (`late`: raise "
        "lateness_seconds), a second time (`duplicate`), or before the interval was known (`unmeasured`).",
        ("group", "reason"),
    )
    JOINED = Declared(
        "counter",
        "longwatch_samples_joined_total",
        "Samples that were made of readings, with all of the group's channels or without some. Many `incomplete` ones: "
        "raise lateness_seconds, or see which channels are missing.",
        ("group", "outcome"),
    )
    CHANNELS_MISSING = Declared(
        "counter",
        "longwatch_channels_missing_total",
        "Samples of several channels that came without this one; the rest of them is scored. If it rises as fast as "
        "the group's samples, nobody sends the channel, or its name is wrong.",
        ("group", "channel"),
    )
    FORGOTTEN = Declared(
        "counter",
        "longwatch_streams_forgotten_total",
        "Streams that begin anew. `evicted` ones gave way to new streams in a full group: raise max_streams, or find "
        "who makes so many. At a `not_finite` one the model is to be doubted: train it again. At an `own_weights` one "
        "what a stream had learnt by itself was no number any more, and it goes on with its group's weights.",
        ("group", "reason"),
    )
    TRANSACTIONS = Declared(
        "counter",
        "longwatch_transactions_total",
        "Kafka transactions by outcome. Failed ones were aborted or have an unknown outcome; their partitions "
        "are restored.",
        ("outcome",),
    )
    BROKER_LOST = Declared(
        "counter",
        "longwatch_broker_lost_total",
        "Times that no broker answered. The loop waits, tries again and reads on where it stood; if it goes on, look "
        "at the brokers, the network and the credentials.",
    )
    FLUSH_TIME = Declared(
        "gauge",
        "longwatch_state_flush_timestamp_seconds",
        "When pages of state were last written, in seconds since 1970; absent before the first time.",
    )
    FLUSH_AGE = Declared(
        "gauge",
        "longwatch_state_flush_age_seconds",
        "Time since pages of state were last written, or since the start. Far above state.flush_seconds while "
        "samples arrive, a restart replays that much.",
    )
    PAGES = Declared("counter", "longwatch_state_pages_written_total", "Pages of state written to the state topic.")
    BYTES = Declared(
        "counter",
        "longwatch_state_bytes_written_total",
        "Bytes of state written to the state topic. If it costs too much, raise state.flush_seconds.",
    )
    DISCARDED = Declared(
        "counter",
        "longwatch_state_discarded_total",
        "Times that stored state could not be used and a partition started afresh. Streams there warm up again; "
        "the log says why.",
    )
    INPUT_GAPS = Declared(
        "counter",
        "longwatch_input_gaps_total",
        "Times that reading could not go on where it had come to, by reason: `trimmed` is retention that is too short "
        "for the lag, `truncated` a cluster that lost records, `recreated` another topic of the same name.",
        ("topic", "reason"),
    )
    RESTORE_SECONDS = Declared(
        "histogram",
        "longwatch_restore_seconds",
        "Time to load and replay one partition. If it grows, lower state.flush_seconds.",
        (),
        _RESTORE_SECONDS,
    )
    RESTORED_RECORDS = Declared(
        "counter",
        "longwatch_restored_records_total",
        "Records replayed silently while restoring.",
    )
    PARTITIONS = Declared(
        "gauge",
        "longwatch_partitions",
        "Partitions of this member: assigned, and those of them still restoring or paused. None assigned: there are "
        "more members than partitions. Paused for long: more is read of them than turns can take, see "
        "input.turn_seconds and input.turn_bytes_max.",
        ("state",),
    )
    MODEL_INFO = Declared(
        "info",
        "longwatch_model_info",
        "The model that a group scores with; absent while it scores without one.",
        ("group", "model_id"),
    )
    MODEL_SAMPLES = Declared(
        "gauge",
        "longwatch_model_trained_samples",
        "Samples that the model in use was trained on.",
        ("group",),
    )
    MODELS_REFUSED = Declared(
        "counter",
        "longwatch_models_refused_total",
        "Artefacts that could not be used; the model that ran before stays. The log says why.",
        ("group",),
    )
    MODEL_TIME = Declared(
        "gauge",
        "longwatch_model_created_timestamp_seconds",
        "When the model in use was trained, in seconds since 1970. Far older than training.repeat_hours: trainings "
        "fail or are refused, or somebody went back to it.",
        ("group",),
    )
    DRIFT_SHARE = Declared(
        "gauge",
        "longwatch_drift_share",
        "Share of this member's streams whose recent error was rare in their own past; by chance 0.1. From "
        "drift.share on the model is trained again. High again and again: they change faster than it is trained.",
        ("group",),
    )
    DRIFT_GROWTH = Declared(
        "gauge",
        "longwatch_drift_growth",
        "The usual error of the model's forecasts, as a multiple of what it was when the model was trained. From "
        "drift.growth on it is trained again.",
        ("group",),
    )
    DRIFTED = Declared(
        "gauge",
        "longwatch_drifted",
        "1 while a figure of drift is beyond its limit. If it stays 1, look at the outcomes of the trainings.",
        ("group",),
    )
    TRAINING_CAUSES = Declared(
        "counter",
        "longwatch_trainings_started_total",
        "Trainings that were started, by what made them due. Many for `drift`: raise its limits or "
        "training.apart_hours.",
        ("group", "cause"),
    )
    TRAINING_RUNS = Declared(
        "counter",
        "longwatch_training_runs_total",
        "Trainings that ended, by outcome. `failed` is explained in the log; `too_little_history` is tried again "
        "later. `refused`: the candidate did worse than the model in use; `longwatch models show` has the figures.",
        ("group", "outcome"),
    )
    TRAINING_RUNNING = Declared(
        "gauge",
        "longwatch_training_running",
        "1 while a training runs beside the loop.",
        ("group",),
    )
    TRAINING_SECONDS = Declared("gauge", "longwatch_training_seconds", "How long the last training took.", ("group",))
    BUILD_INFO = Declared("info", "longwatch_build_info", "Versions that run here.", ("version", "python", "torch"))
    CONFIG_INFO = Declared(
        "info",
        "longwatch_config_info",
        "Checksum of the configuration in use, without its secrets; it changes when a setting does.",
        ("checksum",),
    )
    READY = Declared(
        "gauge",
        "longwatch_ready",
        "1 when every assigned partition is restored. If it stays 0, look at longwatch_partitions and at the log "
        "for what restoring waits for.",
    )
    PROGRESS_TIME = Declared(
        "gauge",
        "longwatch_last_progress_timestamp_seconds",
        "When the loop last made progress, in seconds since 1970. If it stands still, the loop hangs and the "
        "supervisor should restart the daemon.",
    )
    INQUIRIES = Declared(
        "counter",
        "longwatch_inquiries_total",
        "Questions that the pages of streams put to the loop. `late`: it did not answer in time, see whether it turns; "
        "`refused`: too many were waiting at once.",
        ("outcome",),
    )
    REPARTITIONING = Declared(
        "gauge",
        "longwatch_repartitioning",
        "1 on the member that writes the input anew by stream, with input.repartition; the others take over when it "
        "is gone. All 0 for longer than kafka.session_timeout_seconds: nobody owns the first partition of "
        "input.repartition_topic, see longwatch_partitions.",
    )
    REPARTITIONED_RECORDS = Declared(
        "counter",
        "longwatch_repartitioned_records_total",
        "Records of the input that were written anew by stream, in committed transactions. If it stands still while "
        "producers write, look at longwatch_lag_records of the input's topics.",
    )
    REPARTITIONED_READINGS = Declared(
        "counter",
        "longwatch_repartitioned_readings_total",
        "Readings in those records. Far more of them than records: the producer packs many streams into one.",
    )
    DELIVERIES = Declared(
        "counter",
        "longwatch_deliveries_total",
        "Notices of alerts that a receiver took, reminders among them; that it will never take (`refused`, see the "
        "log); and attempts that failed and are made again.",
        ("receiver", "outcome"),
    )
    DELIVERY_LAG_RECORDS = Declared(
        "gauge",
        "longwatch_delivery_lag_records",
        "Records of the alerts topic that a receiver has not been told yet, of this member's share. If it grows, the "
        "receiver does not answer, or not fast enough: see longwatch_deliveries_total and the log.",
        ("receiver",),
    )
    REMINDED = Declared(
        "gauge",
        "longwatch_delivery_open_alerts",
        "Open alerts of which an Alertmanager is reminded by this member.",
        ("receiver",),
    )
    WORKER_UP = Declared(
        "gauge",
        "longwatch_worker_up",
        "1 while the worker's process runs; only with `workers`. At 0 its partitions are with the "
        "others, or wait for it.",
        ("worker",),
    )
    WORKER_RESTARTS = Declared(
        "counter",
        "longwatch_worker_restarts_total",
        "How often the worker ended by itself or hung, and was started again; its log says why.",
        ("worker",),
    )
    LINES_SUPPRESSED = Declared(
        "counter",
        "longwatch_log_lines_suppressed_total",
        "Log lines left out because there were too many of one kind in a minute; the metrics still count what "
        "they would have said.",
        ("event",),
    )
