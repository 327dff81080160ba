"""The faults, each as steps: between two of them time passes, in which others may happen."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from daemon.embedded import EmbeddedBroker
from daemon.kafka.failures import CLIENT_ERRORS
from tests.e2e.chaos.stand import SESSION_SECONDS, TRANSACTION_SECONDS, Member, Stand, terminated

Steps = Iterator[float]
"""A fault under way: each value is for how many seconds to wait until the next step."""

OVERLAP_SHARE = 0.3
OVERLAP_SECONDS_MAX = 2.5
LATE_SECONDS = (0.5, 2.0)


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault of the schedule; `settle` waits until all is well again, else the next one comes on top of it."""

    fault: str
    settle: bool
    pause_seconds: float


def kill_member(stand: Stand, rng: random.Random) -> Steps:
    """SIGKILL a daemon; start it again at once, soon, or when the others have its partitions."""
    with _hold_member(stand, rng) as member:
        member.kill()
        member.wanted = False
        yield rng.choice((0.0, rng.uniform(0.0, SESSION_SECONDS), SESSION_SECONDS + rng.uniform(*LATE_SECONDS)))
        member.start()


def kill_starting_member(stand: Stand, rng: random.Random) -> Steps:
    """SIGKILL a daemon, and once more while it starts, joins or restores."""
    with _hold_member(stand, rng) as member:
        for _ in range(2):
            member.kill()
            member.start()
            yield rng.uniform(0.5, 4.0)


def suspend_member(stand: Stand, rng: random.Random) -> Steps:
    """SIGSTOP a daemon for longer than session and transaction last, then let it go on."""
    with _hold_member(stand, rng) as member:
        member.send(signal.SIGSTOP)
        yield max(SESSION_SECONDS, TRANSACTION_SECONDS) + rng.uniform(*LATE_SECONDS)
        member.send(signal.SIGCONT)


def blink_member(stand: Stand, rng: random.Random) -> Steps:
    """SIGSTOP a daemon for not quite as long as its session lasts, or for a little longer."""
    with _hold_member(stand, rng) as member:
        member.send(signal.SIGSTOP)
        yield rng.uniform(0.5, 1.3) * SESSION_SECONDS
        member.send(signal.SIGCONT)


def restart_member(stand: Stand, rng: random.Random) -> Steps:
    """SIGTERM a daemon and start it again."""
    with _hold_member(stand, rng) as member:
        yield from terminated(member)
        stand.note_end(member)
        yield rng.choice((0.0, rng.uniform(0.0, SESSION_SECONDS)))
        member.start()


def join_and_leave(stand: Stand, rng: random.Random) -> Steps:
    """Let one more daemon join, and leave again when it has got its share."""
    guest = stand.guest
    guest.busy = True
    guest.start()
    yield rng.uniform(3.0, 6.0)
    if guest.code is None:
        yield from terminated(guest)
    stand.note_end(guest)
    guest.kill()
    guest.wanted = guest.busy = False


def restart_broker(stand: Stand, rng: random.Random) -> Steps:
    """Stop a broker in good order and start it again."""
    with _hold_broker(stand, rng) as broker:
        broker.stop()
        yield rng.uniform(0.0, 1.0)
        broker.start()


def kill_broker(stand: Stand, rng: random.Random) -> Steps:
    """SIGKILL a broker and start it again."""
    with _hold_broker(stand, rng) as broker:
        broker.kill()
        yield rng.choice((0.0, rng.uniform(0.0, 4.0)))
        broker.start()


def suspend_broker(stand: Stand, rng: random.Random) -> Steps:
    """SIGSTOP a broker, shorter or longer than the cluster and its clients have patience, then let it go on."""
    with _hold_broker(stand, rng) as broker:
        broker.suspend()
        yield rng.choice((rng.uniform(0.5, 2.0), rng.uniform(3.5, 7.0)))
        broker.wake()


def move_leaders(stand: Stand, rng: random.Random) -> Steps:
    """Let another node lead each partition of input, state and outputs."""
    yield from _moved(stand, [stand.place.input, *stand.place.outputs, f"{stand.place.own}state"])


def move_transactions(stand: Stand, rng: random.Random) -> Steps:
    """Let another node coordinate every transaction."""
    yield from _moved(stand, ["__transaction_state"])


def move_group(stand: Stand, rng: random.Random) -> Steps:
    """Let another node coordinate the group."""
    yield from _moved(stand, ["__consumer_offsets"])


def _moved(stand: Stand, topics: Sequence[str]) -> Steps:
    stand.broker_busy = True
    for last in (False, False, True):
        try:
            stand.move(topics)
            break
        except CLIENT_ERRORS:
            if last:
                raise
        yield 1.0
    stand.broker_busy = False


def _victims(stand: Stand) -> Sequence[Member]:
    return [member for member in stand.bases if member.wanted and not member.busy and member.code is None]


@contextmanager
def _hold_member(stand: Stand, rng: random.Random) -> Iterator[Member]:
    member = rng.choice(_victims(stand))
    member.busy = True
    yield member
    member.busy = False


@contextmanager
def _hold_broker(stand: Stand, rng: random.Random) -> Iterator[EmbeddedBroker]:
    stand.broker_busy = True
    yield rng.choice(stand.cluster.brokers)
    stand.broker_busy = False


Fault = Callable[[Stand, random.Random], Steps]

DAEMON_FAULTS: Mapping[str, Fault] = {
    "SIGKILL of a daemon, started again": kill_member,
    "SIGKILL of a daemon, again while it starts": kill_starting_member,
    "SIGSTOP of a daemon past session and transaction": suspend_member,
    "SIGSTOP of a daemon for about its session": blink_member,
    "SIGTERM of a daemon, started again": restart_member,
    "a daemon joins, and leaves": join_and_leave,
}
BROKER_FAULTS: Mapping[str, Fault] = {
    "SIGKILL of a broker, started again": kill_broker,
    "SIGTERM of a broker, started again": restart_broker,
    "SIGSTOP of a broker": suspend_broker,
}
CLUSTER_FAULTS: Mapping[str, Fault] = {
    "all partitions get another leader": move_leaders,
    "all transactions get another coordinator": move_transactions,
    "the group gets another coordinator": move_group,
}
FAULTS = {**DAEMON_FAULTS, **BROKER_FAULTS, **CLUSTER_FAULTS}


def possible(stand: Stand, name: str) -> bool:
    """Return whether a fault can begin now: a daemon is there to suffer it, and of brokers one at a time."""
    if FAULTS[name] is join_and_leave:
        return not stand.guest.busy
    return bool(_victims(stand)) if name in DAEMON_FAULTS else not stand.broker_busy


def schedule(seed: int, names: Sequence[str], count: int) -> list[Planned]:
    """Return `count` faults in an order drawn from `seed`: each name as often as any other, give or take one."""
    rng = random.Random(seed)
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += rng.sample(names, len(names))
    return [
        Planned(name, rng.random() >= OVERLAP_SHARE, rng.uniform(0.0, OVERLAP_SECONDS_MAX)) for name in drawn[:count]
    ]
