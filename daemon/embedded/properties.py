"""The settings of an embedded broker: small, quick to start, safe for transactions; alone or one of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.embedded.addresses import HOST

CLUSTER_ID = "bG9uZ3dhdGNoLWxvY2FsMQ"
"""The cluster id of every embedded broker: 16 bytes in URL-safe base64, as Kafka wants it."""

_HEAP_MIB, _SHARED_HEAP_MIB = 512, 256
_COPIES_MAX = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands in its cluster: which of `ports` are its own, one for clients and one for the nodes."""

    index: int
    ports: tuple[tuple[int, int], ...]

    @property
    def node(self) -> int:
        """The node's number, from 1."""
        return self.index + 1

    @property
    def port(self) -> int:
        """The port for clients."""
        return self.ports[self.index][0]

    @property
    def copies(self) -> int:
        """On how many nodes a partition is kept by default."""
        return min(len(self.ports), _COPIES_MAX)


def jvm_options(place: Place) -> tuple[str, ...]:
    """Return options of the Java virtual machine: a small heap, and a quick start rather than a high top speed."""
    return (
        f"-Xmx{_HEAP_MIB if len(place.ports) == 1 else _SHARED_HEAP_MIB}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
    )


def server_properties(data: Path, place: Place, over: Mapping[str, str]) -> str:
    """Return the text of `server.properties` for a node that keeps its log in `data`; `over` wins over all else.

    Every node is a controller, too. With three copies one may be missing, and nothing acknowledged is lost with it.
    """
    port, controller_port = place.ports[place.index]
    voters = (f"{number}@{HOST}:{theirs}" for number, (_, theirs) in enumerate(place.ports, 1))
    copies, in_sync = str(place.copies), str(max(place.copies - 1, 1))
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(place.node),
        "controller.quorum.voters": ",".join(voters),
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data),
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        **_FIXED,
        **over,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


_FIXED = {
    "auto.create.topics.enable": "false",
    # Every partition of an internal topic is created when it is first used: few make the first use quick.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    # A broker that was killed may come back at once; its old registration has to lapse first.
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.segment.bytes": "67108864",
    "log.index.size.max.bytes": "1048576",
    "log.cleaner.threads": "1",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "log.cleaner.io.buffer.size": "262144",
}
