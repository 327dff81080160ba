"""The models topic holds what may be gone back to, within bounds, and says who chose what."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from daemon.memory import MemoryBroker, MemoryCluster
from daemon.model_topic import Keep, Pointer, Shelf, kept, messages, pointed, read
from daemon.types import Outgoing, TopicSpec
from detectors.artefact import Artefact, Lineage, dumps, model_id
from detectors.verdict import Verdict
from tests.conformance.feed import settings_of, weights

SETTINGS = settings_of()
REFUSED = Verdict(False, "too loud", "", 1, 1, 0)
KEEP = Keep(promoted_max=3, refused_max=2)


def data(number: int, parent: str = "", *, refused: bool = False) -> bytes:
    verdict = REFUSED if refused else None
    lineage = Lineage("g", 10, {}, number, 0, (), {}, parent=parent, verdict=verdict)
    return dumps(Artefact(SETTINGS.model, SETTINGS.channels, weights(SETTINGS, number), {}, lineage))


def name(number: int, parent: str = "", *, refused: bool = False) -> str:
    return model_id(data(number, parent, refused=refused))


def shelf_of(*records: Outgoing, compacted: bool = False) -> Shelf:
    cluster = MemoryCluster(idle=lambda _seconds: None)
    cluster.ensure(TopicSpec("models", 1, compacted=True))
    for each in records:
        cluster.publish(each)
    if compacted:
        cluster.compact("models")
    return read(MemoryBroker(cluster), "models", "g")


def promoted(numbers: Sequence[int]) -> list[Outgoing]:
    return [each for number in numbers for each in messages("models", "g", data(number), [])]


def test_an_empty_topic_has_nothing() -> None:
    shelf = shelf_of()
    assert (dict(shelf.models), shelf.current, shelf.before()) == ({}, Pointer(""), None)


@pytest.mark.parametrize("compacted", [False, True])
def test_what_was_published_is_read_with_who_chose_it(compacted: bool) -> None:
    chosen = Pointer(name(1), "operator", 77)
    other = messages("models", "other", data(9), [])
    shelf = shelf_of(*promoted([1, 2]), *other, pointed("models", "g", chosen), compacted=compacted)
    assert list(shelf.models) == [name(1), name(2)]
    assert shelf.current == chosen
    artefact = shelf.models[name(2)].artefact
    assert artefact is not None
    assert artefact.lineage.created_at_ms == 2


@pytest.mark.parametrize("value", [b"abc", b"\xff", b"12", b"{}", b'{"model_id": 3}'])
def test_a_pointer_that_is_none_is_taken_for_a_bare_id(value: bytes) -> None:
    assert Pointer.read(value) == Pointer(value.decode("utf-8", "replace"))
    assert Pointer.read(msgspec.json.encode(Pointer("m", "drift", 5))) == Pointer("m", "drift", 5)


def test_what_cannot_be_read_is_listed_with_the_reason() -> None:
    shelf = shelf_of(Outgoing("models", 0, b"model/g/x", b"nonsense"))
    assert shelf.models["x"].artefact is None
    assert "artefact" in shelf.models["x"].fault


def test_a_refused_candidate_is_kept_and_does_not_become_current() -> None:
    shelf = shelf_of(*promoted([1]), *kept("models", "g", data(2, refused=True), []))
    assert shelf.current.model_id == name(1)
    assert shelf.models[name(2, refused=True)].refused
    assert not shelf.models[name(1)].refused


def test_so_many_models_stay_and_the_oldest_go_first() -> None:
    shelf = shelf_of(*promoted([1, 2, 3]))
    assert shelf.retired(name(4), refused=False, keep=KEEP) == [name(1)]
    assert shelf.retired(name(3), refused=False, keep=KEEP) == []  # it is there already
    assert shelf_of(*promoted([1, 2])).retired(name(3), refused=False, keep=KEEP) == []
    tombstones = messages("models", "g", data(4), [name(1), name(4)])[2:]
    assert tombstones == [Outgoing("models", 0, f"model/g/{name(1)}".encode(), None)]


def test_the_current_model_is_never_retired_however_old_it_is() -> None:
    shelf = shelf_of(*promoted([1, 2, 3]), pointed("models", "g", Pointer(name(1))))
    assert shelf.retired(name(4), refused=False, keep=KEEP) == [name(2)]


def test_refused_candidates_go_by_themselves_and_do_not_push_out_what_may_be_gone_back_to() -> None:
    refused = [each for number in (5, 6) for each in kept("models", "g", data(number, refused=True), [])]
    shelf = shelf_of(*promoted([1, 2, 3]), *refused)
    assert shelf.retired(name(7), refused=True, keep=KEEP) == [name(5, refused=True)]
    assert shelf.retired(name(7), refused=False, keep=KEEP) == [name(1)]
    shelf = shelf_of(*refused, pointed("models", "g", Pointer(name(5, refused=True))))
    assert shelf.retired(name(7), refused=True, keep=KEEP) == [name(6, refused=True)]


def test_going_back_leads_to_the_parent_and_then_to_its_parent() -> None:
    one, two = name(1), name(2, name(1))
    three = data(3, two)
    records = [each for made in (data(1), data(2, one), three) for each in messages("models", "g", made, [])]
    before = shelf_of(*records).before()
    assert before is not None
    assert before.model_id == two
    before = shelf_of(*records, pointed("models", "g", Pointer(two))).before()
    assert before is not None
    assert before.model_id == one
    assert shelf_of(*records, pointed("models", "g", Pointer(one))).before() is None


def test_where_the_parent_is_gone_the_newest_fit_model_before_is_gone_back_to() -> None:
    refused = kept("models", "g", data(3, refused=True), [])
    shelf = shelf_of(*promoted([1, 2]), *refused, *messages("models", "g", data(4, "gone"), []), *promoted([5])[:1])
    before = shelf.before()
    assert before is not None
    assert before.model_id == name(2)
