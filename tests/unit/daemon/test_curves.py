"""The picture of a training shows every curve, whatever became of it."""

from __future__ import annotations

import pytest

from daemon.commands.curves import picture
from detectors.progress import Progress

CURVES = [Progress(epoch, 3, 1.0 / epoch, 2.0 / epoch, 0.5, 1.0, 0.9, 0.25, 0.004) for epoch in (1, 2, 3)]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_picture_names_every_curve(count: int) -> None:
    drawn = picture("training of group g", CURVES[:count], 1.0)
    assert "<svg" in drawn
    for name in ("training of group g", "earlier data", "later data", "gradient norm", "clipped", "learning rate"):
        assert name in drawn


def test_the_same_training_gives_the_same_picture() -> None:
    assert picture("t", CURVES, 1.0) == picture("t", CURVES, 1.0)
