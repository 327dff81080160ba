"""The baseline is the daemon's own step, without a model."""

from __future__ import annotations

from daemon import config
from daemon.demo import scenario as scenarios
from daemon.demo.follow import alert_of
from daemon.demo.judge import judge
from daemon.demo.offline import BATCH_RECORDS, batches, without_model
from daemon.demo.scenario import Size
from daemon.types import TopicPartition

SCENARIO = scenarios.plan(Size(seed=1, streams_each=1, history_days=1, live_days=8), 1_763_700_000_000)
RECORDS = SCENARIO.records(0, SCENARIO.steps)


def test_batches_hold_every_record_once_in_order_with_the_offsets_of_a_broker() -> None:
    offsets: dict[TopicPartition, int] = {}
    count = 0
    for batch in batches(RECORDS):
        assert 0 < sum(map(len, batch.values())) <= BATCH_RECORDS
        for partition, found in batch.items():
            assert [one.offset for one in found] == list(range(offsets.get(partition, 0), found[-1].offset + 1))
            offsets[partition] = found[-1].offset + 1
            count += len(found)
    assert count == len(RECORDS) > BATCH_RECORDS
    assert {tp.partition: end for tp, end in offsets.items()} == {
        number: sum(record.partition == number for record in RECORDS) for number in range(4)
    }


def test_the_step_finds_silent_streams_and_no_event_carries_a_model() -> None:
    settings = config.loads(scenarios.configuration(SCENARIO, "localhost:1", "127.0.0.1:2"), "demo", {})
    events = without_model(settings, RECORDS)
    assert {event.model_id for event in events} <= {""}
    verdict = judge(SCENARIO.labels, map(alert_of, events), SCENARIO.observed)
    (silence,) = [row for row in verdict.kinds if row.kind == "silence"]
    assert silence.caught == silence.count > 0
