"""One consumer group in memory: its offsets, its members, and how partitions move between them, cooperatively.

A rebalance is a new generation. It is complete when every member has joined it by polling. A partition that moves is
first taken from its old member; only after that member has polled, and so given it up, the next generation hands it on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from daemon.memory.log import Transaction
from daemon.types import TopicPartition

Partitions = frozenset[TopicPartition]


@dataclass(slots=True)
class Member:
    """One member as the group's coordinator knows it."""

    topics: frozenset[str]
    owned: Partitions = frozenset()  # what it delivers now
    target: Partitions = frozenset()  # what this generation gives it
    generation: int = -1
    joined: bool = False  # it takes part in the generation that is being prepared


@dataclass(slots=True)
class Group:
    """The coordinator's memory of one group. Nothing here locks: the cluster does."""

    generation: int = 0
    preparing: bool = False
    members: dict[str, Member] = field(default_factory=dict)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    unsettled: dict[Transaction, dict[TopicPartition, int]] = field(default_factory=dict)
    _members_ever: int = 0

    def enter(self, topics: Iterable[str]) -> str:
        """Add a member that reads `topics`, and return its name, which is never used again."""
        self._members_ever += 1
        name = f"member-{self._members_ever:06d}"
        self.members[name] = Member(frozenset(topics))
        self.prepare()
        return name

    def subscribe(self, name: str, topics: Iterable[str]) -> None:
        """Let a member read other topics than before, if the group still knows it."""
        if name in self.members:
            self.members[name].topics = frozenset(topics)
            self.prepare()

    def leave(self, name: str) -> None:
        """Remove a member, by its wish or because it was silent for too long."""
        if self.members.pop(name, None) is not None:
            self.prepare()

    def prepare(self) -> None:
        """Ask every member to join a new generation."""
        self.preparing = True
        for member in self.members.values():
            member.joined = False

    def join(self, name: str, available: Partitions) -> None:
        """Let a member take part in the generation being prepared; the last one to join completes it."""
        self.members[name].joined = True
        if all(member.joined for member in self.members.values()):
            self._complete(available)

    def sync(self, name: str) -> tuple[Partitions, Partitions]:
        """Give a member its share of a complete generation; return what it gained and what it lost."""
        member = self.members[name]
        gained, lost = member.target - member.owned, member.owned - member.target
        member.owned, member.generation = member.target, self.generation
        if lost:
            self.prepare()  # now that they are free, hand them on
        return gained, lost

    def due(self, name: str) -> bool:
        """Return whether a poll by this member would change anything in the group."""
        member = self.members.get(name)
        if member is None:
            return True
        return not member.joined if self.preparing else member.generation != self.generation

    def forget(self, topic: str) -> None:
        """Drop what was committed for a topic that was deleted."""
        self.offsets = {tp: offset for tp, offset in self.offsets.items() if tp.topic != topic}

    def settle(self, transaction: Transaction) -> None:
        """Move the offsets that a finished transaction carried, if it was committed."""
        offsets = self.unsettled.pop(transaction, {})
        if transaction.outcome == "committed":
            self.offsets.update(offsets)

    def _complete(self, available: Partitions) -> None:
        self.generation += 1
        self.preparing = False
        ideal = share(available, self.members)
        for name, member in self.members.items():
            held = {tp for other, holder in self.members.items() if other != name for tp in holder.owned}
            member.target = frozenset(ideal[name] - held)


def share(available: Partitions, members: Mapping[str, Member]) -> dict[str, set[TopicPartition]]:
    """Return who should read what: as even as subscriptions allow, and everyone keeps as much as is fair."""
    by_wealth = sorted(members, key=lambda name: (-len(members[name].owned), name))
    fewest, richer = divmod(len(available), len(members))
    shares: dict[str, set[TopicPartition]] = {}
    for rank, name in enumerate(by_wealth):
        keepable = sorted(members[name].owned & available)
        shares[name] = set(keepable[: fewest + (rank < richer)])
    for partition in sorted(available.difference(*shares.values())):
        readers = [name for name in by_wealth if partition.topic in members[name].topics]
        if readers:
            shares[min(readers, key=lambda name: len(shares[name]))].add(partition)
    return shares
