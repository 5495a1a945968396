"""Numbers that a training computes in: 16 bits where a GPU is faster with them, 32 for all that is summed up."""

from __future__ import annotations

from typing import Literal

import torch
from poseloop.errors import InvalidInputError

TrainingPrecision = Literal["fp32", "bf16", "fp16"]
LIGHTNING: dict[TrainingPrecision, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


def choose_precision(asked: TrainingPrecision | None) -> TrainingPrecision:
    """Return what to train in: as asked for, else bf16 or fp16 on a GPU, whichever it has, and fp32 on a CPU.

    Raises:
        InvalidInputError: nothing here computes in it.
    """
    able = supported()
    if asked is None:
        return able[-1]
    if asked not in able:
        raise InvalidInputError(
            f"--training-precision {asked}: {_device()} trains in {' or '.join(able)}; leave the option out."
        )
    return asked


def supported() -> tuple[TrainingPrecision, ...]:
    """Return what the device that will train computes in, the best last."""
    if not torch.cuda.is_available():
        return ("fp32",)
    # Old GPUs only imitate bf16, slower than they compute in fp32.
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return ("fp32", "fp16", "bf16") if has_bf16 else ("fp32", "fp16")


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "this machine, without an NVIDIA GPU,"
