"""How other programs read coordinates from maps; each function says whose rule it is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# A sum of heatmap values below which no mean is taken.
TOO_LITTLE = 1e-6


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


def refine_by_mean(heatmaps: Tensor, best: Peak, window: int) -> Tensor:
    """Return the mean place ``[N, K, 2]`` of the window around each best cell, x and y in cells, weighted by value.

    This is sleap-nn's "integral" refinement: cells beyond the border count as zero.
    """
    value, across, down = _window(heatmaps, best.column, best.row, window)
    total = value.sum(dim=2, keepdim=True)
    mean = torch.cat([(value * along).sum(dim=2, keepdim=True) for along in (across, down)], dim=2) / total
    # Where the values cancel out there is no mean; the best cell itself is the answer then.
    mean = torch.where(total.abs() > TOO_LITTLE, mean, torch.zeros_like(mean)).clamp(-float(window), float(window))
    return torch.cat((best.column, best.row), dim=2) + mean


def refine_by_quarter(heatmaps: Tensor, best: Peak) -> Tensor:
    """Return the best cells ``[N, K, 2]``, each a quarter of a cell nearer to the higher neighbour along either axis.

    The rule of Newell et al. 2016 (stacked hourglass) and most heatmap networks since; none at the border.
    """
    height, width = heatmaps.shape[2:]
    value, _, _ = _window(heatmaps, best.column, best.row, 3)
    x = torch.sign(value[:, :, 5:6] - value[:, :, 3:4]) * ((best.column > 0) & (best.column < width - 1))
    y = torch.sign(value[:, :, 7:8] - value[:, :, 1:2]) * ((best.row > 0) & (best.row < height - 1))
    return torch.cat((best.column + 0.25 * x, best.row + 0.25 * y), dim=2)


def sum_around(heatmaps: Tensor, columns: Tensor, rows: Tensor, window: int) -> Tensor:
    """Return the sum ``[N, K, 1]`` of the heatmap over the window around cells ``[N, K, 1]``."""
    return _window(heatmaps, columns, rows, window)[0].sum(dim=2, keepdim=True)


def _window(heatmaps: Tensor, columns: Tensor, rows: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the values around cells ``[N, K, window²]``, row by row, zero beyond the border, and the steps x and y."""
    reach = window // 2
    height, width = heatmaps.shape[2:]
    step = torch.arange(-reach, reach + 1, device=heatmaps.device)
    across, down = step.repeat(window), step.repeat_interleave(window)
    columns, rows = columns + across, rows + down
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    zero = torch.zeros_like(rows)
    cells = rows.maximum(zero).minimum(zero + (height - 1)) * width
    cells = cells + columns.maximum(zero).minimum(zero + (width - 1))
    return heatmaps.flatten(2).gather(2, cells) * inside, across, down
