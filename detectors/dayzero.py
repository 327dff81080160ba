"""The detector of the first hours: what answers before any training.

With readouts of their own, streams learn on the hidden state of an LSTM whose weights are random and always the same:
an echo-state network (Jaeger 2001), not a trained autoencoder, and useful all the same. It goes on until a trained
model takes its place. With a shared readout there is nothing to read yet, and plain arithmetic answers: the baseline.
"""

from __future__ import annotations

from typing import Final

from detectors.autoencoder import untrained, weights_of
from detectors.network import Network
from detectors.scoring import CLOCK_INPUTS, Detector
from detectors.settings import DetectorSettings

SEED: Final = 0  # chosen before anything was measured with it


def day_zero(settings: DetectorSettings) -> Detector:
    """Return the detector of a group that has no model yet; its model id is empty."""
    if settings.readout == "shared" and settings.scope == "group":
        return Detector(settings)
    width = len(settings.channels)
    sizes = {"features": 2 * width + CLOCK_INPUTS, "channels": width}
    model = untrained(**sizes, settings=settings.model, seed=SEED)
    return Detector(settings, Network.of(weights_of(model), settings))
