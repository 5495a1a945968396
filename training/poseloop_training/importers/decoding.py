"""How other programs read coordinates from maps; each function says whose rule it is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ForeignMaps(NamedTuple):
    """Heatmaps ``[N, K, h, w]`` and, where the network has them, offsets, x and y, ``[N, K, 2, h, w]``."""

    heatmaps: Tensor
    offsets: Tensor | None = None


class Peak(NamedTuple):
    """The best cell of each heatmap, all ``[N, K, 1]``: its value, and where it is: flat, column and row."""

    value: Tensor
    cell: Tensor
    column: Tensor
    row: Tensor


def peak(heatmaps: Tensor) -> Peak:
    """Return the best cell of heatmaps ``[N, K, h, w]``, the first one row by row where several are equal."""
    width = heatmaps.shape[3]
    flat = heatmaps.flatten(2)
    index = flat.argmax(dim=2, keepdim=True)
    value = flat.gather(2, index)
    return Peak(value, index, index % width, torch.div(index, width, rounding_mode="trunc"))


def at_peak(offsets: Tensor, best: Peak) -> Tensor:
    """Return the offsets ``[N, K, 2]`` in the best cells of maps ``[N, K, 2, h, w]``."""
    index = torch.cat((best.cell, best.cell), dim=2).unsqueeze(3)  # the exporter would fix the batch of an expand
    return offsets.flatten(3).gather(3, index).squeeze(3)
