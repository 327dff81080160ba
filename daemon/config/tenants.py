"""Tenants of a group: whose its streams are, by a label, and how many each may have."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated

from pydantic import Field, field_validator

from daemon.config.kinds import LABEL, Section
from daemon.recipe import NAME
from daemon.stream_keys import label_of
from detectors.tenants import Tenants

Streams = Annotated[int, Field(ge=1, le=100_000_000)]


class TenantsConfig(Section):
    """The group's streams belong to tenants, such as teams; none can take the places of all."""

    label: str
    """Whose a stream is: the value of this label, by its new name, or `name`, the metric's name. Streams without it are
    one tenant together."""
    max_streams: Streams
    """Streams that each tenant may have in one partition. When it has so many, those of its own that were not seen for
    `evict_after_seconds` give way to its new ones; else samples of these are dead letters. `max_streams` of the group
    holds for all tenants together."""
    overrides: Annotated[Mapping[str, Streams], Field(max_length=10_000)] = {}
    """Other limits, `{tenant: streams}`."""

    @field_validator("label")
    @classmethod
    def _tells(cls, value: str) -> str:
        return value if value == NAME else LABEL(value)

    def tenants(self) -> Tenants:
        """Return what a slab needs of this."""
        return Tenants(partial(label_of, self.label), self.max_streams, dict(self.overrides))
