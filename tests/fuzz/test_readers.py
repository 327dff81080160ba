"""Whatever bytes come from outside, nothing but the documented errors comes out, in bounded time.

`benchmarks/fuzz.py` does the same with as many inputs as one likes; a failure here names the seed that repeats it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

import pytest

from tests.fuzz import batch_readers, cut_readers, engine, input_readers
from tests.fuzz.engine import ACCEPTED, Reader, Tally, fuzz, tried
from tests.fuzz.found import FOUND
from tests.fuzz.mutation import JSON, Mutator
from tests.fuzz.readers import opened

SECONDS = 0.45
INPUTS_MAX = 20_000

NAMES = [
    *(f"format {name}" for name in input_readers.formats()),
    "format json, parts elsewhere",
    "format prometheus_remote_write, bare",
    *(f"format {name} in CloudEvents" for name in input_readers.EVENTS),
    "repartitioned",
    "turn",
    *(f"{way} {name}" for name in cut_readers.COLUMNAR for way in ("cut", "together")),
    *(f"batch{codec}" for codec in batch_readers.CODECS),
    "joined",
    "page of readings",
    "page",
    "manifest",
    "score",
    "alert",
    "evidence",
    "artefact",
    "config",
    "matcher",
    "labels",
    "table CSV",
    "table CSV.gz",
    "table JSON lines",
    "table Parquet",
    "request",
    "request, guarded",
]


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Reader]]:
    """Return every reader by name."""
    with opened(tmp_path_factory.mktemp("fuzz")) as found:
        yield found


def test_every_reader_is_fuzzed(readers: Mapping[str, Reader]) -> None:
    assert sorted(readers) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_accepts_what_is_right(readers: Mapping[str, Reader], name: str) -> None:
    tally = Tally(name)
    for example in readers[name].examples:
        assert isinstance(tried(readers[name], 0, 0, example, tally), str), "an example escaped"
    assert tally.outcomes[ACCEPTED], f"{name} accepts none of its examples"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_the_documented_comes_out(readers: Mapping[str, Reader], name: str) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    tally = fuzz(readers[name], seed, INPUTS_MAX, SECONDS)
    again = f"python benchmarks/fuzz.py --reader '{name}' --seed {seed} --inputs {INPUTS_MAX}"
    told = "\n".join(map(str, tally.escapes[:3]))
    assert not tally.escapes, f"{len(tally.escapes)} of {tally.inputs} inputs escaped; again with: {again}\n{told}"
    assert tally.inputs > engine.INPUTS_MIN


@pytest.mark.parametrize("claim", FOUND)
def test_what_once_escaped_does_so_no_more(readers: Mapping[str, Reader], claim: str) -> None:
    name, data = FOUND[claim]
    found = tried(readers[name], 0, 0, data, Tally(name))
    assert isinstance(found, str), str(found)


def _misreads(data: bytes) -> str:
    if data.startswith(b"["):
        raise KeyError("planted")
    return ACCEPTED if data.startswith(b"{") else "refused: not an object"


def test_an_escape_is_seen_and_told_with_its_seed() -> None:
    tally = fuzz(Reader("planted", _misreads, [b'{"a": 1}', b"[1]"], shape=JSON), 7, 5000)
    assert len(tally.escapes) == engine.ESCAPES_MAX
    assert set(tally.outcomes) == {ACCEPTED, "refused"}
    first = tally.escapes[0]
    assert str(first).startswith(f"planted, seed 7, input {first.number}: KeyError: 'planted'")


def test_the_same_seed_gives_the_same_inputs() -> None:
    rows = [Mutator(random.Random(3), [b'{"a": [1, 2]}'], shape=JSON) for _ in range(2)]
    first, second = ([row.next() for _ in range(500)] for row in rows)
    assert first == second
    assert len(set(first)) > 300
