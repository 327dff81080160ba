"""Feeds every reader of outside bytes with damaged examples and counts what becomes of them.

An escape is anything but an accepted input or the documented refusal: another error, a broken promise of what was
accepted, or far too much time. Each is printed with what repeats it; the exit code is 1 when there was one.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a file, too

# what atheris is to follow must be told while it is imported
_guided = "--guided" in sys.argv
with importlib.import_module("atheris").instrument_imports(["daemon", "detectors"]) if _guided else nullcontext():
    from tests.fuzz.engine import ACCEPTED, Escape, Reader, Tally, fuzz, tried
    from tests.fuzz.readers import opened

REASONS_SHOWN = 6
ADDRESS_BYTES_MAX = 8 << 30  # of address space, most of it the libraries': what asks for more is an escape
GUIDED_BYTES_MAX = 8192
THREADED = "request"  # these are answered by a thread of the server, where atheris sees nothing
MEMORY = "/dev/shm"  # files are written there, where there is such a place: a disk would be most of the time


def shares(readers: Sequence[Reader], inputs: int) -> Mapping[str, int]:
    """Return how many of so many inputs each reader gets, by its weight."""
    whole = sum(reader.weight for reader in readers)
    return {reader.name: max(1, round(inputs * reader.weight / whole)) for reader in readers}


def row(tally: Tally) -> str:
    """Return a reader's line of the table."""
    refused = [(reason, count) for reason, count in tally.outcomes.most_common() if reason != ACCEPTED]
    told = ", ".join(f"{reason} {count}" for reason, count in refused[:REASONS_SHOWN])
    rate = tally.inputs / tally.seconds if tally.seconds else 0.0
    slowest = f"{tally.slowest_seconds * 1000:.1f}"
    numbers = f"{tally.inputs:>9} {tally.outcomes[ACCEPTED]:>9} {len(tally.escapes):>7} {rate:>9.0f} {slowest:>10}"
    return f"{tally.reader:<30}{numbers}  {told}"


def measure(readers: Sequence[Reader], seed: int, inputs: int) -> list[Tally]:
    """Fuzz every reader, print its line as it is done, and return what became of all."""
    print(f"{'reader':<30}{'inputs':>9} {'accepted':>9} {'escapes':>7} {'inputs/s':>9} {'slowest ms':>10}  refused")
    done = []
    for reader in readers:
        done.append(fuzz(reader, seed, shares(readers, inputs)[reader.name]))
        print(row(done[-1]), flush=True)
    return done


def summary(done: Iterable[Tally], seed: int) -> str:
    """Return the last line: inputs, escapes and memory of the whole run."""
    tallies = list(done)
    inputs, escapes = (sum(numbers) for numbers in zip(*((t.inputs, len(t.escapes)) for t in tallies), strict=True))
    seconds = sum(tally.seconds for tally in tallies)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = inputs / seconds
    return f"{inputs} inputs, {escapes} escapes, {rate:.0f} inputs/s, seed {seed}, at most {peak:.0f} MiB of memory"


def guided(reader: Reader, inputs: int, corpus: Path) -> int:
    """Let atheris look for inputs that reach new code, in a child process, and return how many escaped (0 or 1).

    It needs `pip install atheris`, which the development environment does not hold.
    """
    atheris = importlib.import_module("atheris")
    folder = corpus / reader.name.replace(" ", "-").replace(",", "")
    folder.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(reader.examples):
        (folder / f"example-{number}").write_bytes(example[:GUIDED_BYTES_MAX])
    child = os.fork()
    if child == 0:
        arguments = [sys.argv[0], str(folder), f"-runs={inputs}", f"-max_len={GUIDED_BYTES_MAX}", "-rss_limit_mb=4096"]
        arguments += ["-timeout=20", "-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={folder.parent}/"]
        atheris.Setup(arguments, lambda data: _escaping(reader, data))
        atheris.Fuzz()  # ends the process
    return int(os.waitpid(child, 0)[1] != 0)


def _escaping(reader: Reader, data: bytes) -> None:
    found = tried(reader, 0, 0, data, Tally(reader.name))
    if isinstance(found, Escape):
        raise found.error


def chosen(readers: Mapping[str, Reader], name: str | None) -> list[Reader]:
    """Return the readers whose names begin with `name`."""
    found = [reader for reader in readers.values() if reader.name.startswith(name or "")]
    if not found:
        raise SystemExit(f"--reader {name}: there are {', '.join(readers)}")
    return found


def main() -> int:
    """Read the command line and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="over all readers (default %(default)d)")
    parser.add_argument("--reader", metavar="NAME", help="only readers whose names begin so")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same inputs (default 0)")
    parser.add_argument(
        "--guided", type=Path, metavar="DIR", help="guided by coverage, with atheris; keep corpora here"
    )
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES_MAX, ADDRESS_BYTES_MAX))
    warnings.simplefilter("error")  # as in the tests
    quick = MEMORY if Path(MEMORY).is_dir() else None
    with tempfile.TemporaryDirectory(prefix="longwatch-fuzz-", dir=quick) as folder, opened(Path(folder)) as readers:
        picked = chosen(readers, arguments.reader)
        if arguments.guided is not None:
            picked = [reader for reader in picked if not reader.name.startswith(THREADED)]
            wanted = shares(picked, arguments.inputs)
            return min(1, sum(guided(reader, wanted[reader.name], arguments.guided) for reader in picked))
        done = measure(picked, arguments.seed, arguments.inputs)
    for escape in (escape for tally in done for escape in tally.escapes):
        print(f"ESCAPE {escape}")
    print(summary(done, arguments.seed))
    return int(any(tally.escapes for tally in done))


if __name__ == "__main__":
    sys.exit(main())
