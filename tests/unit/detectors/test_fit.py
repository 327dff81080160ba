"""Training learns, repeats itself, never looks at the later data, and stops when it should."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from detectors.autoencoder import untrained, weights_of
from detectors.fit import Fitted, Progress, TrainingSeries, fit
from detectors.network import Network
from detectors.settings import Decoder, ModelSettings, TrainingSettings

MODEL = ModelSettings(hidden=12, window=6, bottleneck=4)
QUICK = TrainingSettings(epochs_max=3, lanes=8, chunk_samples=32)


pytestmark = pytest.mark.usefixtures("one_thread")


def noisy_sine(samples: int, seed: int) -> TrainingSeries:
    rng = np.random.default_rng(seed)
    period, phase = rng.uniform(15, 40), rng.uniform(0, 2 * np.pi)
    values = np.sin(2 * np.pi * np.arange(samples) / period + phase) + 0.2 * rng.normal(size=samples)
    targets = values.astype(np.float32)[:, None]
    inputs = np.concatenate([targets, np.diff(targets, axis=0, prepend=targets[:1])], axis=1)
    return TrainingSeries(inputs, targets, np.ones_like(targets, np.bool_))


def family(count: int, samples: int) -> list[TrainingSeries]:
    return [noisy_sine(samples, seed) for seed in range(count)]


def quietly(series: list[TrainingSeries], training: TrainingSettings = QUICK, model: ModelSettings = MODEL) -> Fitted:
    return fit(series, model=model, training=training, progress=lambda _: None)


def ticking(step_seconds: float) -> Callable[[], float]:
    """Return a clock that moves by so much each time it is read."""
    ticks = itertools.count()
    return lambda: next(ticks) * step_seconds


def equal(one: Fitted, other: Fitted) -> bool:
    return all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_it_learns_what_a_noisy_sine_does_next() -> None:
    report = quietly(family(8, 1500), replace(QUICK, epochs_max=15)).report
    assert report.forecast_loss < 0.6 * report.persistence_loss
    assert report.validation_losses[report.epoch_best - 1] == min(report.validation_losses)
    assert min(report.validation_losses) < 0.65 * report.validation_losses[0]
    assert report.samples == 8 * 1200


@pytest.mark.parametrize("decoder", get_args(Decoder))
def test_every_decoder_learns_to_tell_the_window(decoder: Decoder) -> None:
    model = replace(MODEL, decoder=decoder)
    series = family(8, 1000)
    network = Network(quietly(series, replace(QUICK, epochs_max=10), model).weights, model=model)
    hidden = cell = np.zeros((1, 12), np.float32)
    inputs, values = series[0].inputs, series[0].targets[:, 0]
    missed, usual = [], []
    for now in range(1000):
        moved = network.advance(inputs[None, now], hidden, cell)
        hidden, cell = moved.hidden, moved.cell
        if now >= 800:  # data that was not trained on
            window = values[now - 5 : now + 1][::-1]
            missed.append(np.abs(moved.reconstruction[0, :, 0] - window).mean())
            usual.append(np.abs(window).mean())
    assert np.mean(missed) < 0.5 * np.mean(usual)


def test_the_same_seed_and_data_give_the_same_weights_to_the_bit() -> None:
    series = family(5, 300)
    first = quietly(series)
    torch.rand(7)  # whatever the program drew in between
    assert equal(first, quietly(series))
    assert not equal(first, quietly(series, replace(QUICK, seed=1)))


def test_training_leaves_global_randomness_alone() -> None:
    before = torch.get_rng_state()
    quietly(family(3, 200))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_stands_at_missing_values_changes_nothing() -> None:
    one = noisy_sine(600, 0)
    valid = one.valid.copy()
    valid[100:140] = valid[550:560] = False

    def with_missing(value: float) -> list[TrainingSeries]:
        return [TrainingSeries(one.inputs, np.where(valid, one.targets, np.float32(value)), valid)]

    assert equal(quietly(with_missing(0.0)), quietly(with_missing(np.nan)))
    assert equal(quietly(with_missing(0.0)), quietly(with_missing(1e6)))


def test_the_later_part_is_judged_by_and_never_learnt_from() -> None:
    one = noisy_sine(600, 0)
    later = np.arange(600)[:, None] >= 480
    other = TrainingSeries(one.inputs, np.where(later, -one.targets, one.targets), one.valid)
    training = replace(QUICK, epochs_max=1)
    first, second = quietly([one], training), quietly([other], training)
    assert first.report.losses == second.report.losses
    assert first.report.validation_losses != second.report.validation_losses


def test_series_shorter_than_a_chunk_and_of_all_lengths_train_together() -> None:
    series = [noisy_sine(samples, samples) for samples in (1, 2, 5, 11, 31, 33, 400)]
    report = quietly(series).report
    assert report.epochs == 3
    assert all(np.isfinite(report.losses))
    assert report.losses[-1] < report.losses[0]


def test_progress_is_told_after_each_epoch() -> None:
    told: list[Progress] = []
    report = fit(family(3, 300), model=MODEL, training=QUICK, progress=told.append).report
    assert [progress.epoch for progress in told] == [1, 2, 3]
    assert all(progress.epochs_max == 3 for progress in told)
    assert tuple(progress.loss for progress in told) == report.losses
    assert tuple(progress.gradient_norm for progress in told) == report.gradient_norms
    assert report.stopped == "epochs"


def test_it_stops_when_the_later_data_gain_nothing_and_keeps_the_best_weights() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 1)).astype(np.float32)
    series = [TrainingSeries(noise, noise, np.ones_like(noise, np.bool_))]
    training = replace(QUICK, epochs_max=200, patience_epochs=3, learning_rate=0.02)
    report = quietly(series, training).report
    assert report.stopped == "patience"
    assert report.epochs == report.epoch_best + 3
    assert report.epochs < 200


def test_it_stops_when_its_seconds_are_over() -> None:
    training = replace(QUICK, epochs_max=1000, patience_epochs=1000, seconds_max=30.0)
    fitted = fit(family(3, 300), model=MODEL, training=training, progress=lambda _: None, clock=ticking(1.0))
    assert fitted.report.stopped == "seconds"
    assert 30.0 <= fitted.report.seconds <= 33.0


def test_without_any_time_the_weights_are_fresh_ones_or_better() -> None:
    training = replace(QUICK, seconds_max=0.0, learning_rate=1e3)  # one update, and it does harm
    fitted = quietly(family(3, 300), training)
    fresh = weights_of(untrained(features=2, channels=1, settings=MODEL, seed=training.seed))
    assert fitted.report.epoch_best == 0
    assert all(np.array_equal(fitted.weights[name], fresh[name]) for name in fresh)


def test_gradients_are_clipped_and_the_share_is_reported() -> None:
    series = family(3, 300)
    loose = quietly(series, replace(QUICK, gradient_norm_max=1e6)).report
    tight = quietly(series, replace(QUICK, gradient_norm_max=1e-6)).report
    assert loose.clipped_share == 0.0
    assert tight.clipped_share == 1.0
    assert min(tight.gradient_norms) > 1e-6  # the norm before clipping


def test_an_absurd_value_in_history_does_not_spoil_the_weights() -> None:
    one = noisy_sine(600, 0)
    inputs, targets = one.inputs.copy(), one.targets.copy()
    for row in (100, 550):  # one to learn from and one to judge by
        inputs[row] = targets[row] = 3e38
    report = quietly([TrainingSeries(inputs, targets, one.valid)]).report
    assert np.isfinite(report.validation_losses).all()
    assert report.epoch_best > 0


def test_several_channels_train_together_and_one_may_be_missing_for_ever() -> None:
    one, two = noisy_sine(500, 0), noisy_sine(500, 1)
    targets = np.concatenate([one.targets, two.targets], axis=1)
    valid = np.concatenate([one.valid, np.zeros_like(two.valid)], axis=1)
    fitted = quietly([TrainingSeries(np.concatenate([one.inputs, two.inputs], axis=1), targets, valid)])
    assert fitted.weights["ahead_out.bias"][0] != 0.0
    assert fitted.weights["ahead_out.bias"][1] == 0.0  # nothing was learnt about it
