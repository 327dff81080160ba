"""A real Alertmanager, as Debian ships it: on a port of its own, with a webhook that the test reads."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e.process import until
from tests.programs import found

PROGRAM = "prometheus-alertmanager"
HOST = "127.0.0.1"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server((HOST, 0)) as found:
        return int(found.getsockname()[1])


class Alertmanager:
    """One process. It sends every group of alerts to `webhook` at once, and says so again when it changes."""

    def __init__(self, folder: Path, webhook: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self._folder, self._webhook = folder, webhook
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "alertmanager.yml"
        route = {"receiver": "test", "group_by": ["..."], "group_wait": "100ms", "group_interval": "200ms"}
        hook = {"url": self._webhook, "send_resolved": True}
        told = {"route": route, "receivers": [{"name": "test", "webhook_configs": [hook]}]}
        config.write_text(json.dumps(told), encoding="utf-8")
        command = [
            found(PROGRAM, PROGRAM),
            f"--config.file={config}",
            f"--storage.path={self._folder / 'data'}",
            f"--web.listen-address={HOST}:{self.port}",
            "--cluster.listen-address=",
        ]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: self._get("/-/ready")[0] == http.client.OK, "Alertmanager is ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that it holds to be firing."""
        found: list[dict[str, Any]] = json.loads(self._get("/api/v2/alerts")[1])
        return found

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()
