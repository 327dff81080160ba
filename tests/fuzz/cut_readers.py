"""What goes through arrays: records that are cut, records together, readings that join.

The first two have a slow way beside them that is taken to be right; in the rows of readings any bytes may stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from benchmarks.decode import WRITERS, Sample
from daemon import assembly
from daemon.alert_events import Group
from daemon.config import Config, loads
from daemon.engine import step
from daemon.errors import StateUnusable
from daemon.formats import FORMATS, Malformed, Options, decoder
from daemon.formats.columns import Columnar, Columns, points
from daemon.formats.point import Format, Point
from daemon.intake import Intake, Limits, Taken
from daemon.memory import MemoryRecord
from daemon.partitions import settle
from daemon.state import GroupLayout, Pages, PartitionState, flush
from detectors.scoring import Detector
from detectors.slab import Delta
from tests.fuzz.engine import ACCEPTED, Reader
from tests.fuzz.input_readers import HERE, SHAPES, STAMP, TOKENS, examples, turn
from tests.fuzz.mutation import JSON
from tests.fuzz.stored_readers import sealed_page

COLUMNAR = tuple(name for name in FORMATS if isinstance(decoder(name, Options()), Columnar))
TOGETHER = 8  # inputs that are taken at once, each between two records that are right
STREAMS_MAX = 200
TAKES_PER_STATE = 120
JOINED = """
input: {topics: [metrics]}
groups:
  - name: made
    channels: [cpu, mem, busy]
    by: [host]
    join: {channel: name, interval_seconds: auto, lateness_seconds: 5}
    derive: {busy: {ratio: [cpu, mem]}}
    max_streams: 50
    warmup_samples: 2
    model: {hidden: 4, window: 4, bottleneck: 2}
    tenants: {label: host, max_streams: 20}
"""


def cut_readers() -> Iterator[Reader]:
    """Yield a reader for each format that can be cut, alone and together, and for what is joined."""
    for name in COLUMNAR:
        tokens, shape = TOKENS.get(name, ()), SHAPES.get(name, JSON)
        yield Reader(f"cut {name}", cut(name), ordinary(name), tokens, shape, 3.0)
        yield Reader(f"together {name}", together(name), ordinary(name), tokens, shape, 2.0)
    config = loads(JOINED, "joined.yaml", {})
    yield Reader("joined", turn(config), READINGS, shape=JSON, weight=1.0)
    yield Reader("page of readings", joining(config), [_page(config)], shape=sealed_page(), weight=1.0)


def ordinary(name: str) -> Sequence[bytes]:
    """Return the examples of one format, and records as they come by the million."""
    samples = [Sample(f"h{at}", f"cpu{at}", STAMP + at, 0.5 + at) for at in range(3)]
    return [*examples(name), *(write([each]) for _, write in WRITERS[name] for each in samples)]


def _told(found: Sequence[Point]) -> str:
    """Return points as a text; their fields in the order of the names, which is the library's own."""
    return repr(
        [
            each._replace(labels=dict(sorted(each.labels.items())), fields=dict(sorted(each.fields.items())))
            for each in found
        ]
    )


def cut(name: str) -> Callable[[bytes], str]:
    """Return what cuts a record and decodes it: the two say the same."""
    form = decoder(name, Options())
    assert isinstance(form, Columnar)

    def read(value: bytes) -> str:
        whole, columns, ones = form.decode(value), Columns(), Columns()
        if not form.cut(value, columns):
            assert columns == Columns(), "something was left behind"
            assert points(form, value) is None
            return f"not cut: {whole.reason if isinstance(whole, Malformed) else 'decoded'}"
        assert len(columns.keys) == len(columns.times_ms) > 0
        found = points(form, value)
        if found is None:
            return "not cut: a head that is none"
        assert not isinstance(whole, Malformed), f"cut, and {whole.reason}: {whole.detail[:200]}"
        assert _told(found) == _told(whole)
        if form.cut_ones([value, value], ones):
            assert (ones.keys, repr(ones.numbers)) == (columns.keys * 2, repr(columns.numbers * 2))
            assert ones.times_ms == columns.times_ms * 2
        return ACCEPTED

    return read


class _Plain:
    """A format without its columns."""

    def __init__(self, form: Format) -> None:
        self._form = form

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        return self._form.decode(value)


class _All:
    """The group that takes every field by itself."""

    name, channels = "all", ()

    def selects(self, _labels: object) -> bool:
        """Return whether the group takes a point: always."""
        return True


