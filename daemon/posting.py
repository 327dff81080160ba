"""The door to HTTP servers of others: posts a small JSON body, and says whether it was taken."""

from __future__ import annotations

import base64
import http.client
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daemon.errors import ConfigError, NoticeRefused, ReceiverUnavailable

BODY_AT_FAULT: Final = frozenset({400, 413, 415, 422})  # sent again, it would be refused again
ANSWER_BYTES_MAX: Final = 2000
SECRET_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class Login:
    """How a receiver knows us, and whom we trust; the files of secrets are read anew for each request."""

    username: str | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What is sent elsewhere by a redirect would become a GET, and be lost; where to is not even read."""

    def http_error_302(self, req: object, fp: object, code: int, msg: str, headers: object) -> None:
        """Follow none: it is an answer like any other."""

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class Poster:
    """Posts to one receiver, waiting at most `timeout_seconds` for each step. Raises ConfigError for unusable files."""

    def __init__(self, login: Login, timeout_seconds: float) -> None:
        self._login, self._timeout_seconds = login, timeout_seconds
        https = urllib.request.HTTPSHandler(context=_context(login))
        self._opener = urllib.request.build_opener(https, _NoRedirect)

    def post(self, url: str, body: bytes) -> None:
        """Post `body`. Raises ReceiverUnavailable to try again, NoticeRefused where the body is at fault."""
        try:
            headers = {"Content-Type": "application/json", "User-Agent": "longwatch", **self._authorization()}
            asked = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - http or https, by the config
            with self._opener.open(asked, timeout=self._timeout_seconds):
                pass  # taken, whatever else it says
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(url, error) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise ReceiverUnavailable(f"{_place(url)}: {reason or type(error).__name__}") from error
        except ValueError as error:  # its text may hold what we sent
            raise ReceiverUnavailable(f"{_place(url)}: cannot be asked ({type(error).__name__})") from None

    def _authorization(self) -> dict[str, str]:
        login = self._login
        if login.token_file is not None:
            return {"Authorization": f"Bearer {_secret(login.token_file)}"}
        if login.username is not None and login.password_file is not None:
            pair = f"{login.username}:{_secret(login.password_file)}"
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        return {}


def _refusal(url: str, error: urllib.error.HTTPError) -> ReceiverUnavailable | NoticeRefused:
    try:
        said = error.read(ANSWER_BYTES_MAX).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException):
        said = ""
    text = f"{_place(url)} answered {error.code} {error.reason}{': ' if said else ''}{' '.join(said.split())}"
    return NoticeRefused(text) if error.code in BODY_AT_FAULT else ReceiverUnavailable(text)


def _place(url: str) -> str:
    """Return what of a URL may be told: the rest of it may be a secret."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _secret(path: Path) -> str:
    with path.open("rb") as file:
        text = file.read(SECRET_BYTES_MAX).rstrip(b"\r\n")
    if not re.fullmatch(rb"[ -~]+", text):
        raise OSError(f"{path} does not hold one line of plain characters")
    return text.decode("ascii")


def _context(login: Login) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=login.ca_file)
        if login.cert_file is not None:
            context.load_cert_chain(login.cert_file, login.key_file, password="")
    except (OSError, ValueError) as error:
        files = [str(path) for path in (login.ca_file, login.cert_file, login.key_file) if path is not None]
        raise ConfigError([f"outputs.receivers: cannot use {', '.join(files)}: {error}"]) from error
    return context
