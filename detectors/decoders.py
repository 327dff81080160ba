"""What tells a stream's window from its code, three ways: one affine map, one hidden layer, or an LSTM back in time.

After Malhotra et al., "LSTM-based Encoder-Decoder for Multi-sensor Anomaly Detection", 2016: the window is told in
reverse order, newest sample first, because the newest is what the encoder's state holds best.

Shapes: B streams side by side, D numbers told of each sample, Z width of the code, W window.
"""

from __future__ import annotations

from torch import Tensor, nn

from detectors.layers import OutputLinear, TanhLinear
from detectors.lstm import build_lstm
from detectors.settings import Decoder, ModelSettings


class LinearDecoder(nn.Module):
    """Retell the window by one affine map."""

    def __init__(self, channels: int, settings: ModelSettings) -> None:
        super().__init__()
        self.shape = (settings.window, channels)
        self.out = OutputLinear(settings.bottleneck, settings.window * channels)

    def forward(self, code: Tensor, samples: int | None = None) -> Tensor:
        """Return the window (B, W, D) told by `code` (B, Z), or the newest so many of its samples."""
        told: Tensor = self.out(code)  # (B, W * D)
        return told.view(-1, *self.shape)[:, :samples]


class MLPDecoder(nn.Module):
    """Retell the window through one hidden layer: as accurate as an LSTM decoder, at a third of its cost."""

    def __init__(self, channels: int, settings: ModelSettings) -> None:
        super().__init__()
        self.shape = (settings.window, channels)
        self.wide = TanhLinear(settings.bottleneck, settings.hidden)
        self.out = OutputLinear(settings.hidden, settings.window * channels)

    def forward(self, code: Tensor, samples: int | None = None) -> Tensor:
        """Return the window (B, W, D) told by `code` (B, Z), or the newest so many of its samples."""
        told: Tensor = self.out(self.wide(code))  # (B, W * D)
        return told.view(-1, *self.shape)[:, :samples]


class LSTMDecoder(nn.Module):
    """Retell the window sample by sample, going back in time, with the code as the input of every step."""

    def __init__(self, channels: int, settings: ModelSettings) -> None:
        super().__init__()
        self.window, self.hidden = settings.window, settings.hidden
        self.lstm = build_lstm(settings.bottleneck, settings.hidden)
        self.out = OutputLinear(settings.hidden, channels)

    def forward(self, code: Tensor, samples: int | None = None) -> Tensor:
        """Return the window (B, W, D) told by `code` (B, Z), or the newest so many of its samples."""
        steps = samples or self.window
        nothing = code.new_zeros(1, len(code), self.hidden)
        hidden, _ = self.lstm(code.expand(steps, -1, -1), (nothing, nothing))  # (W, B, H)
        told: Tensor = self.out(hidden.flatten(0, 1))  # (W * B, D)
        return told.view(steps, len(code), -1).transpose(0, 1)


def build_decoder(channels: int, settings: ModelSettings) -> LinearDecoder | MLPDecoder | LSTMDecoder:
    """Return the decoder that the settings name, which tells `channels` numbers of each sample."""
    kinds: dict[Decoder, type[LinearDecoder | MLPDecoder | LSTMDecoder]]
    kinds = {"linear": LinearDecoder, "mlp": MLPDecoder, "lstm": LSTMDecoder}
    return kinds[settings.decoder](channels, settings)
