"""Scaling with antialiasing, as torchvision and Pillow do it, in operations that every ONNX runtime has."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_smoothly(image: Tensor, scale: float) -> Tensor:
    """Make an image ``[N, C, H, W]`` smaller: each new pixel is the mean of those around it under a triangle.

    The triangle reaches one new pixel to each side; what lies outside the image has no weight. An image that gets
    larger is interpolated bilinearly.
    """
    if scale == 1:
        return image
    if scale > 1:
        return F.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)
    block = round(1 / scale)
    if abs(1 / scale - block) < 1e-6:
        return _by_blocks(image, block)
    rows, columns = _weights(image.shape[2], scale), _weights(image.shape[3], scale)
    return rows @ image @ columns.T


def _by_blocks(image: Tensor, block: int) -> Tensor:
    """Return one pixel for each whole block: their weights are the same everywhere, so a convolution does it."""
    channels = int(image.shape[1])
    h, w = image.shape[2:]
    image = image[:, :, : h - h % block, : w - w % block]
    place = torch.arange(2 * block - block % 2, dtype=torch.float32) - block // 2
    line = 1 - (place - (block - 1) / 2).abs() / block
    kernel = torch.outer(line, line).expand(channels, 1, -1, -1)
    summed = F.conv2d(image, kernel, stride=block, padding=block // 2, groups=channels)
    inside_y = F.conv1d(torch.ones_like(image[:1, :1, :, 0]), line.view(1, 1, -1), stride=block, padding=block // 2)
    inside_x = F.conv1d(torch.ones_like(image[:1, :1, 0]), line.view(1, 1, -1), stride=block, padding=block // 2)
    return summed / (inside_y[..., None] * inside_x[:, :, None])


def _weights(size: int, scale: float) -> Tensor:
    """Return how much each old pixel of one axis counts in each new one, ``[new, old]``."""
    # A tensor while the graph is being traced, a number otherwise.
    old: Any = torch.as_tensor(size)
    new = (old * scale).floor().long()
    ratio = new / old
    centres = (torch.arange(new) + 0.5)[:, None]
    weight = (1 - ((torch.arange(old) + 0.5) * ratio - centres).abs()).clamp(min=0.0)
    normalised: Tensor = weight / weight.sum(dim=1, keepdim=True)
    return normalised
