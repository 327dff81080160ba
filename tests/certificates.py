"""A certificate authority of the tests' own, made with openssl: what it signs is real, and nobody else trusts it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_CURVE = "-newkey ec -pkeyopt ec_paramgen_curve:P-256"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key as PEM files, and one file that holds both."""

    cert: Path
    key: Path
    both: Path


class Authority:
    """Signs certificates into `folder`; `cert` is its own."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self.cert, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl(f"req -x509 {_CURVE} -nodes -days 2 -subj /CN={name} -keyout {self._key} -out {self.cert}")

    def issue(self, name: str, place: str = "IP:127.0.0.1", days: int = 2, password: str | None = None) -> Certificate:
        """Return a certificate for `name`, reached at `place`; with `days` -1 it ended yesterday.

        With `password` the key is encrypted.
        """
        key, cert, both = (self._folder / f"{name}.{kind}" for kind in ("key", "pem", "both"))
        request, extension = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extension.write_text(f"subjectAltName={place}\n", encoding="ascii")
        secrecy = "-nodes" if password is None else f"-passout pass:{password}"
        _openssl(f"req {_CURVE} {secrecy} -subj /CN={name} -keyout {key} -out {request}")
        signed = f"-CA {self.cert} -CAkey {self._key} -CAcreateserial -days {days} -extfile {extension}"
        _openssl(f"x509 -req -in {request} {signed} -out {cert}")
        both.write_text(key.read_text(encoding="ascii") + cert.read_text(encoding="ascii"), encoding="ascii")
        return Certificate(cert, key, both)


def _openssl(arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], check=True, capture_output=True)
