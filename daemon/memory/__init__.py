"""A Kafka cluster in memory: the same promises as the real one, without waiting, for quick tests and the simulation."""

from __future__ import annotations

from daemon.memory.broker import MemoryBroker
from daemon.memory.cluster import MemoryCluster
from daemon.memory.faults import Faults, Operation
from daemon.memory.log import MemoryRecord

__all__ = ["Faults", "MemoryBroker", "MemoryCluster", "MemoryRecord", "Operation"]
