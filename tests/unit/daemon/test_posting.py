"""What is posted to whom, with which login, and which answers are tried again."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import ConfigError, NoticeRefused, ReceiverUnavailable
from daemon.posting import ANSWER_BYTES_MAX, Login, Poster
from tests.certificates import Authority
from tests.told import Request, Server

BODY = b'{"a":1}'


def answering(status: int, text: str = "") -> Callable[[Request], tuple[int, str]]:
    return lambda _request: (status, text)


def post(url: str, login: Login = Login(), timeout_seconds: float = 5.0) -> None:  # noqa: B008 - frozen
    Poster(login, timeout_seconds).post(url, BODY)


def test_a_body_arrives_as_json() -> None:
    with Server() as server:
        post(f"{server.url}/in?a=b")
    (request,) = server.taken
    assert (request.path, request.body) == ("/in?a=b", {"a": 1})
    assert request.headers["Content-Type"] == "application/json"
    assert "Authorization" not in request.headers


def test_secrets_are_read_again_for_each_request(tmp_path: Path) -> None:
    token, password = tmp_path / "token", tmp_path / "password"
    token.write_text("first\n", encoding="utf-8")
    password.write_text("secret\n", encoding="utf-8")
    with Server() as server:
        poster = Poster(Login(token_file=token), 5.0)
        poster.post(server.url, BODY)
        token.write_text("second", encoding="utf-8")
        poster.post(server.url, BODY)
        post(server.url, Login(username="me", password_file=password))
    assert [one.headers["Authorization"] for one in server.taken] == [
        "Bearer first",
        "Bearer second",
        "Basic bWU6c2VjcmV0",
    ]


def test_a_secret_that_is_gone_is_waited_for(tmp_path: Path) -> None:
    with Server() as server, pytest.raises(ReceiverUnavailable, match="No such file"):
        post(server.url, Login(token_file=tmp_path / "gone"))


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_body_at_fault_is_refused_with_the_words_of_the_receiver(status: int) -> None:
    with (
        Server(answering(status, "bad\n labels")) as server,
        pytest.raises(NoticeRefused, match=rf"{status} .*: bad labels$"),
    ):
        post(server.url)


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 408, 429, 500, 503])
def test_everything_else_is_tried_again_and_no_redirect_is_followed(status: int) -> None:
    with Server() as other:
        text = other.url if status < 400 else "not now"
        with Server(answering(status, text)) as server, pytest.raises(ReceiverUnavailable, match=f"answered {status}"):
            post(server.url)
    assert other.taken == []


def test_nothing_is_told_of_an_address_that_may_be_secret() -> None:
    with Server(answering(400)) as server, pytest.raises(NoticeRefused) as caught:
        post(f"{server.url}/hooks/hunter2?key=hunter2")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ReceiverUnavailable) as lost:
        post(f"{server.url}/hooks/hunter2")
    assert "hunter2" not in str(lost.value)


@pytest.mark.parametrize("content", ["SECRET\nmore", "SECRET\u00e9", "", "\ufeffSECRET"])
def test_a_secret_that_is_none_is_waited_for_and_not_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content, encoding="utf-8")
    with Server() as server, pytest.raises(ReceiverUnavailable, match="one line of plain characters") as caught:
        post(server.url, Login(token_file=tmp_path / "token"))
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://a..b:9093", f"http://{'a' * 64}:9093"])
def test_a_host_that_cannot_be_looked_up_is_waited_for(url: str) -> None:
    with pytest.raises(ReceiverUnavailable, match="UnicodeError"):
        post(url)


def test_where_a_redirect_leads_is_not_even_read() -> None:
    with Server(answering(302, "http://[")) as server, pytest.raises(ReceiverUnavailable, match="answered 302"):
        post(server.url)


def test_what_was_taken_was_taken_whatever_comes_after_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        post(f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()


def test_a_long_answer_is_cut() -> None:
    with Server(answering(400, "x" * 10 * ANSWER_BYTES_MAX)) as server, pytest.raises(NoticeRefused) as caught:
        post(server.url)
    assert len(str(caught.value)) < 2 * ANSWER_BYTES_MAX


def test_nobody_listens() -> None:
    with Server() as server:
        url = server.url
    with pytest.raises(ReceiverUnavailable, match="refused"):
        post(url)


def test_a_receiver_that_does_not_answer_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ReceiverUnavailable, match="timed out"):
        post(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.05)


def _tls(authority: Authority, client: Authority | None = None) -> Callable[[Any], Any]:
    issued = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.both)
    if client is not None:
        context.load_verify_locations(client.cert)
        context.verify_mode = ssl.CERT_REQUIRED
    return partial(context.wrap_socket, server_side=True)


def test_over_tls_the_certificate_is_checked_on_both_sides(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours = authority.issue("us")
    with Server(wrapped=_tls(authority, authority)) as server:
        url = f"https://127.0.0.1:{server.port}"
        with pytest.raises(ReceiverUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            post(url)
        with pytest.raises(ReceiverUnavailable):
            post(url, Login(ca_file=authority.cert))
        post(url, Login(ca_file=authority.cert, cert_file=ours.cert, key_file=ours.key))
        post(url, Login(ca_file=authority.cert, cert_file=ours.both))
    assert len(server.taken) == 2


def test_files_that_cannot_be_used_are_a_problem_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"outputs\.receivers: cannot use .*no\.pem"):
        Poster(Login(ca_file=tmp_path / "no.pem"), 1.0)
