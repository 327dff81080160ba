"""What reads files, command lines and requests: the configuration, matchers, labels, tables, the pages' requests."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from daemon import tables
from daemon.access import Access
from daemon.config import load
from daemon.config.matchers import MatcherError, parse_matcher
from daemon.errors import ConfigError
from daemon.http import Pages
from daemon.stream_keys import labels_of, stream_key
from daemon.telemetry import Telemetry
from tests.config.conftest import CONTENTS
from tests.fuzz.engine import ACCEPTED, Reader
from tests.fuzz.mutation import Shape

ROOT = Path(__file__).parents[2]
STAMP = 1_700_000_000
CSV = f"timestamp,a,b,label\n{STAMP},1,2,0\n{STAMP + 10},,4.5,1\n2026-11-21T10:00:00Z,-1e3,nan,0\n".encode()
ROWS = [
    {"timestamp": STAMP, "a": 1, "b": 2.5, "label": 0},
    {"timestamp": STAMP + 10, "a": None, "b": 4.5, "label": 1},
]
MATCHERS = (b'job="api"', b'host=~"web-.*"', b'env!="te\\"st"', b'"my.label"!~"(a|b)+\\\\d{2,3}"', b"name='x'")
LABELS = (b'cpu{host="a",mode="us\\"er\\n"}', b"cpu", b'{a="b"}', b"{}")
REQUESTS = (
    b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nAccept: text/plain\r\n\r\n",
    b"GET /metrics?name[]=longwatch_ready HTTP/1.0\r\n\r\n",
    b"HEAD /-/ready HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nUser-Agent: probe/1\r\n\r\n",
    b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 500 + b"\r\n folded\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\nContent-Type: text/plain\r\n\r\nhello",
    b"GET http://a/-/ready HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /\r\n\r\n",
)
ADMITTED = (
    b"GET /metrics HTTP/1.1\r\nAuthorization: Basic " + b64encode(b"u:" + CONTENTS["password"].strip()) + b"\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nAuthorization: Bearer " + CONTENTS["token"].strip() + b"\r\n\r\n",
)
HTTP_TOKENS = (
    b"Authorization: ",
    b"GET ",
    b"HTTP/1.1",
    b"HTTP/9.9999999999",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"\r\n\r\n",
    b"%00%ff%",
    b"?name[]=",
    b"//",
    b"\x85",
    b"Expect: 100-continue\r\n",
    b"a: b\r\n" * 120,
    b"a" * 17_000,
)
YAML_TOKENS = (b"&a ", b"*a", b"!!python/object:os.system ", b"<<: ", b"${HOSTNAME}", b"${", b"- ", b"|\n", b"? ", b"%")


def file_readers(folder: Path, stack: ExitStack) -> Iterator[Reader]:
    """Yield a reader for each kind of file and text; they write into `folder` and close with `stack`."""
    yield Reader("config", _config(folder), _configs(), YAML_TOKENS, Shape(_yaml, _yaml_written), 0.15)
    yield Reader("matcher", read_matcher, MATCHERS, (b"=~", b"!~", b'"', b"(?", b"{1,9}", b"\\", b"[", b"(?P<a>"))
    yield Reader("labels", read_labels, LABELS, (b'="', b'",', b"{", b"}", b"\\"), weight=2.0)
    yield Reader("table CSV", _table(folder / "t.csv"), [CSV], (b",", b'"', b"timestamp", b"\t"))
    yield Reader("table CSV.gz", _table(folder / "t.csv.gz"), [gzip.compress(CSV, mtime=0)], (), GZIP, 0.5)
    yield Reader("table JSON lines", _table(folder / "t.jsonl"), [LINES.write(ROWS)], (), LINES)
    yield Reader("table Parquet", _table(folder / "t.parquet"), [PARQUET.write(ROWS)], (b"PAR1",), PARQUET, 0.4)
    yield Reader("request", _requests(stack, Access()), REQUESTS, HTTP_TOKENS, weight=0.4)
    guarded = _requests(stack, Access(username="u", password_file=folder / "password", token_file=folder / "token"))
    yield Reader("request, guarded", guarded, [*ADMITTED, *REQUESTS], HTTP_TOKENS, weight=0.2)


def _configs() -> list[bytes]:
    folders = (ROOT / "config", ROOT / "config" / "examples", ROOT / "tests/config/good", ROOT / "tests/config/bad")
    return [path.read_bytes() for folder in folders for path in sorted(folder.glob("*.yaml"))]


def _config(folder: Path) -> Callable[[bytes], str]:
    files = folder
    for name, content in CONTENTS.items():
        (files / name).write_bytes(content)
    env = {"FILES": str(files), "CREDENTIALS_DIRECTORY": str(files), "HOSTNAME": "a", "PASSWORD": "p", "PORT": "9092"}
    path = folder / "fuzz.yaml"

    def read(data: bytes) -> str:
        path.write_bytes(data)
        try:
            config = load(path, env)
        except ConfigError as error:
            problems = error.problems
        else:
            assert len(config.checksum()) == 64
            assert all(group.detector() for group in config.groups)
            return ACCEPTED
        assert problems, "refused without a reason"
        assert all(each.startswith(str(path)) and "\n" not in each for each in problems)
        return f"refused: {problems[0].removeprefix(str(path))}"

    return read


def read_matcher(data: bytes) -> str:
    """Read a matcher; what is written of it reads the same again."""
    try:
        found = parse_matcher(data.decode("utf-8", "replace"))
    except MatcherError as error:
        return f"refused: {error}"
    found.matches({found.label: "aab12"})
    assert parse_matcher(str(found)) == found
    return ACCEPTED


def read_labels(data: bytes) -> str:
    """Read the labels of a stream's name: nothing is refused, and what was understood is canonical."""
    labels = labels_of(data.decode("utf-8", "replace"))
    name = labels.pop("name", "")
    assert labels_of(stream_key(name, labels)) == ({"name": name} if name else {}) | labels
    return ACCEPTED


