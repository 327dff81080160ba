"""What a training leaves beside the model: how far it has come, and what it was like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.commands.curves import picture
from daemon.config import GroupConfig
from detectors import checkpoint
from detectors.checkpoint import Saving
from detectors.progress import Progress


@dataclass(frozen=True, slots=True)
class Saves:
    """Files beside the model: how far the training has come, where it goes on from, what it was like."""

    checkpoint: Path | None = None
    resume: Path | None = None
    plot: Path | None = None

    def saving(self) -> Saving:
        """Read the checkpoint to go on from, and say where the next ones go. Raises OSError, CheckpointError."""
        start, place = None, self.checkpoint
        if self.resume is not None:
            try:
                start = checkpoint.loads(self.resume.read_bytes())
            except OSError as error:
                raise OSError(f"{self.resume}: cannot be read: {error}") from error
        return Saving(start, None if place is None else lambda reached: write(place, checkpoint.dumps(reached)))

    def draw(self, group: GroupConfig, curves: Sequence[Progress]) -> None:
        """Draw the curves where they are wanted. Raises PlotsMissing, OSError."""
        if self.plot is not None:
            title = f"training of group {group.name}, architecture {group.model.architecture}"
            write(self.plot, picture(title, curves, group.training.gradient_norm_max).encode())


def write(place: Path, data: bytes) -> None:
    """Put `data` in the place of a file that is there, whole or not at all; what is no file is written to as it is."""
    target = place.resolve()  # a link stays one
    beside = target.with_name(f"{target.name}.part")
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)
            return
        beside.write_bytes(data)
        beside.replace(target)
    except OSError as error:
        raise OSError(f"{place}: cannot be written: {error}") from error
