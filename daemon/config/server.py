"""How the daemon's own pages are served, and which of their settings belong together."""

from __future__ import annotations

from pydantic import field_validator

from daemon.access import Access
from daemon.config.kinds import (
    Address,
    FileOfSecret,
    ReadableFile,
    Seconds,
    Section,
    login_name,
    path_of,
    with_a_certificate,
    with_a_name,
)


class ServerConfig(Section):
    """The daemon's own pages: metrics, health, streams. Their files are read again when they change."""

    listen: Address | None = "127.0.0.1:9464"
    """Where to serve /metrics, /-/healthy and /-/ready, host:port; null switches it off. /streams needs a login."""
    healthy_seconds: Seconds = 60.0
    """The daemon is unhealthy when no turn has ended for so long."""
    cert_file: ReadableFile | None = None
    """The pages' certificate (PEM); with it they are served over TLS only."""
    key_file: ReadableFile | None = None
    """The certificate's private key (PEM, not encrypted); without it, `cert_file` holds the key, too."""
    username: str | None = None
    """Who may read by password (basic authentication)."""
    password_file: FileOfSecret | None = None
    """A file that holds the password."""
    token_file: FileOfSecret | None = None
    """A file that holds a bearer token, which may read, too."""
    probes_open: bool = True
    """Whether /-/healthy and /-/ready answer without a password or token."""

    def address(self) -> tuple[str, int] | None:
        """Return host and port to listen on, None when the server is off."""
        if self.listen is None:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    def access(self) -> Access:
        """Return who may see the pages."""
        return Access(
            cert_file=path_of(self.cert_file),
            key_file=path_of(self.key_file),
            username=self.username,
            password_file=path_of(self.password_file.path if self.password_file else None),
            token_file=path_of(self.token_file.path if self.token_file else None),
            probes_open=self.probes_open,
        )

    def protection(self) -> str:
        """Return in words who may read the pages, and how."""
        login = {"a password": self.password_file, "a token": self.token_file}
        ways = " or ".join(way for way, file in login.items() if file is not None)
        return f"{'HTTP' if self.cert_file is None else 'HTTPS'}, {f'with {ways}' if ways else 'open'}"

    _key = field_validator("key_file")(with_a_certificate)
    _name = field_validator("username")(login_name)
    _password = field_validator("password_file")(with_a_name)
