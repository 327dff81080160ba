"""Every reader of bytes that come from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.fuzz.batch_readers import batch_readers
from tests.fuzz.cut_readers import cut_readers
from tests.fuzz.engine import Reader
from tests.fuzz.file_readers import file_readers
from tests.fuzz.input_readers import input_readers
from tests.fuzz.stored_readers import stored_readers


@contextmanager
def opened(folder: Path) -> Iterator[dict[str, Reader]]:
    """Yield all readers by name; what they write lies in `folder`."""
    with ExitStack() as stack:
        found = [*input_readers(), *cut_readers(), *batch_readers(), *stored_readers(), *file_readers(folder, stack)]
        yield {each.name: each for each in found}
