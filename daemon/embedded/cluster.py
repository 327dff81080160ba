"""Starts several Apache Kafka brokers as one cluster, of which any may be stopped, killed or held up."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from types import MappingProxyType, TracebackType
from typing import Self

from daemon.embedded.addresses import free_ports
from daemon.embedded.broker import EmbeddedBroker
from daemon.embedded.jars import Progress
from daemon.embedded.properties import Place


class EmbeddedCluster:
    """`count` brokers that start together: `with EmbeddedCluster(3) as cluster: cluster.brokers[0].kill()`.

    From three on, topics are kept on three of them by default, and a write is acknowledged once two have it. Their data
    is temporary. Entering raises BrokerUnavailable when one of them cannot start.
    """

    def __init__(
        self,
        count: int = 3,
        *,
        progress: Progress = lambda line: None,
        properties: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        numbers = free_ports(2 * count)
        ports = tuple(zip(numbers[:count], numbers[count:], strict=True))
        self.brokers = tuple(
            EmbeddedBroker(progress=progress, properties=properties, place=Place(index, ports))
            for index in range(count)
        )

    @property
    def bootstrap(self) -> str:
        """The addresses that clients may ask first, as `host:port,host:port`."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.callback(self.close)
            for broker in self.brokers:
                broker.open()
                broker.launch()
            for broker in self.brokers:
                broker.await_answer()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every broker and remove its data; harmless when called twice."""
        for broker in self.brokers:
            broker.close()
