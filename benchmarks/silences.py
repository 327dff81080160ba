"""How often streams that are well are called silent, and how soon a dead one is: with learnt pauses and without.

Streams of made-up habits go sample by sample through what the daemon learns of them; the network is left out. The
partition's clock goes on all the time, as it does where many streams share it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a file, too

from daemon import alerts, silence
from detectors import scoring
from detectors.settings import AlertSettings
from detectors.slab import row_dtype

F = NDArray[np.float64]
I8 = NDArray[np.int64]
Mask = NDArray[np.bool_]

START_MS: Final = 1_772_409_600_000  # a Monday, 0:00 UTC
MINUTE, HOUR, DAY, WEEK = 60.0, 3600.0, 86_400.0, 604_800.0
RECORD_MS: Final = 100  # from one of the partition's records to the next
WARMUP_SAMPLES: Final = 100
DTYPE: Final = row_dtype(
    [
        ("time_ms", "i8", ()),
        ("interval_ms", "f4", ()),
        ("samples", "f4", ()),
        *alerts.FIELDS,
        *silence.FIELDS,
    ]
)
POLICIES: Final = {
    "intervals alone": AlertSettings(silence_pauses=0.0),
    "pauses as well": AlertSettings(),
}
Draw = Callable[[np.random.Generator, float], F]  # times in seconds, up to an end


# habits


def regular(rng: np.random.Generator, end: float) -> F:
    """A sample a minute, give or take three seconds."""
    times = np.arange(0.0, end, MINUTE)
    return times + rng.uniform(-3.0, 3.0, len(times)) + 3.0


def jittered(rng: np.random.Generator, end: float) -> F:
    """A sample a minute in the mean, each at any time."""
    return _walked(rng.exponential(MINUTE, int(end / MINUTE)), end)


def lossy(rng: np.random.Generator, end: float) -> F:
    """A sample a minute, and every week or so ten to forty minutes that are lost."""
    times = regular(rng, end)
    kept = np.ones(len(times), dtype=bool)
    for begin in rng.uniform(0.0, end, rng.poisson(end / WEEK)):
        kept &= (times < begin) | (times > begin + rng.uniform(10 * MINUTE, 40 * MINUTE))
    result: F = times[kept]
    return result


def bursty(rng: np.random.Generator, end: float) -> F:
    """Twenty samples in ten seconds' distance, then a pause of half an hour in the mean."""
    gaps = np.full(20 * int(end / (30 * MINUTE)), 10.0)
    gaps[::20] = rng.exponential(30 * MINUTE, len(gaps[::20]))
    return _walked(gaps, end)


def hourly(rng: np.random.Generator, end: float) -> F:
    """Ten samples in ten seconds' distance at the beginning of each hour, which is late by up to a minute."""
    begins = np.arange(0.0, end, HOUR)
    begins += rng.uniform(0.0, MINUTE, len(begins))
    result: F = (begins[:, None] + 10.0 * np.arange(10)).reshape(-1)
    return result


def nightly(rng: np.random.Generator, end: float) -> F:
    """A sample a minute but for the forty minutes of a backup each night."""
    times = regular(rng, end)
    result: F = times[(times % DAY < 2 * HOUR) | (times % DAY > 2 * HOUR + 40 * MINUTE)]
    return result


def office(rng: np.random.Generator, end: float) -> F:
    """A sample a minute from nine to six, from Monday to Friday."""
    times = regular(rng, end)
    hour, day = times % DAY / HOUR, times // DAY % 7
    result: F = times[(hour >= 9) & (hour < 18) & (day < 5)]
    return result


HABITS: Final[tuple[Draw, ...]] = (regular, jittered, lossy, bursty, hourly, nightly, office)


def _walked(gaps: F, end: float) -> F:
    times = np.cumsum(gaps)
    result: F = times[times < end]
    return result


# what becomes of them


@dataclass(frozen=True, slots=True)
class Found:
    """What `weeks` of a habit gave: false silences of a stream by week, and the patience in the last one."""

    false: F  # (weeks,)
    patience_seconds: F  # of every sample in the last week


def watched(draw: Draw, policy: AlertSettings, streams: int, weeks: int) -> Found:
    """Take streams of one habit through the weeks."""
    drawn = [draw(np.random.default_rng(seed), weeks * WEEK) for seed in range(streams)]
    rows, false, last = np.zeros(streams, DTYPE), np.zeros(weeks), []
    for step in range(max(len(each) for each in drawn)):
        here = np.array([at for at, each in enumerate(drawn) if step < len(each)])
        seconds = np.array([drawn[at][step] for at in here])
        part = rows[here]
        overdue = _sampled(policy, part, START_MS + (seconds * 1000).astype(np.int64))
        rows[here] = part
        np.add.at(false, (seconds // WEEK).astype(int)[overdue], 1.0)
        in_last = seconds >= (weeks - 1) * WEEK
        last.append(silence.patience_ms(policy, part)[in_last] / 1000.0)
    return Found(false / streams, np.concatenate(last))


def _sampled(policy: AlertSettings, rows: NDArray[np.void], times_ms: I8) -> Mask:
    """Take one sample into each row; return which (n,) had been told as silent by then."""
    until = silence.Until(times_ms, times_ms // RECORD_MS - START_MS // RECORD_MS)
    overdue = silence.silent_rows(policy, rows, until, WARMUP_SAMPLES)
    silence.learn(policy, rows, until)
    seconds = np.maximum((times_ms - rows["time_ms"]) / 1000.0, 1e-3)
    scoring.advance_clock(rows, times_ms, seconds, rows["samples"] == 0)
    return overdue


def main() -> None:
    """Print a line for each habit and policy."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--streams", type=int, default=20, help="of each habit")
    asked.add_argument("--weeks", type=int, default=8)
    given = asked.parse_args()
    print(
        "| habit | judged by | false silences: first week | second week | a week after that | a death is told after |"
    )
    print("|---|---|---|---|---|---|")
    for draw in HABITS:
        for name, policy in POLICIES.items():
            found = watched(draw, policy, given.streams, given.weeks)
            later = found.false[2:].mean()
            minutes = np.median(found.patience_seconds) / MINUTE
            print(
                f"| {draw.__name__} | {name} | {found.false[0]:.2f} | {found.false[1]:.2f} | {later:.2f} "
                f"| {minutes:.0f} min |"
            )


if __name__ == "__main__":
    main()
