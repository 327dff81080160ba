"""What every test may ask for: one real broker for the whole run, and topic names that nobody else uses."""

from __future__ import annotations

import os
import threading
import time
import uuid
import warnings
from collections.abc import Iterator

import pytest

from daemon.embedded import broker_at

# The Kafka client reads its protocol with a function that Python 3.11 and 3.12 call deprecated, and only when it is
# imported: once done here, every other warning may stay an error.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
    import daemon.kafka  # noqa: F401

THREADS_END_SECONDS = 20.0


@pytest.fixture(scope="module", autouse=True)
def no_thread_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the module that leaves a thread behind: a client that nobody closed reconnects, logs and draws for ever."""
    before = set(threading.enumerate())
    yield
    give_up = time.monotonic() + THREADS_END_SECONDS
    for thread in set(threading.enumerate()) - before:
        thread.join(max(give_up - time.monotonic(), 0.0))
    left = sorted(thread.name for thread in set(threading.enumerate()) - before)
    assert not left, f"{request.node.name} left threads behind: {', '.join(left)}; close what it opened"


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """The address of a real broker: the one in $KAFKA_BOOTSTRAP, else an embedded one that ends with the session."""
    with broker_at(os.environ.get("KAFKA_BOOTSTRAP")) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Keep torch to one thread, as the daemon does, where results must be equal to the bit."""
    import torch  # most tests do without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for topics, groups and identities that no other test uses; it ends in a hyphen."""
    return f"test-{uuid.uuid4().hex[:10]}-"
