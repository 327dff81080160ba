"""The settings of the embedded broker: one node, small, quick to start, safe for transactions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CLUSTER_ID = "bG9uZ3dhdGNoLWxvY2FsMQ"
"""The cluster id of every embedded broker: 16 bytes in URL-safe base64, as Kafka wants it."""

JVM_OPTIONS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)
"""Options of the Java virtual machine: a small heap, and a quick start rather than a high top speed."""


def server_properties(data: Path, ports: tuple[int, int], over: Mapping[str, str]) -> str:
    """Return the text of `server.properties` for a broker that keeps its log in `data`.

    `ports` are the one for clients and the one that the node uses with itself; `over` wins over what stands here.
    """
    port, controller_port = ports
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data),
        **_FIXED,
        **over,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


_FIXED = {
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
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
