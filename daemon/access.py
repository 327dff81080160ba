"""Who may see the pages: a certificate of ours, a password or a token; each file is read again once it has changed."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import logging
import socket
import ssl
import threading
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import ConfigError

_SECRET_BYTES_MAX = 64 * 1024

_log = logging.getLogger("longwatch.http")


@dataclass(frozen=True, slots=True)
class Access:
    """How the pages are protected; with nothing set they are plain HTTP and open to whoever reaches the address.

    With a password and a token, either will do. `probes_open` leaves the two health pages open beside them.
    """

    cert_file: Path | None = None
    key_file: Path | None = None  # None: the certificate's file holds the key, too
    username: str | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    probes_open: bool = True


class Gate:
    """Says whether a request's `Authorization` is one of ours; may be asked from any thread."""

    def __init__(self, access: Access) -> None:
        self._username = access.username or ""
        self._password = None if access.password_file is None else _SecretText(access.password_file)
        self._token = None if access.token_file is None else _SecretText(access.token_file)

    @property
    def is_open(self) -> bool:
        """Whether nobody has to say who they are."""
        return self._password is None and self._token is None

    def admits(self, authorization: str) -> bool:
        """Return whether the header's value opens; how long that takes tells nothing about how near it came."""
        scheme, _, given = authorization.partition(" ")
        if self._token is not None and scheme.lower() == "bearer":
            return _same(given.strip(), self._token.text())
        if self._password is not None and scheme.lower() == "basic":
            name, _, password = _decoded(given).partition(":")
            return _same(name, self._username) & _same(password, self._password.text())
        return False

    def challenges(self) -> list[tuple[str, str]]:
        """Return the headers that tell a client how to say who it is."""
        ways = {'Basic realm="longwatch", charset="UTF-8"': self._password, 'Bearer realm="longwatch"': self._token}
        return [("WWW-Authenticate", way) for way, secret in ways.items() if secret is not None]


class Certificate:
    """Turns accepted connections into TLS connections; a renewed certificate holds for those that come after it."""

    def __init__(self, cert_file: Path, key_file: Path | None) -> None:
        self._files = cert_file, key_file
        self._stamps = [_stamp(path) for path in (cert_file, key_file or cert_file)]
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self._load()
        except (OSError, ValueError) as error:
            why = f"cannot use {' with '.join(str(path) for path in self._files if path)}: {error}"
            hint = "expected a certificate and its unencrypted private key, both PEM"
            raise ConfigError([f"server.cert_file: {why}; {hint}"]) from error

    def guarding(self, connection: socket.socket) -> ssl.SSLSocket:
        """Return `connection` under TLS; the handshake is still to be done, by a thread that may wait."""
        self._renew()
        return self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )

    def _renew(self) -> None:
        cert_file, key_file = self._files
        stamps = [_stamp(path) for path in (cert_file, key_file or cert_file)]
        if stamps == self._stamps:
            return
        # Kept in any case: a file that cannot be used now is tried again when it changes again.
        self._stamps = stamps
        try:
            self._load()
        except (OSError, ValueError) as error:
            _log.warning("server.cert_file changed and cannot be used (%s): the old certificate stays", error)

    def _load(self) -> None:
        cert_file, key_file = self._files
        # A password, though an empty one: without any, OpenSSL would ask for that of an encrypted key on a terminal.
        self._context.load_cert_chain(cert_file, key_file, password="")


class _SecretText:
    """What a file holds; while it is missing, empty or unreadable, what it held before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: _Stamp = None
        self._text = ""

    def text(self) -> str | None:
        """Return the secret, None when there never was one."""
        with self._lock:
            stamp = _stamp(self._path)
            if stamp is not None and stamp != self._stamp:
                self._stamp, self._text = stamp, self._read() or self._text
            return self._text or None

    def _read(self) -> str:
        try:
            with self._path.open("rb") as file:
                return file.read(_SECRET_BYTES_MAX).decode("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            _log.warning("%s changed and cannot be read (%s): what it held before stays", self._path, error)
            return ""


_Stamp = tuple[int, int, int] | None


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()  # of what a link points to: Kubernetes swaps links
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _same(given: str, wanted: str | None) -> bool:
    # Digests are of one length, so that comparing them does not tell the secret's.
    left, right = (hashlib.sha256((text or "").encode("utf-8", "surrogateescape")).digest() for text in (given, wanted))
    return hmac.compare_digest(left, right) and wanted is not None


def _decoded(given: str) -> str:
    try:
        return b64decode(given.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
