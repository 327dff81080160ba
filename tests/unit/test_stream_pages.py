"""The pages of streams: for those who say who they are, bounded, and never in the way of the others."""

from __future__ import annotations

import http.client
import json
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from daemon.access import Access
from daemon.http import Pages
from daemon.inquiry import Inquiries
from daemon.partitions import Partitions
from daemon.stream_pages import NUMBERS_MAX, StreamPages, _samples_max
from daemon.telemetry import Telemetry
from tests.simulation.world import Process, World, finish, records
from tests.unit.test_http import Quiet

TOKEN = "a-token-of-enough-characters"


@pytest.fixture(scope="module")
def partitions() -> Partitions:
    """Three partitions with a model, that have scored eighty ticks of nine streams."""
    world = World()
    world.publish_model(1)
    world.publish(records(5, 80))
    return finish(world, Process(world)).partitions


class Site:
    """The pages over HTTP, and a loop of which only the answering is left."""

    def __init__(self, partitions: Partitions, access: Access) -> None:
        self.telemetry = Telemetry(lambda: 1_800_000_000.0, Quiet())
        self.inquiries = Inquiries(self.telemetry.note)
        self.pages = Pages(self.telemetry, "127.0.0.1:0", 60.0, access, inquiries=self.inquiries)
        self.pages.start()
        self.turning, self._stop = threading.Event(), threading.Event()
        self.turning.set()
        self._loop = threading.Thread(target=self._turn, args=(partitions,))
        self._loop.start()

    def _turn(self, partitions: Partitions) -> None:
        while not self._stop.wait(0.002):
            if self.turning.is_set():
                self.inquiries.answer(partitions)

    def close(self) -> None:
        """Stop the loop and the pages."""
        self._stop.set()
        self._loop.join()
        self.pages.close()

    def connection(self, path: str, token: str | None = TOKEN, method: str = "GET") -> http.client.HTTPConnection:
        """Ask, and return the connection on which the answer will come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.pages.port, timeout=30)
        connection.request(method, path, headers={} if token is None else {"Authorization": f"Bearer {token}"})
        return connection

    def get(self, path: str, token: str | None = TOKEN, method: str = "GET") -> tuple[int, bytes, str]:
        """Return status, body and kind of one answer."""
        connection = self.connection(path, token, method)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body, response.headers["Content-Type"]

    def json(self, path: str) -> Any:  # noqa: ANN401
        """Return what a page says."""
        status, body, kind = self.get(path)
        assert (status, kind) == (200, "application/json"), body
        return json.loads(body)


@pytest.fixture(scope="module")
def site(partitions: Partitions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    file = tmp_path_factory.mktemp("access") / "token"
    file.write_text(TOKEN, encoding="utf-8")
    one = Site(partitions, Access(token_file=file))
    yield one
    one.close()


def test_nobody_sees_streams_who_does_not_say_who_they_are(site: Site, partitions: Partitions) -> None:
    assert site.get("/streams", token=None)[0] == 401
    assert site.get("/streams/s1/state", token="another")[0] == 401
    unguarded = Site(partitions, Access())
    status, body, _ = unguarded.get("/streams", token=None)
    unguarded.close()
    assert status == 403
    assert b"server.token_file" in body


def test_streams_are_listed_with_the_address_of_their_state(site: Site) -> None:
    told = site.json("/streams?match=s&limit=3")
    assert (told["matched"], told["searched"], len(told["streams"])) == (9, 9, 3)
    first = told["streams"][0]
    assert first["score"] >= told["streams"][1]["score"]
    assert site.json(first["state"])["stream"] == first["stream"]


def test_a_state_has_the_window_what_comes_next_and_the_inside_of_the_cell(site: Site, partitions: Partitions) -> None:
    told = site.json("/streams/s3/state?group=all")
    (state,) = [state for state in partitions.states.values() if state.slabs["all"].find("s3") is not None]
    slot = state.slabs["all"].find("s3")
    assert slot is not None
    row = state.slabs["all"].view()[slot]
    assert np.allclose(told["carried"]["cell"], row["cell"], atol=1e-6)
    assert told["model_id"] == state.models["all"] != ""
    assert (told["samples"], told["channels"]) == (int(row["samples"]), ["value"])
    assert np.shape(told["window"]["level"]) == (3, 1)
    assert told["window"]["time_ms"][-1] == row["time_ms"]
    assert np.shape(told["next"]["expected"]) == np.shape(told["next"]["margin"]) == (1,)
    for name in ("forget", "insert", "output", "candidate", "cell", "hidden"):
        assert np.shape(told["gates"][name]) == (3, 4), name
    assert np.abs(np.subtract(told["gates"]["hidden"][-1], row["hidden"])).max() <= told["gates"]["gap"] + 1e-6


def test_a_state_can_be_looked_at(site: Site) -> None:
    status, body, kind = site.get("/streams/s3/state?format=svg")
    assert (status, kind) == (200, "image/svg+xml")
    texts = " ".join(element.text or "" for element in ET.fromstring(body).iter())
    assert "forget gate" in texts
    assert "s3" in texts


def test_head_tells_the_same_without_the_body(site: Site) -> None:
    assert site.get("/streams", method="HEAD")[:2] == (200, b"")


@pytest.mark.parametrize(
    ("path", "status", "why"),
    [
        ("/streams/unknown/state", 404, b"no such stream"),
        (f"/streams/{quote('a/b{c=é}', safe='')}/state", 404, b"no such stream"),
        ("/streams/s3", 400, b"expected /streams/NAME/state"),
        ("/streams/%FF/state", 400, b"not UTF-8"),
        ("/streams?limit=0", 400, b"expected a number from 1 to"),
        ("/streams?limit=1e9", 400, b"expected a number from 1 to"),
        ("/streams?lmit=5", 400, b"lmit: there is no such word"),
        ("/streams/s3/state?format=png", 400, b"expected json or svg"),
        ("/streams?" + "&".join(f"a{i}=1" for i in range(20)), 400, b"cannot be read"),
        ("/streamsandmore", 404, b"no such page"),
    ],
)
def test_what_cannot_be_answered_is_said(site: Site, path: str, status: int, why: bytes) -> None:
    assert site.get(path)[0] == status
    assert why in site.get(path)[1]


def test_a_stuck_loop_keeps_no_scrape_waiting(site: Site) -> None:
    site.turning.clear()
    waiting = site.connection("/streams")
    assert site.get("/metrics")[0] == 200
    assert site.get("/-/healthy")[0] == 200
    site.turning.set()
    assert waiting.getresponse().status == 200
    waiting.close()


def test_a_question_that_the_loop_does_not_answer_is_given_up() -> None:
    page = StreamPages(Inquiries(lambda _event: None), answer_seconds=0.01).answer("/streams", "")
    assert page.status.startswith("503")
    assert b"did not answer within 0.01 s" in page.body


def test_questions_are_counted(site: Site) -> None:
    site.get("/streams")
    body = site.get("/metrics")[1]
    assert b'longwatch_inquiries_total{outcome="late"} 0.0' in body
    assert b'longwatch_inquiries_total{outcome="answered"} 0.0' not in body


def test_a_wide_cell_is_told_of_its_newest_samples_only(partitions: Partitions) -> None:
    inquiries = Inquiries(lambda _event: None)
    asker = threading.Thread(target=lambda: found.append(inquiries.state("s3", None, 30.0)))
    found: list[Any] = []
    asker.start()
    while asker.is_alive():
        inquiries.answer(partitions)
        asker.join(0.001)
    assert _samples_max(found[0]) == NUMBERS_MAX // (6 * 4 + 1)
