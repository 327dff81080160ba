"""Where a group's network is trained and scores: on the processor, or on a GPU where there is one."""

from __future__ import annotations

import torch

from detectors.settings import Device

CPU = torch.device("cpu")


class DeviceMissing(ValueError):
    """What was asked for is not in this machine; the text says what to do."""


def found(wanted: Device) -> torch.device:
    """Return the device that is `wanted`; `auto` is a GPU where there is one. Raises DeviceMissing."""
    if wanted == "cpu":
        return CPU
    if torch.cuda.is_available():
        return torch.device("cuda")
    if wanted == "auto":
        return CPU
    why = "this torch is built without CUDA" if torch.version.cuda is None else "torch finds no GPU that it can use"
    raise DeviceMissing(f"device: cuda cannot be had: {why}; say cpu, or auto, which takes what there is")
