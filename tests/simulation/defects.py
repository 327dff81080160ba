"""Writers with a defect, which the simulations must find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from daemon.memory.broker import MemoryWriter
from daemon.ports import Membership
from daemon.types import Outgoing, TopicPartition


class Forgetful(MemoryWriter):
    """Writes manifests without their pages, as no daemon may."""

    def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], membership: Membership
    ) -> None:
        """Leave the pages out."""
        super().commit([each for each in records if not (each.key or b"").startswith(b"page/")], offsets, membership)


class Hasty(MemoryWriter):
    """Moves the offsets in a transaction of their own, as no daemon may."""

    def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], membership: Membership
    ) -> None:
        """Commit twice."""
        super().commit([], offsets, membership)
        super().commit(records, {}, membership)
