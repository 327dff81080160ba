"""The plain LSTM encoder before a code that is a distribution, and a decoder that says how sure it is.

Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014; An and Cho, "Variational autoencoder based anomaly
detection using reconstruction probability", SNU technical report, 2015; Park, Hoshi and Kemp, "A multimodal anomaly
detector for robot-assisted feeding using an LSTM-based variational autoencoder", IEEE RA-L 3(3), 2018.

The code is normal, q(z | h) = N(m, s^2), and so is what the decoder says of each value, p(x | z) = N(mu, sigma^2),
with tails that fall off like Huber's, so that outliers in the history do not rule. Training maximises the evidence
lower bound, E_q[log p(x | z)] - KL(q | N(0, 1)), with one draw z = m + s e (the reparametrisation).

Scoring may not draw: the expectation is taken over eight fixed points e that have the mean and, up to seven codes,
the covariance of the normal distribution. The mean negative log likelihood over them is a parabola in x, and its
signed root, (x - centre) / spread, is the error that is scored: the reconstruction probability in a form that has a
sign and adds up. The centre is the mean of the eight mu by their precisions, the spread belongs to the mean precision.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from detectors.architectures.family import Teaching, Told
from detectors.architectures.plain import LSTMAutoencoder
from detectors.decoders import build_decoder
from detectors.layers import OutputLinear

POINTS: Final = 8  # rows of a Hadamard matrix
LOG_SPREAD_MAX: Final = 3.0  # a spread is e^-3 to e^3 times a scaled unit, a code's no less
GAUSSIAN_SPREADS: Final = 3.0  # from so many spreads on, a likelihood falls off like Laplace's


class VariationalAutoencoder(LSTMAutoencoder):
    """Tells each value as a centre and a spread."""

    tells_spread = True

    def build_decoder(self) -> None:
        """Add mean and spread of the code, and a decoder with two numbers for each value."""
        self.code = nn.Linear(self.widths.summary, self.settings.bottleneck)
        self.code_spread = OutputLinear(self.widths.summary, self.settings.bottleneck)
        self.decoder = build_decoder(2 * self.channels, self.settings)

    def decode(self, summary: Tensor, samples: int | None = None) -> Told:
        """Return the window (B, W, D), or so many of it, and its spread in the mean over the code's distribution."""
        mean, log_spread = self._code(summary)
        points = _points(mean.shape[1]).to(mean)  # (P, Z)
        codes = mean + log_spread.exp() * points[:, None]  # (P, B, Z)
        centres, spreads = self._told(codes.flatten(0, 1), samples)
        shape = (POINTS, len(summary), samples or self.window, self.channels)
        precisions = spreads.reshape(shape).mul(-2.0).exp()
        # one after the other: how a library sums over an axis may depend on where an element stands
        precision, weighted = torch.zeros_like(precisions[0]), torch.zeros_like(precisions[0])
        for one, centre in zip(precisions, centres.reshape(shape), strict=True):
            precision = precision + one
            weighted = weighted + one * centre
        return Told(weighted / precision, (POINTS / precision).sqrt())

    def window_loss(
        self, summary: Tensor, window: Tensor, counted: Tensor, teaching: Teaching
    ) -> tuple[Tensor, Tensor]:
        """Return the negative evidence lower bound; the Kullback-Leibler term times `training.divergence`."""
        mean, log_spread = self._code(summary)
        code = mean
        if teaching.chance is not None:
            drawn = torch.randn(mean.shape, generator=teaching.chance, dtype=mean.dtype).to(mean.device)
            code = mean + log_spread.exp() * drawn
        centre, spread = self._told(code)
        loss = negative_log_likelihood(window, centre, spread, counted).sum()
        divergence = 0.5 * (mean.square() + (2 * log_spread).exp() - 1 - 2 * log_spread).sum(dim=1)  # (B,)
        told = counted.flatten(1).any(dim=1)
        return loss + teaching.training.divergence * (divergence * told).sum(), counted.sum()

    def _code(self, summary: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and logarithm of the spread of the code, (B, Z) each."""
        return self.code(summary), _bounded(self.code_spread(summary))

    def _told(self, code: Tensor, samples: int | None = None) -> tuple[Tensor, Tensor]:
        """Return centre and logarithm of the spread of every value, (B, W, D) each, or of so many samples."""
        centre, spread = self.decoder(code, samples).chunk(2, dim=2)
        return centre, _bounded(spread)


def negative_log_likelihood(actual: Tensor, centre: Tensor, log_spread: Tensor, counted: Tensor) -> Tensor:
    """Return -log p of each value up to a constant, 0 where it is not counted; all of one shape."""
    actual = torch.where(counted, actual, centre.detach())
    apart = (actual - centre) / log_spread.exp()
    far = nn.functional.huber_loss(apart, torch.zeros_like(apart), reduction="none", delta=GAUSSIAN_SPREADS)
    return torch.where(counted, log_spread + far, 0.0)


def _bounded(log_spread: Tensor) -> Tensor:
    return LOG_SPREAD_MAX * torch.tanh(log_spread / LOG_SPREAD_MAX)


def _points(width: int) -> Tensor:
    """Return fixed codes (POINTS, `width`) of signs: each has mean 0 and variance 1, any seven are uncorrelated."""
    order = torch.arange(POINTS)
    column = 1 + torch.arange(width) % (POINTS - 1)
    both = order[:, None] & column  # (POINTS, width): Sylvester's matrix counts the bits that both have
    odd = (both & 1) ^ (both >> 1 & 1) ^ (both >> 2 & 1)
    return 1.0 - 2.0 * odd
