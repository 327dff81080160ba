"""Who may see the pages: over TLS, with a password, with a token; and nobody else, however they ask."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.access import Access, Gate
from daemon.errors import ConfigError
from daemon.http import Pages
from daemon.telemetry import Telemetry
from tests.certificates import Authority

PASSWORD, TOKEN = "correct horse", "dG9rZW4-of.many_bytes"


class Quiet:
    """A log that keeps nothing."""

    def debug(self, event: str, /, **fields: object) -> None:
        """Keep nothing."""

    info = warning = error = exception = debug


Serve = Callable[[Access], Pages]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that serves the pages, protected as it is told."""
    served: list[Pages] = []

    def do(access: Access) -> Pages:
        served.append(Pages(Telemetry(lambda: 1_800_000_000.0, Quiet()), "127.0.0.1:0", 60.0, access))
        served[-1].start()
        return served[-1]

    yield do
    for pages in served:
        pages.close()


@pytest.fixture
def access(tmp_path: Path) -> Access:
    """A password and a token."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    return Access(username="prometheus", password_file=tmp_path / "password", token_file=tmp_path / "token")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def get(pages: Pages, path: str, authorization: str | None = None) -> tuple[int, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", pages.port, timeout=10)
    connection.request("GET", path, headers={} if authorization is None else {"Authorization": authorization})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


def get_over_tls(pages: Pages, trust: Path, path: str = "/metrics") -> int:
    connection = http.client.HTTPSConnection(
        "127.0.0.1", pages.port, timeout=10, context=ssl.create_default_context(cafile=trust)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@pytest.mark.parametrize("right", [basic("prometheus", PASSWORD), f"Bearer {TOKEN}", f"bearer {TOKEN}"])
def test_the_password_or_the_token_opens(serve: Serve, access: Access, right: str) -> None:
    assert get(serve(access), "/metrics", right)[0] == 200


WRONG = [
    None,
    "",
    "Basic",
    "Basic !!!",
    "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
    basic("prometheus", ""),
    basic("prometheus", PASSWORD + "x"),
    basic("prometheus", PASSWORD[:-1]),
    basic("", PASSWORD),
    basic("admin", PASSWORD),
    basic("", ""),
    "Bearer",
    "Bearer " + TOKEN[:-1],
    f"Bearer {PASSWORD}",
    f"Basic {TOKEN}",
    f"Digest {TOKEN}",
    TOKEN,
]


@pytest.mark.parametrize("path", ["/metrics", "/", "/nothing"])
def test_without_either_no_page_opens(serve: Serve, access: Access, path: str) -> None:
    pages = serve(access)
    assert [get(pages, path, wrong)[0] for wrong in WRONG] == [401] * len(WRONG)


def test_the_refusal_says_how_to_come_in_and_gives_nothing_away(serve: Serve, access: Access) -> None:
    _, headers = get(serve(access), "/metrics")
    ways = headers.get_all("WWW-Authenticate") or []
    assert [way.split()[0] for way in ways] == ["Basic", "Bearer"]
    assert not any(PASSWORD in value or TOKEN in value for value in headers.values())


@pytest.mark.parametrize(("probes_open", "status"), [(True, 200), (False, 401)])
def test_probes_are_open_by_choice(serve: Serve, access: Access, probes_open: bool, status: int) -> None:
    pages = serve(replace(access, probes_open=probes_open))
    assert get(pages, "/-/healthy")[0] == status
    assert get(pages, "/-/healthy", f"Bearer {TOKEN}")[0] == 200
    assert get(pages, "/metrics")[0] == 401


def test_only_what_is_set_opens(access: Access) -> None:
    assert Gate(Access()).is_open
    assert not Gate(replace(access, token_file=None)).admits(f"Bearer {TOKEN}")
    assert not Gate(replace(access, password_file=None)).admits(basic("prometheus", PASSWORD))


def test_a_changed_secret_holds_at_once(access: Access) -> None:
    gate = Gate(access)
    assert gate.admits(f"Bearer {TOKEN}")
    assert access.token_file is not None
    access.token_file.write_text("another-one", encoding="utf-8")
    assert gate.admits("Bearer another-one")
    assert not gate.admits(f"Bearer {TOKEN}")


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_secret_that_cannot_be_read_any_more_stays_what_it_was(access: Access, content: bytes | None) -> None:
    gate = Gate(access)
    assert gate.admits(basic("prometheus", PASSWORD))
    assert access.password_file is not None
    access.password_file.unlink()
    if content is not None:
        access.password_file.write_bytes(content)
    assert gate.admits(basic("prometheus", PASSWORD))
    assert not gate.admits(basic("prometheus", ""))


def test_without_its_file_nothing_opens(tmp_path: Path) -> None:
    gate = Gate(Access(username="prometheus", password_file=tmp_path / "none", token_file=tmp_path / "none"))
    assert not any(gate.admits(given) for given in ("Bearer ", "Bearer", basic("prometheus", ""), ""))


def test_the_pages_are_served_over_tls(serve: Serve, authority: Authority) -> None:
    certificate = authority.issue("pages")
    pages = serve(Access(cert_file=certificate.cert, key_file=certificate.key))
    assert get_over_tls(pages, authority.cert) == 200
    assert get_over_tls(serve(Access(cert_file=certificate.both)), authority.cert) == 200


def test_a_client_that_does_not_speak_tls_gets_nothing_and_the_next_one_is_served(
    serve: Serve, authority: Authority
) -> None:
    pages = serve(Access(cert_file=authority.issue("plain").both))
    with socket.create_connection(("127.0.0.1", pages.port), timeout=10) as plain:
        plain.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert b"longwatch" not in plain.recv(1000)
    assert get_over_tls(pages, authority.cert) == 200


def test_clients_that_never_finish_their_handshake_keep_nobody_waiting(serve: Serve, authority: Authority) -> None:
    pages = serve(Access(cert_file=authority.issue("slow").both))
    slow = [socket.create_connection(("127.0.0.1", pages.port), timeout=10) for _ in range(50)]
    assert get_over_tls(pages, authority.cert) == 200
    for one in slow:
        one.close()


def test_a_renewed_certificate_is_served_without_a_restart(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    old, new = authority.issue("old", days=-1), authority.issue("new")
    served = tmp_path / "served.pem"
    served.write_bytes(old.both.read_bytes())
    pages = serve(Access(cert_file=served))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        get_over_tls(pages, authority.cert)
    served.write_bytes(b"half of a certificate")
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        get_over_tls(pages, authority.cert)
    (tmp_path / "next.pem").write_bytes(new.both.read_bytes())
    (tmp_path / "next.pem").replace(served)
    assert get_over_tls(pages, authority.cert) == 200


@pytest.mark.parametrize("which", ["no certificate", "another's key", "an encrypted key"])
def test_a_certificate_that_is_no_use_is_named_with_its_setting(
    authority: Authority, tmp_path: Path, which: str
) -> None:
    good, other = authority.issue("good"), authority.issue("other")
    sealed = authority.issue("sealed", password="sesame")
    (tmp_path / "nothing.pem").write_text("nothing", encoding="ascii")
    access = {
        "no certificate": Access(cert_file=tmp_path / "nothing.pem"),
        "another's key": Access(cert_file=good.cert, key_file=other.key),
        "an encrypted key": Access(cert_file=sealed.cert, key_file=sealed.key),
    }[which]
    pages = Pages(Telemetry(lambda: 0.0, Quiet()), "127.0.0.1:0", 60.0, access)
    with pytest.raises(ConfigError, match=r"server\.cert_file: cannot use .*\.pem.* private key, both PEM"):
        pages.start()
    pages.close()