class _Taker:
    """A partition that takes many records at once."""

    def __init__(self, form: Format) -> None:
        self._intake = Intake(form, [_All()], Limits(20_000, 60_000))
        self._layouts = {"all": GroupLayout(ROWS, STREAMS_MAX)}
        self._state = PartitionState.empty(self._layouts, 0)
        self._takes = 0

    def take(self, records: Sequence[MemoryRecord]) -> list[object]:
        """Return all that came of the records."""
        self._takes += 1
        if self._takes % TAKES_PER_STATE == 0:
            self._state = PartitionState.empty(self._layouts, 0)
        taken = self._intake.take(HERE, records, self._state)
        settle(self._state, taken, [])
        return list(_parts(taken))


ROWS = np.dtype([("samples", "f4"), ("seen_ms", "i8"), ("time_ms", "i8"), ("counter", "f4", (1,))])


def _parts(taken: Taken) -> Iterator[object]:
    for name in taken.__slots__:
        if name != "parts":
            yield name, getattr(taken, name)
    for name, part in taken.parts.items():
        samples = part.samples
        yield name, part.watermark_ms, list(part.slab.keys)
        yield [samples.slots.tolist(), samples.offsets.tolist(), samples.times_ms.tolist()]
        yield [repr(samples.values.tolist()), samples.watermark_ms.tolist()]


def together(name: str) -> Callable[[bytes], str]:
    """Return what takes records that wait, with others around them, and again without columns: the same comes of it."""
    form = decoder(name, Options())
    right = [each for each in ordinary(name) if not isinstance(form.decode(each), Malformed)]
    ours, plain = _Taker(form), _Taker(_Plain(form))
    waiting: list[MemoryRecord] = []
    offset = 0

    def read(value: bytes) -> str:
        nonlocal offset
        for each in (right[offset % len(right)], value, right[offset // 3 % len(right)]):
            waiting.append(MemoryRecord(offset, -1 if offset % 5 else STAMP * 1000 + offset, b"k", each, ()))
            offset += 1
        if len(waiting) < 3 * TOGETHER:
            return "waiting"
        records = waiting.copy()
        waiting.clear()
        for one, other in zip(ours.take(records), plain.take(records), strict=True):
            assert repr(one) == repr(other)
        return ACCEPTED

    return read


READINGS = [
    b'{"timestamp": %d, "name": "%s", "labels": {"host": "%s"}, "value": %d}' % (STAMP + at, name, host, at)
    for at in range(0, 60, 10)
    for name in (b"cpu", b"mem")
    for host in (b"a", b"b")
]


def joining(config: Config) -> Callable[[bytes], str]:
    """Return what builds a state whose readings wait in the page given, and takes more readings into it."""
    layouts, page = assembly.layouts(config), b"page/metrics/0/made/0"
    intake, written = assembly.intake(config), _written(config)
    groups = [Group(each.name, Detector(each.detector())) for each in config.groups]
    more = [MemoryRecord(100 + i, -1, b"k", value, ()) for i, value in enumerate(READINGS)]

    def read(value: bytes) -> str:
        pages = Pages(HERE)
        pages.add([*written, MemoryRecord(len(written), -1, page, value, ())])
        try:
            built = pages.build(layouts)
        except StateUnusable as error:
            return f"unusable: {error}"
        assert built is not None
        taken = intake.take(HERE, more, built[0])
        flush("state", HERE, built[0], layouts)
        with np.errstate(all="ignore"):  # of such rows
            caused = step([(group, [taken.parts[group.name]]) for group in groups])
        settle(built[0], taken, caused.deltas)
        return f"discarded: {built[2][0]}" if built[2] else ACCEPTED

    return read


def _written(config: Config) -> list[MemoryRecord]:
    """Return the pages of a partition in which readings wait."""
    layouts, intake = assembly.layouts(config), assembly.intake(config)
    state = PartitionState.empty(layouts, 0)
    records = [MemoryRecord(i, -1, b"k", value, ()) for i, value in enumerate(READINGS)]
    taken = intake.take(HERE, records, state)
    moved = [
        (part.slab, part.moved or Delta(part.slab.living(), part.rows(part.slab.living())))
        for part in taken.parts.values()
    ]
    settle(state, taken, moved)
    messages, _ = flush("state", HERE, state, layouts)
    return [MemoryRecord(i, -1, each.key, each.value, ()) for i, each in enumerate(messages)]


def _page(config: Config) -> bytes:
    return next(each.value or b"" for each in _written(config) if (each.key or b"").startswith(b"page/"))
