"""What a reader meets in real topics: every compression, and a cleaner that works while the state is read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from random import Random

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from daemon.errors import ConfigError
from daemon.kafka import KafkaBroker, check_codecs
from daemon.types import Outgoing, Record, TopicPartition, TopicSpec

from .conftest import Join, ReadAll

pytestmark = pytest.mark.broker

CODECS = ("gzip", "lz4", "snappy", "zstd")
WAIT_SECONDS = 30.0
RATIO = "min.cleanable.dirty.ratio"
PAGES, PAGE_BYTES = 40, 200_000


def test_whatever_compression_a_topic_uses_is_read(
    kafka_bootstrap: str, broker: KafkaBroker, topic: str, join: Join, read_all: ReadAll
) -> None:
    for codec in CODECS:
        with closing(KafkaProducer(bootstrap_servers=kafka_bootstrap, compression_type=codec)) as producer:
            producer.send(topic, codec.encode() * 100, partition=0).get(10)
    expected = [codec.encode() * 100 for codec in CODECS]
    assert read_all(topic) == expected
    source, found = broker.source([topic]), list[Record]()
    join([source], lambda: bool(source._owned))
    source.resume_at(TopicPartition(topic, 0), 0)
    give_up = time.monotonic() + WAIT_SECONDS
    while len(found) < len(CODECS):
        assert time.monotonic() < give_up
        found += source.poll(100, 0.2).records.get(TopicPartition(topic, 0), ())
    assert [record.value for record in found] == expected


def test_a_codec_that_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    check_codecs()
    with pytest.raises(ConfigError, match=r"compressed with snappy, zstd.*pip install 'kafka-python\[snappy,zstd\]'"):
        check_codecs({"gzip": lambda: True, "snappy": lambda: False, "lz4": lambda: True, "zstd": lambda: False})


def write(broker: KafkaBroker, topic: str, owner: bytes, version: int) -> None:
    """Write every page of `owner`; they are large and noisy, so that a fetch brings only some of them."""
    noise = Random(version).randbytes(PAGE_BYTES)
    pages = [Outgoing(topic, 0, b"%s/%d" % (owner, number), b"%d/%s" % (version, noise)) for number in range(PAGES)]
    for first in range(0, PAGES, 5):
        broker.publish(pages[first : first + 5])


def let_the_cleaner_run(bootstrap: str, topic: str) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {RATIO: "0.001"})])
        admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", {"log.cleaner.backoff.ms": "100"})])


def cleaned(broker: KafkaBroker, partition: TopicPartition) -> bool:
    """Return whether the first version of the first key is gone."""
    with closing(broker.cursor(partition, 0)) as cursor:
        records: Sequence[Record] = ()
        while not records:
            records = cursor.fetch(1, 0.5)
        return records[0].offset > 0


def test_a_restore_reads_the_last_of_every_key_although_the_cleaner_runs_in_the_middle_of_it(
    kafka_bootstrap: str, broker: KafkaBroker, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}pages"
    partition = TopicPartition(topic, 0)
    broker.ensure(TopicSpec(topic, 1, compacted=True, config={"segment.ms": "100", RATIO: "1.0"}))
    for version in (1, 2):
        write(broker, topic, b"ours", version)
    end, last = broker.bounds(partition).end, dict[bytes | None, bytes]()
    assert end == 2 * PAGES
    with closing(broker.cursor(partition, 0)) as cursor:
        begun = cursor.fetch(3, 5.0)
        assert [record.offset for record in begun] == [0, 1, 2]
        write(broker, topic, b"another input's", 1)  # in new segments, so that ours may be cleaned
        let_the_cleaner_run(kafka_bootstrap, topic)
        give_up = time.monotonic() + WAIT_SECONDS
        while not cleaned(broker, partition):
            assert time.monotonic() < give_up, "the cleaner did not run"
        last.update((record.key, (record.value or b"")[:2]) for record in begun)
        while cursor.position < end:
            assert time.monotonic() < give_up, f"stuck at {cursor.position} of {end}"
            last.update((record.key, (record.value or b"")[:2]) for record in cursor.fetch(3, 0.2))
    ours = {key: version for key, version in last.items() if (key or b"").startswith(b"ours")}
    assert ours == {b"ours/%d" % number: b"2/" for number in range(PAGES)}
