"""Tenants: whose the streams of a slab are, so that one who makes very many leaves room for the others'.

A stream's key says whose it is. Nothing of this is stored: it is counted anew when a slab is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Tenants:
    """How many streams of a slab each tenant may have; `of` says whose a stream is by its key."""

    of: Callable[[str], str]
    streams_max: int
    overrides: Mapping[str, int] = field(default_factory=dict)  # other limits, by tenant

    def most(self, tenant: str) -> int:
        """Return how many streams a tenant may have."""
        return self.overrides.get(tenant, self.streams_max)


class Shares:
    """How many streams of a slab each tenant has, and which."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._counts: dict[str, int] = {}
        self._at: list[str | None] = []  # whose the stream of each slot is
        self.full_until_ms: dict[str, int] = {}  # as the slab's own, of tenants that are full

    def full(self, key: str) -> str | None:
        """Return the tenant of a new stream when it has as many as it may, else None."""
        tenant = self._tenants.of(key)
        return tenant if self._counts.get(tenant, 0) >= self._tenants.most(tenant) else None

    def enter(self, slot: int, key: str) -> None:
        """Count the stream that gets a slot."""
        tenant = self._tenants.of(key)
        self._counts[tenant] = self._counts.get(tenant, 0) + 1
        self._at.extend([None] * (slot + 1 - len(self._at)))
        self._at[slot] = tenant

    def leave(self, slot: int) -> None:
        """Count a stream no more; a tenant without any is forgotten."""
        tenant = self._at[slot]
        assert tenant is not None
        self._at[slot] = None
        self._counts[tenant] -= 1
        if not self._counts[tenant]:
            del self._counts[tenant]
            self.full_until_ms.pop(tenant, None)

    def has(self, tenant: str, slot: int) -> bool:
        """Return whether the stream of a slot is the tenant's."""
        return self._at[slot] == tenant
