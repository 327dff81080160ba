"""The embedded cluster: it keeps what was written while one of its brokers is gone, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from daemon.embedded import EmbeddedCluster
from daemon.embedded.addresses import HOST, free_ports, is_free
from daemon.embedded.probe import answers
from daemon.embedded.properties import Place, server_properties
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.types import Outgoing, TopicPartition, TopicSpec

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
CHILD = """
import sys
from daemon.embedded import EmbeddedCluster
with EmbeddedCluster(2) as cluster:
    print(*(f"{each.pid} {each.log.parent}" for each in cluster.brokers), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def cluster() -> Iterator[EmbeddedCluster]:
    """Three brokers that only one test uses."""
    with EmbeddedCluster(3) as cluster:
        yield cluster


def settings(brokers: int) -> dict[str, str]:
    place = Place(0, tuple((20000 + number, 21000 + number) for number in range(brokers)))
    lines = server_properties(Path("data"), place, {}).splitlines()
    return dict(line.split("=", 1) for line in lines)


def port(bootstrap: str) -> int:
    return int(bootstrap.rpartition(":")[2])


@pytest.mark.parametrize(("brokers", "copies", "in_sync"), [(1, "1", "1"), (2, "2", "1"), (3, "3", "2"), (5, "3", "2")])
def test_internal_topics_are_kept_as_often_as_there_are_brokers_and_one_may_be_missing(
    brokers: int, copies: str, in_sync: str
) -> None:
    told = settings(brokers)
    kept = ("default", "offsets.topic", "transaction.state.log")
    assert {told[f"{name}.replication.factor"] for name in kept} == {copies}
    assert told["min.insync.replicas"] == told["transaction.state.log.min.isr"] == in_sync
    assert len(told["controller.quorum.voters"].split(",")) == brokers


def test_what_was_acknowledged_outlives_each_broker_in_turn_and_nothing_outlives_the_cluster(
    cluster: EmbeddedCluster,
) -> None:
    bootstrap = tuple(cluster.bootstrap.split(","))
    processes = [psutil.Process(broker.pid) for broker in cluster.brokers]
    directories = [broker.log.parent for broker in cluster.brokers]
    with closing(KafkaBroker(ConnectionSettings(bootstrap, replication=3))) as door:
        door.ensure(TopicSpec("kept", 1, compacted=False))
        door.publish([Outgoing("kept", 0, None, b"before")])
        cluster.brokers[0].kill()
        assert not answers(HOST, port(cluster.brokers[0].bootstrap))
        door.publish([Outgoing("kept", 0, None, b"without the first")])
        cluster.brokers[0].start()
        cluster.brokers[1].stop()
        door.publish([Outgoing("kept", 0, None, b"without the second")])
        assert door.bounds(TopicPartition("kept", 0)).end == 3
    cluster.close()
    assert not any(process.is_running() for process in processes)
    assert not any(directory.exists() for directory in directories)


def test_no_broker_outlives_a_parent_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        words = parent.stdout.readline().split()
        brokers = [psutil.Process(int(pid)) for pid in words[::2]]
        parent.kill()
        gone, alive = psutil.wait_procs(brokers, timeout=10)
    assert (len(gone), alive) == (2, [])


def test_free_ports_are_free_and_different() -> None:
    ports = free_ports(6)
    assert len(set(ports)) == 6
    assert all(is_free(each) for each in ports)
