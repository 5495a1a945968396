"""The head: heatmaps and offsets, what they are trained towards, and how coordinates are read from them.

Targets, loss and decoding stand together because they share one geometry. Cell (i, j) of a map of stride s covers
network pixels s·j ... s·j + s - 1, so its centre lies at x = s·(j + 0.5) - 0.5, the origin being the centre of the
top-left network pixel. The offset of a cell is the way from its centre to the keypoint, in cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from poseloop.types import ConfidenceSpec
from torch import Tensor, nn

# Before training every cell is improbable; starting there spares the first hundred steps (Lin et al. 2017, 4.1).
PRIOR = 0.01


class Maps(NamedTuple):
    """Output of the head: ``heatmaps``, logits ``[N, K, h, w]``; ``offsets``, x and y in cells, ``[N, K, 2, h, w]``."""

    heatmaps: Tensor
    offsets: Tensor


class KeypointHead(nn.Module):
    """A light feature pyramid (Lin et al. 2017) down to the finest map, then heatmaps and offsets side by side."""

    def __init__(self, channels: tuple[int, ...], keypoints: int, width: int) -> None:
        """Build it for feature maps of these ``channels``, finest first; ``width`` is the pyramid's own."""
        super().__init__()
        self.keypoints = keypoints
        self.lateral = nn.ModuleList(_conv(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(_separable(width) for _ in channels)
        maps = nn.Conv2d(width, 3 * keypoints, 1)
        nn.init.normal_(maps.weight, std=0.01)
        bias = torch.zeros(3 * keypoints)
        bias[:keypoints] = -math.log(1 / PRIOR - 1)
        maps.bias = nn.Parameter(bias)
        self.last = nn.Sequential(_conv(width, width, 3), maps)

    def forward(self, features: list[Tensor]) -> Maps:
        """Turn feature maps ``[N, c, H/s, W/s]``, finest first, each half the size of the one before, into maps."""
        x: Tensor | None = None
        for feature, lateral, smooth in reversed(list(zip(features, self.lateral, self.smooth, strict=True))):
            level = lateral(feature)
            x = smooth(level if x is None else level + F.interpolate(x, scale_factor=2.0, mode="nearest"))
        maps = self.last(x)
        heatmaps, offsets = maps[:, : self.keypoints], maps[:, self.keypoints :]
        return Maps(heatmaps, offsets.unflatten(1, (self.keypoints, 2)))


def _conv(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _separable(width: int) -> nn.Sequential:
    return nn.Sequential(_conv(width, width, 3, groups=width), _conv(width, width, 1))


@dataclass(frozen=True, slots=True)
class LossSettings:
    """Sizes are in cells of the map.

    Attributes:
        sigma: standard deviation of a keypoint's Gaussian on the heatmap.
        reach: distance from the keypoint up to which offsets are trained.
        softmax_weight: of the softmax's cross-entropy beside the binary one.
        offset_weight: of the offsets' part of the loss.
    """

    sigma: float = 1.5
    reach: float = 2.5
    softmax_weight: float = 0.5
    offset_weight: float = 1.0


class Losses(NamedTuple):
    """The two parts of the loss, the second already weighted."""

    heatmap: Tensor
    offset: Tensor


def at_least_once(mask: Tensor) -> Tensor:
    """Return how often it is true, as what can be divided by."""
    return mask.sum().clamp(min=1)


def keypoint_loss(
    maps: Maps,
    keypoints: Tensor,
    stride: int,
    settings: LossSettings,
    count: Callable[[Tensor], Tensor] = at_least_once,
) -> Losses:
    """Compare maps with labelled keypoints.

    The heatmap is trained by binary cross-entropy towards a Gaussian at the keypoint, all over the map, plus the
    cross-entropy of its spatial softmax with the same Gaussian, which says that the keypoint is in one place only; the
    offsets by a smooth L1 loss near the keypoint, weighted by the Gaussian.

    Args:
        maps: of the head.
        keypoints: float32 ``[N, K, 2]``, x, y in network pixels. NaN where unlabelled: such a keypoint has no part in
            the loss. Outside the image where augmentation moved it there: its heatmap shall be empty, and there is
            nothing to say about offsets.
        stride: network pixels a cell.
        settings: sizes and weights.
        count: of the keypoints that a mean is over, by their mask ``[N, K]``.
    """
    h, w = maps.heatmaps.shape[-2:]
    labelled = ~keypoints.isnan().any(dim=-1)
    place = torch.nan_to_num(keypoints)
    limits = torch.tensor([w, h], device=place.device) * stride - 0.5
    inside = labelled & ((place >= -0.5) & (place <= limits)).all(dim=-1)
    way = (place[..., None, None] - cell_centres(h, w, stride, place)) / stride  # [N, K, 2, h, w], in cells
    squared = way.square().sum(dim=2)
    gaussian = torch.exp(-squared / (2 * settings.sigma**2)) * inside[..., None, None]
    heatmap = _heatmap_loss(maps.heatmaps, gaussian, settings)
    near = (squared <= settings.reach**2) * gaussian
    distance = F.smooth_l1_loss(maps.offsets, way, reduction="none", beta=0.25).sum(dim=2)
    offset = (distance * near).sum(dim=(-1, -2)) / near.sum(dim=(-1, -2)).clamp(min=1e-6)
    return Losses(
        (heatmap * labelled).sum() / count(labelled),
        settings.offset_weight * (offset * inside).sum() / count(inside),
    )


def _heatmap_loss(logits: Tensor, gaussian: Tensor, settings: LossSettings) -> Tensor:
    """Return the loss of each heatmap, ``[N, K]``, in multiples of what a Gaussian's own cells weigh."""
    per_cell = F.binary_cross_entropy_with_logits(logits, gaussian, reduction="none")
    binary = per_cell.sum(dim=(-1, -2)) / (2 * torch.pi * settings.sigma**2)
    place = gaussian.flatten(2)
    place = place / place.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    softmax = -(place * F.log_softmax(logits.flatten(2), dim=-1)).sum(dim=-1)
    return binary + settings.softmax_weight * softmax


def cell_centres(height: int, width: int, stride: int, like: Tensor) -> Tensor:
    """Return the centres of a map's cells, x and y in network pixels: ``[2, height, width]``."""
    x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) * stride - 0.5
    y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) * stride - 0.5
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)))


