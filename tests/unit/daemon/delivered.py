"""A cluster with an alerts topic, a receiver that the test looks into, and processes that deliver to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from daemon import codec, events
from daemon.alert_events import AlertEvent
from daemon.delivery import POLL_SECONDS, Around, Delivery
from daemon.errors import BrokerUnavailable
from daemon.memory import MemoryBroker, MemoryCluster, Operation
from daemon.memory.faults import Faults, no_faults
from daemon.notices import Notice, Wording, notice
from daemon.types import TopicSpec
from tests.told import START_MS

TOPIC, GROUP = "alerts", "longwatch-receiver-pager"
REMIND_SECONDS = 60.0


class Died(Exception):
    """The process ended just there."""


@dataclass
class Pager:
    """A receiver that takes what it is told, or does what `answer` does."""

    remind_seconds: float | None = None
    answer: Callable[[Sequence[Notice]], None] = lambda _notices: None
    taken: list[Notice] = field(default_factory=list)

    def tell(self, notices: Sequence[Notice]) -> None:
        """Take them all or none."""
        self.answer(notices)
        self.taken.extend(notices)

    @property
    def told(self) -> list[tuple[str, str]]:
        """What came: the stream, and whether it is open or over."""
        return [(dict(one.labels)["stream"], "open" if one.ends_ms is None else "over") for one in self.taken]


@dataclass
class World:
    """A cluster with an alerts topic of two partitions, one receiver, and processes that deliver to it."""

    pager: Pager = field(default_factory=Pager)
    clock: float = 1000.0
    noted: list[events.Event] = field(default_factory=list)
    faults: Faults = no_faults

    def __post_init__(self) -> None:
        self.cluster = MemoryCluster(now_ms=lambda: START_MS, idle=self._idle)
        self.cluster.ensure(TopicSpec(TOPIC, 2, compacted=False))
        self.door = MemoryBroker(self.cluster, "writers")

    def _idle(self, seconds: float) -> None:
        self.clock += seconds

    def _fault(self, operation: Operation) -> None:
        self.faults(operation)  # whichever they are by then

    def write(self, *changes: AlertEvent, partition: int = 0) -> None:
        """Let alerts change."""
        self.door.publish([codec.alert(TOPIC, each)._replace(partition=partition) for each in changes])

    def delivery(
        self,
        name: str = "one",
        wanted: Callable[[AlertEvent], bool] = lambda _event: True,
        door: type[MemoryBroker] = MemoryBroker,
    ) -> Delivery:
        """Return a process that delivers."""
        around = Around(
            broker=door(self.cluster, GROUP, faults=self._fault),
            identity=f"{GROUP}-{name}",
            receiver=self.pager,
            notice=lambda told: notice(told, Wording()) if wanted(told) else None,
            note=self.noted.append,
            monotonic=lambda: self.clock,
        )
        return Delivery("pager", TOPIC, around)

    def turn(self, *deliveries: Delivery, turns: int = 8) -> None:
        """Let every delivery take turns; what the broker cannot do is tried again."""
        for _ in range(turns):
            for each in deliveries:
                try:
                    each.turn()
                except BrokerUnavailable:
                    self.clock += POLL_SECONDS

    def said(self, kind: type) -> list[events.Event]:
        """Return what was noted of one kind."""
        return [each for each in self.noted if isinstance(each, kind)]


def begun(world: World) -> Delivery:
    """Return a delivery that has its partitions."""
    delivery = world.delivery()
    world.turn(delivery)
    return delivery


def raising(error: Exception) -> Callable[[Sequence[Notice]], None]:
    def answer(_notices: Sequence[Notice]) -> None:
        raise error

    return answer


def dying_at(which: Operation, time: int = 1) -> Faults:
    """Return faults that end the process at the so many-th operation of a kind."""
    left = [time]

    def fault(operation: Operation) -> None:
        left[0] -= operation == which
        if not left[0]:
            raise Died

    return fault


def silenced(world: World, delivery: Delivery, name: str) -> None:
    """Let the cluster forget a process that died: its membership, and what it left open."""
    faults, world.faults = world.faults, no_faults
    delivery.close()
    world.cluster.expire(f"{GROUP}-{name}")
    world.faults = faults


def reminded(world: World, delivery: Delivery) -> None:
    world.clock += REMIND_SECONDS
    world.turn(delivery, turns=2)
