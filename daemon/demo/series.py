"""Six kinds of made-up series, each by its mathematics.

Common words: t counts steps, u is the time in days since 1970 (UTC), n_t is standard normal noise whose neighbours
correlate by 0.6, g is a daily shape between 0 and 1, and every capital letter is drawn once for each stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from daemon.demo.dice import Dice, trailing

F = NDArray[np.float64]
SeriesKind = Literal["seasonal", "bursty", "trending", "counter", "constant", "periodic"]
KINDS: Final[tuple[SeriesKind, ...]] = ("seasonal", "bursty", "trending", "counter", "constant", "periodic")

DAY_SECONDS: Final = 86_400
HOUR_SECONDS: Final = 3_600
_OWN, _NOISE, _DAY, _BURST, _CHILD, _GRANDCHILD, _MARK, _RESET, _RUN = range(9)  # purposes of draws; a run has 3

WEEKDAY_OF_1970: Final = 3  # a Thursday, Monday being 0
SATURDAY: Final = 5
DAY_SPREAD: Final = 0.05  # how much one day is higher than another
RATE_NOISE: Final = 0.2
BURSTS_A_DAY: Final = 3.0
BURST_MARK: Final = 0.8  # median height of a burst in units of the usual rate
BURST_DECAY: Final = np.exp(-np.arange(18) / 3.0)
CHILDREN: Final = 0.5 * 0.4 * 0.6 ** np.arange(6)  # a burst begets about half a burst within the next six samples
COUNTER_NOISE: Final = 0.1
RESET_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class Clock:
    """What a step is in time: step 0 is `start_seconds` after 1970-01-01 UTC."""

    start_seconds: float
    interval_seconds: int

    def days(self, step_from: int, step_to: int) -> F:
        """Return the time of each step in days since 1970, (T, 1)."""
        seconds = self.start_seconds + np.arange(step_from, step_to, dtype=np.float64) * self.interval_seconds
        return (seconds / DAY_SECONDS)[:, None]

    def steps(self, seconds: int) -> int:
        """Return how many steps fit into `seconds`."""
        return seconds // self.interval_seconds


@dataclass(frozen=True, slots=True)
class Series:
    """All streams of one kind: what they do at any step, and the units in which a fault is measured."""

    kind: SeriesKind
    values: Callable[[int, int], F]  # (step_from, step_to) -> (T, n)
    noise: F  # (n,) standard deviation of the irregular part; of a counter: of its increment
    swing: F  # (n,) highest minus lowest expected value of a usual day; of a trend: of a week
    quantum: F  # (n,) values are multiples of it; 0 where they are continuous


def build(kind: SeriesKind, seed: int, count: int, clock: Clock) -> Series:
    """Return `count` streams of `kind`; the first ones are the same however large `count` is."""
    dice = Dice(seed, KINDS.index(kind), count, clock.steps(DAY_SECONDS))
    return _BUILDERS[kind](dice, clock)


def seasonal(dice: Dice, clock: Clock) -> Series:
    """Follow the day: sessions of a service.

    y = L + A * w(day) * (1 + 0.05 z_day) * g(u - P) + S * n_t
    A 20..200, L 0.4..1.2 A, S 0.03..0.07 A; w is 1 from Monday to Friday and 0.55..0.9 at the weekend; P puts the
    night's trough, where a day ends and the next one begins, between 0 and 6 o'clock. Swing A, noise S.
    """
    own = dice.uniform(_OWN, 0, 6)  # (6, n)
    height = 20.0 * 10.0 ** own[0]
    low, noise = height * (0.4 + 0.8 * own[1]), height * (0.03 + 0.04 * own[2])
    weekend, trough, lean = 0.55 + 0.35 * own[3], 0.25 * own[4], own[5]

    def values(step_from: int, step_to: int) -> F:
        local = clock.days(step_from, step_to) - trough  # (T, n)
        number = np.floor(local).astype(np.int64)
        weekly = np.where((number + WEEKDAY_OF_1970) % 7 >= SATURDAY, weekend, 1.0)
        daily = weekly * (1.0 + DAY_SPREAD * _by_day(dice, number))
        usual: F = low + height * daily * shape(local, lean)
        usual += noise * dice.correlated(_NOISE, step_from, step_to)
        return usual

    return Series("seasonal", values, noise, height, np.zeros(dice.count))


def shape(days: F, lean: F) -> F:
    """Return the daily shape g: 0 at a whole day, 1 at the peak; `lean` 0..1 moves the peak through the day."""
    grid = _bump(np.linspace(0.0, 1.0, 289)[:, None], lean)
    result: F = _bump(days - np.floor(days), lean) / grid.max(axis=0)
    return result


def _bump(x: F, lean: F) -> F:
    bump: F = np.sin(np.pi * x) ** 2 * (1.0 + 0.6 * np.sin(2 * np.pi * (x + lean)))
    return bump


def _by_day(dice: Dice, number: NDArray[np.int64]) -> F:
    """Return one draw for each day and stream, read at the days `number` (T, n)."""
    first = int(number.min())
    draws = dice.normal(_DAY, first, int(number.max()) + 1)
    return draws[number - first, np.arange(dice.count)]


def bursty(dice: Dice, clock: Clock) -> Series:
    """Come in bursts that beget bursts: requests a second.

    y = R * (0.85 + 0.3 g(u)) * exp(0.2 n_t - 0.02) + R * sum over bursts j before t of M_j * exp(-(t - t_j) / 3)
    R 20..400. Three bursts a day come by themselves; each begets half a burst on average within six steps, and these
    beget again (a self-exciting process, cut off after the third generation). M is lognormal: median 0.8, sigma 0.6.
    Swing 0.3 R, noise 0.2 R: the bursts come on top.
    """
    own = dice.uniform(_OWN, 0, 2)
    rate, lean = 20.0 * 20.0 ** own[0], own[1]

    def values(step_from: int, step_to: int) -> F:
        calm = np.exp(RATE_NOISE * dice.correlated(_NOISE, step_from, step_to) - RATE_NOISE**2 / 2)
        daily = 0.85 + 0.3 * shape(clock.days(step_from, step_to), lean)
        result: F = rate * (daily * calm + _bursts(dice, clock, step_from, step_to))
        return result

    return Series("bursty", values, RATE_NOISE * rate, 0.3 * rate, np.zeros(dice.count))


def _bursts(dice: Dice, clock: Clock, step_from: int, step_to: int) -> F:
    """Return the height of all bursts still felt, in units of the usual rate (T, n)."""
    felt = step_from - len(BURST_DECAY) + 1
    past = len(CHILDREN)
    own = (dice.uniform(_BURST, felt - 2 * past, step_to) < BURSTS_A_DAY / clock.steps(DAY_SECONDS)).astype(np.float64)
    older = trailing(own, np.append(0.0, CHILDREN))  # never in the same sample as the parent
    children = (dice.uniform(_CHILD, felt - past, step_to) < older).astype(np.float64)
    grandchildren = dice.uniform(_GRANDCHILD, felt, step_to) < trailing(children, np.append(0.0, CHILDREN))
    count = own[2 * past :] + children[past:] + grandchildren
    return trailing(count * BURST_MARK * np.exp(0.6 * dice.normal(_MARK, felt, step_to)), BURST_DECAY)


def trending(dice: Dice, clock: Clock) -> Series:
    """Grow slowly with a daily ripple: gigabytes used on a disk.

    y = B + G * (u - u_0) + A * g(u - P) + S * n_t
    B 100..400, G 0.3..1 % of B a day, A 0.5..1 G (temporary files of the night), S 0.1..0.2 G. Swing A + 7 G
    (a usual week: what a day's growth is large against, nobody would call a fault), noise S.
    """
    own = dice.uniform(_OWN, 0, 5)
    base = 100.0 * 4.0 ** own[0]
    growth = base * (0.003 + 0.007 * own[1])
    ripple, noise = growth * (0.5 + 0.5 * own[2]), growth * (0.1 + 0.1 * own[3])

    def values(step_from: int, step_to: int) -> F:
        days = clock.days(step_from, step_to)
        grown: F = base + growth * (days - clock.days(0, 1))
        grown += ripple * shape(days - own[4], own[4]) + noise * dice.correlated(_NOISE, step_from, step_to)
        return grown

    return Series("trending", values, noise, ripple + 7 * growth, np.zeros(dice.count))


def counter(dice: Dice, clock: Clock) -> Series:
    """Count events since the last restart: the raw total, never a rate.

    x_t = round(R * (0.6 + 0.8 g(u - P)) * exp(0.1 n_t - 0.005)), y_t = sum of x since the last reset
    R 2e3..2e5 events a step of five minutes; once in each block of seven days, at a random step, the total begins at
    0 again. Swing 0.8 R and noise 0.1 R, both of the increment x.
    """
    own = dice.uniform(_OWN, 0, 3)
    usual = 2e3 * 100.0 ** own[0] * clock.interval_seconds / 300
    block = RESET_DAYS * dice.block_steps

    def values(step_from: int, step_to: int) -> F:
        begin = (step_from // block - 1) * block  # there is a reset between here and step_from
        noise = np.exp(COUNTER_NOISE * dice.correlated(_NOISE, begin, step_to) - COUNTER_NOISE**2 / 2)
        step = np.round(usual * (0.6 + 0.8 * shape(clock.days(begin, step_to) - 0.25 * own[1], own[2])) * noise)
        total = np.cumsum(step, axis=0)
        before = np.where(_resets(dice, block, begin, step_to), total - step, 0.0)
        since: F = total - np.maximum.accumulate(before, axis=0)
        return since[step_from - begin :]

    return Series("counter", values, COUNTER_NOISE * usual, 0.8 * usual, np.ones(dice.count))


def _resets(dice: Dice, block: int, begin: int, end: int) -> NDArray[np.bool_]:
    """Return at which steps a counter starts again, (T, n); `begin` is the first step of a block."""
    first = begin // block
    chosen = np.floor(dice.uniform(_RESET, first, (end - 1) // block + 1) * block)  # (blocks, n)
    step = np.arange(begin, end)
    at: NDArray[np.bool_] = chosen[step // block - first] == (step % block)[:, None]
    return at


def constant(dice: Dice, _clock: Clock) -> Series:
    """Stay where they are; four varieties take turns.

    fixed:     y = C, C 1000..4000 (a fan's speed). It has no noise; faults are measured in 0.01 C.
    noisy:     y = C * (1 + 0.001 n_t), C 1..50 (a supply voltage). Noise 0.001 C.
    quantised: y = 0.5 * round((C + 0.15 n_t) / 0.5), C 18..40 (a thermometer). Noise 0.25.
    zero:      y = 0 (errors a second). It has no noise; faults are measured in units of 1.
    """
    draw = dice.uniform(_OWN, 0, 1)[0]
    variety = np.arange(dice.count) % len(VARIETIES)
    pick = variety[None, :] == np.arange(len(VARIETIES))[:, None]  # (4, n)
    level = np.select(list(pick[:3]), [1000.0 + 3000.0 * draw, 50.0**draw, 18.0 + 22.0 * draw], 0.0)
    noise = np.select(list(pick[:3]), [0.01 * level, 0.001 * level, np.full(dice.count, 0.25)], 1.0)
    quantum = np.where(pick[2], 0.5, 0.0)
    moving = np.where(pick[1], noise, np.where(pick[2], 0.15, 0.0))

    def values(step_from: int, step_to: int) -> F:
        smooth = level + moving * dice.correlated(_NOISE, step_from, step_to)
        return quantised(smooth, quantum)

    return Series("constant", values, noise, np.zeros(dice.count), quantum)


VARIETIES: Final = ("fixed", "noisy", "quantised", "zero")


def quantised(values: F, quantum: F) -> F:
    """Round to multiples of `quantum`; leave alone where it is 0."""
    whole = np.where(quantum > 0, quantum, 1.0)
    result: F = np.where(quantum > 0, np.round(values / whole) * whole, values)
    return result


def periodic(dice: Dice, clock: Clock) -> Series:
    """Run a job every hour: what a backup writes, megabytes a second.

    y = I + H * (1 + 0.05 z_run) * (share of the step that the job was running) + S * n_t
    I 4..8, H 40..70, S 0.5..1.5; the job starts P minutes after the hour (0.2 steps sooner or later), and lasts 10 to
    20 minutes (times exp(0.1 z_run)). Swing H, noise S.
    """
    own = dice.uniform(_OWN, 0, 5)
    idle, height, noise = 4.0 + 4.0 * own[0], 40.0 + 30.0 * own[1], 0.5 + own[2]
    hour = clock.steps(HOUR_SECONDS)
    lasts, begins = hour / 6 * (1.0 + own[3]), hour * (0.05 + 0.5 * own[4])

    def values(step_from: int, step_to: int) -> F:
        step = np.arange(step_from, step_to)
        run, position = step // hour, (step % hour)[:, None]
        late, longer, higher = (dice.normal(_RUN + k, run[0], run[-1] + 1)[run - run[0]] for k in range(3))  # (T, n)
        start = begins + 0.2 * np.clip(late, -1.0, 1.0)
        end = start + lasts * np.exp(0.1 * longer)
        share = np.clip(np.minimum(position + 1, end) - np.maximum(position, start), 0.0, 1.0)
        busy: F = idle + height * (1 + 0.05 * higher) * share
        busy += noise * dice.correlated(_NOISE, step_from, step_to)
        return busy

    return Series("periodic", values, noise, height, np.zeros(dice.count))


_BUILDERS: Final[dict[SeriesKind, Callable[[Dice, Clock], Series]]] = {
    "seasonal": seasonal,
    "bursty": bursty,
    "trending": trending,
    "counter": counter,
    "constant": constant,
    "periodic": periodic,
}