def decode(maps: Maps, stride: int, calibrated: ConfidenceSpec | None = None) -> Tensor:
    """Read keypoints from maps: the best cell and its eight neighbours vote where the keypoint is.

    Each of the nine says "my centre plus my offset" with the weight of its probability, as votes are cast in Papandreou
    et al. 2017 (3.2); beyond the border there is no vote. Confidence is the probability of the best cell, or what
    ``calibrated`` makes of its logit; coordinates are the same with and without.

    Returns:
        float32 ``[N, K, 3]``: x, y in network pixels, confidence in [0, 1].
    """
    n, k, h, w = maps.heatmaps.shape
    probability = torch.sigmoid(maps.heatmaps).reshape(n, k, h * w)
    confidence, best = probability.max(dim=-1, keepdim=True)
    column, row = best % w, torch.div(best, w, rounding_mode="floor")
    step = torch.tensor([-1, 0, 1], device=best.device)
    columns = column + step.repeat(3)  # [N, K, 9]
    rows = row + step.repeat_interleave(3)
    inside = (columns >= 0) & (columns < w) & (rows >= 0) & (rows < h)
    # Not clamp(min=0): an integer Clip without an upper bound is what OpenVINO 2025.4 gets wrong, by many cells.
    first = torch.zeros_like(rows)
    index = rows.maximum(first).minimum(torch.full_like(rows, h - 1)) * w
    index = index + columns.maximum(first).minimum(torch.full_like(columns, w - 1))
    weight = probability.gather(2, index) * inside
    weight = weight / weight.sum(dim=-1, keepdim=True)
    offsets = maps.offsets.reshape(n, k, 2, h * w).gather(3, index[:, :, None].expand(n, k, 2, 9))
    cells = torch.stack((columns, rows), dim=2) + 0.5 + offsets  # in cells, from the map's corner
    place = (cells * weight[:, :, None]).sum(dim=-1) * stride - 0.5
    if calibrated is not None:
        logit = maps.heatmaps.reshape(n, k, h * w).gather(2, best)
        confidence = torch.sigmoid(logit * calibrated.scale + calibrated.offset)
    return torch.cat((place, confidence), dim=-1)