def _table(path: Path) -> Callable[[bytes], str]:
    def read(data: bytes) -> str:
        path.write_bytes(data)
        try:
            table = tables.read(path)
        except tables.TableError as error:
            return f"refused: {str(error).removeprefix(str(path))}"
        assert table.values.shape == (len(table.times_ms), len(table.channels)), "not a table"
        assert len(table.timestamps) == len(table.times_ms)
        return ACCEPTED

    return read


class _Failures(logging.Handler):
    """Keeps what the server's log says of requests that it could not answer, whichever thread met them."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line, unless it only tells of a client that went away."""
        error = record.exc_info[1] if record.exc_info else None
        if record.levelno >= logging.ERROR or not isinstance(error, OSError | None):
            self.said.append(logging.Formatter().format(record))


class _Quiet:
    """A log that keeps nothing."""

    def debug(self, event: str, /, **fields: object) -> None:
        """Keep nothing."""

    info = warning = error = exception = debug


def _requests(stack: ExitStack, access: Access) -> Callable[[bytes], str]:
    """Return what sends bytes to the pages over a connection of their own and reads what they answer."""
    pages = Pages(Telemetry(lambda: 1_800_000_000.0, _Quiet()), "127.0.0.1:0", 60.0, access)
    failures, log = _Failures(), logging.getLogger("longwatch.http")
    before = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(failures)
    stack.callback(log.setLevel, before)
    stack.callback(log.removeHandler, failures)
    pages.start()
    stack.callback(pages.close)

    def read(data: bytes) -> str:
        answer = _answer(pages.port, data)
        assert not failures.said, failures.said.pop()
        return _status(answer)

    return read


def _answer(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        answer = bytearray()
        with suppress(OSError):  # it may have answered and gone before it was told all
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                answer += piece
        return bytes(answer)


def _status(answer: bytes) -> str:
    if not answer:
        return "no answer"
    if not answer.startswith(b"HTTP/1."):
        return "an answer without a head"  # to a request of the first HTTP, which had none
    code = answer.split(b" ", 2)[1].decode()
    assert code in {"200", "400", "401", "404", "405", "408", "414", "431", "501", "503", "505"}, f"status {code}"
    return ACCEPTED if code == "200" else f"status {code}"


def _yaml(data: bytes) -> object:
    try:
        return yaml.safe_load(data.decode())
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _yaml_written(tree: object) -> bytes:
    try:
        return yaml.safe_dump(tree, allow_unicode=True).encode()
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _gunzipped(data: bytes) -> object:
    try:
        return [gzip.decompress(data)]
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(str(error)) from error


def _joined(tree: object) -> bytes:
    parts = tree if isinstance(tree, list) else [tree]
    return b"".join(part for part in parts if isinstance(part, bytes))


def _as_parquet(tree: object) -> bytes:
    if not isinstance(tree, list) or not all(isinstance(row, dict) for row in tree):
        raise ValueError("no list of rows")
    sink = BytesIO()
    try:
        pq.write_table(pa.Table.from_pylist(tree), sink)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    return sink.getvalue()


def _from_parquet(data: bytes) -> object:
    try:
        return pq.read_table(BytesIO(data)).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(str(error)) from error


GZIP = Shape(_gunzipped, lambda tree: gzip.compress(_joined(tree), 1, mtime=0))
LINES = Shape(
    lambda data: [json.loads(line) for line in data.splitlines()],
    lambda tree: b"".join(json.dumps(row).encode() + b"\n" for row in (tree if isinstance(tree, list) else [tree])),
)
PARQUET = Shape(_from_parquet, _as_parquet)
