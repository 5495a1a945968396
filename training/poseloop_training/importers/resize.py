"""Scaling as other programs do it, in operations that every ONNX runtime has."""

from __future__ import annotations

from typing import Any

import numpy as np
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


def resize_like_opencv(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale whole grey levels ``[N, C, H, W]`` to ``size``, height and width, as OpenCV does bytes bilinearly.

    To the last bit, since a network's answer may hang on it: weights have 11 bits, and the sums lose some on their way.
    H and W must be numbers, not tensors of a graph being traced.
    """
    top, bottom, above, below = _taps(int(image.shape[2]), size[0])
    left, right, before, after = _taps(int(image.shape[3]), size[1])
    levels = image.int()
    across = levels.index_select(3, left) * before + levels.index_select(3, right) * after
    across = torch.div(across, 16, rounding_mode="trunc")
    upper = torch.div(across.index_select(2, top) * above[:, None], 65536, rounding_mode="trunc")
    lower = torch.div(across.index_select(2, bottom) * below[:, None], 65536, rounding_mode="trunc")
    return torch.div(upper + lower + 2, 4, rounding_mode="trunc").float()


def _taps(old: int, new: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return for each new pixel of one axis its two old ones, and their weights in 2048ths."""
    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(place)
    part = place - first
    pixels = [torch.from_numpy(np.clip(first + step, 0, old - 1).astype(np.int64)) for step in (0, 1)]
    weights = [torch.from_numpy(np.rint(weight * np.float32(2048)).astype(np.int32)) for weight in (1 - part, part)]
    return pixels[0], pixels[1], weights[0], weights[1]
