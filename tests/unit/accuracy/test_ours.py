"""Side by side or one by one, the product's scores are those of its backtest, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy import ours
from benchmarks.accuracy.corpora import Series
from benchmarks.accuracy.ours import Variant
from daemon.commands.backtest import backtest
from daemon.config import GroupConfig, loads
from tests.unit.accuracy.made import series, waves

CONFIG = """
groups:
  - name: all
    warmup_samples: 50
    model: {hidden: 4, window: 4, bottleneck: 2}
    training: {min_samples: 120, epochs_max: 1, lanes: 4}
"""


def group() -> GroupConfig:
    return loads(CONFIG, "test", {}).groups[0]


def untrained() -> GroupConfig:
    """The same, for streams that never see enough to be trained."""
    return loads(CONFIG.replace("min_samples: 120", "min_samples: 100000"), "test", {}).groups[0]


def with_a_hole() -> Series:
    values = waves(130, 2, 3)
    values[70:72] = np.nan  # these rows reach no network, so the file cannot stand beside others
    return series(values)


def files(train_rows: int) -> list[Series]:
    whole = [series(waves(rows, 2, rows), train_rows=train_rows) for rows in (150, 100, 170)]
    return [*whole, with_a_hole()] if train_rows == 0 else whole


OWN = Variant(scope="stream")  # each stream's weights learn on


@pytest.mark.parametrize(
    ("variant", "train_rows"), [(Variant(), 0), (Variant(), 90), (Variant(trained=False), 0), (OWN, 90)]
)
def test_files_side_by_side_score_as_the_backtest_scores_each(variant: Variant, train_rows: int) -> None:
    given = files(train_rows)
    outcomes = list(ours.run(given, group(), variant, 1))
    assert len(outcomes) == len(given)
    opened = 0
    for each, outcome in zip(given, outcomes, strict=True):
        settings = ours.group_for(group() if variant.trained else untrained(), each, variant, 1)
        alone = backtest(settings, each.table, train_rows)
        assert np.array_equal(outcome.score, np.nan_to_num(alone.score))
        assert np.array_equal(outcome.opened, alone.opened)
        assert not (outcome.opened & ~outcome.alarmed).any()
        opened += int(alone.opened.sum())
    assert opened


def test_one_file_is_pooled_with_nothing_else_and_of_several_the_others_count() -> None:
    given = files(90)
    (apart,) = ours.run(given[:1], group(), Variant(), 1)
    (pooled,) = ours.run(given[:1], group(), Variant(pooled=True), 1)
    together = next(ours.run(given, group(), Variant(pooled=True), 1))
    assert np.array_equal(pooled.score, apart.score)
    assert not np.array_equal(together.score, apart.score)


def test_the_network_alone_is_told_by_how_far_its_forecasts_are_off() -> None:
    given = files(70)
    errors = ours.forecast_errors(given, group(), Variant(alone=True), 1)
    for each, error in zip(given, errors, strict=True):
        jump = int(0.9 * len(error))
        assert np.isfinite(error).all()
        assert error[jump] > 10.0 * np.median(error)
        (alone,) = ours.forecast_errors([each], group(), Variant(alone=True), 1)
        assert np.array_equal(alone, error)


def test_networks_that_stand_side_by_side_take_one_row_each() -> None:
    with pytest.raises(ValueError, match="3 rows for 2 networks"):
        ours.SideBySide([object(), object()]).advance(np.zeros((3, 2), np.float32))


def test_every_architecture_that_the_settings_know_is_run() -> None:
    names = ours.architectures()
    assert len(set(names)) == len(names) >= 1
