"""Lets a member of the group keep what it was assigned when the answer came while nobody was waiting for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

_HELD_SECONDS = 0.005
_STABLE = "<stable>"
_REBALANCING = "<rebalancing>"


def keep_assignments(consumer: object) -> None:
    """Mend how `consumer` joins its group.

    The library asks to join in the background, and `poll` waits for the answer. When `poll` has to return first and
    the answer comes before the next one, the library throws it away. Then it either joins once more, and again with bad
    luck, or, when it had joined because the topic's partitions became known, believes that it is a member: without
    partitions, without heartbeats, for ever. An answer that nobody took is given to the next `poll` here.
    """
    coordinator = cast("Any", consumer)._coordinator  # noqa: SLF001  # no public way in 3.0
    coordinator._do_join_and_sync_async = _Join(coordinator)  # noqa: SLF001


def hold_joins(consumer: object, held: Callable[[], bool]) -> None:
    """Let `consumer` not ask to join while `held`, which is called on the library's own thread, says so.

    With the cooperative protocol a partition that a member gave up belongs to nobody until that member has joined once
    more. Until then what it owned can still be written, under the generation that it is in.
    """
    cast("Any", consumer)._coordinator._do_join_and_sync_async.held = held  # noqa: SLF001


def is_replaced(consumer: object) -> bool:
    """Return whether the broker has told `consumer` that another member has its instance id by now.

    The library hears of it when it sends a heartbeat. It then sends no more of them, and goes on as if it were a
    member, without a word and without a pause between two looks at the clock.
    """
    coordinator = cast("Any", consumer)._coordinator  # noqa: SLF001  # no public way in 3.0
    with coordinator._lock:  # noqa: SLF001
        settled = coordinator.state == _STABLE and not coordinator.rejoining
        return settled and not coordinator._heartbeat_enabled  # noqa: SLF001


class _Join:
    """One attempt to join; its answer is kept for as long as the library has not acted on it."""

    def __init__(self, coordinator: Any) -> None:  # the library ships no types
        self._coordinator = coordinator
        self._join = coordinator._do_join_and_sync_async  # noqa: SLF001
        self._kept: tuple[object, bytes] | None = None
        self.held: Callable[[], bool] = lambda: False

    async def __call__(self) -> bytes:
        while self.held():
            await self._coordinator._net.sleep(_HELD_SECONDS)  # noqa: SLF001
        generation = self._coordinator._generation  # noqa: SLF001
        # The library leaves this state when it acts on an answer, and takes another generation when it loses its own.
        if self._kept is not None and self._coordinator.state == _REBALANCING and self._kept[0] is generation:
            return self._kept[1]
        self._kept = None
        self._coordinator.request_rejoin()
        assignment: bytes = await self._join()
        self._kept = self._coordinator._generation, assignment  # noqa: SLF001
        return assignment
