"""What stands before and after a foreign ONNX network in its model file: its image, and its coordinates."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poseloop_training.importers.decoding import at_peak, peak, refine_by_mean, refine_by_quarter, sum_around
from poseloop_training.importers.onnx_config import DecodeConfig, InputConfig


class Before(nn.Module):
    """Frames become the network's image, and the geometry says how its pixels lie in the frame."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: InputConfig, dtype: torch.dtype) -> None:
        """Build it for a network that takes images of ``dtype``."""
        super().__init__()
        self.config, self.dtype = config, dtype
        self.register_buffer("mean", torch.tensor(config.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, -1, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Turn uint8 ``[N, H, W, C]`` into an image and its geometry ``[4]``.

        A network pixel (x, y) lies at ``(x, y) · geometry[:2] + geometry[2:]`` of the frame.
        """
        image = frames.permute(0, 3, 1, 2).float()
        if self.config.size is None:
            geometry = torch.tensor([1.0, 1.0, 0.0, 0.0])
            multiple = self.config.multiple
            h, w = image.shape[-2:]
            image = F.pad(image, (0, -w % multiple, 0, -h % multiple), value=self._fill) if multiple > 1 else image
        else:
            window = self._window(image)
            image = self._sampled(image, _placed(window, self.config.sampling))
            geometry = _placed(window, self.config.mapping or self.config.sampling)
        if self.config.color == "bgr":
            image = image.flip(1)
        image = ((image - self.mean) / self.std).to(self.dtype)
        return (image.permute(0, 2, 3, 1) if self.config.layout == "nhwc" else image), geometry

    @property
    def _fill(self) -> float:
        return 0.0 if self.config.fill == "edge" else float(self.config.fill)

    def _window(self, image: Tensor) -> Tensor:
        """Return ``[4]``: frame pixels a network pixel, and the left and upper edge of what the network sees."""
        size: Any = self.config.size
        wanted = torch.tensor([float(side) for side in size])
        if self.config.box is None:
            # Tensors while the graph is being traced, numbers otherwise.
            sides: tuple[Any, Any] = (image.shape[3], image.shape[2])
            extent = torch.stack([torch.as_tensor(side) for side in sides]).float()
            corner = torch.zeros(2)
        else:
            corner, extent = torch.tensor(self.config.box[:2]), torch.tensor(self.config.box[2:])
        centre = corner + extent / 2
        extent = extent * self.config.box_padding
        scale = extent / wanted
        if self.config.fit == "letterbox":
            scale = scale.max().expand(2)
        left_top = centre - wanted * scale / 2 if self.config.anchor == "center" else centre - extent / 2
        return torch.cat((scale, left_top))

    def _sampled(self, image: Tensor, placed: Tensor) -> Tensor:
        """Return the network's image, in whole grey levels as programs that resize bytes give them."""
        size: Any = self.config.size
        h, w = image.shape[-2:]
        x = torch.arange(size[0]) * placed[0] + placed[2]
        y = torch.arange(size[1]) * placed[1] + placed[3]
        # grid_sample counts from the edges, -1 to 1.
        across, down = (x + 0.5) * 2 / w - 1, (y + 0.5) * 2 / h - 1
        grid = torch.stack((across.expand(size[1], -1), down[:, None].expand(-1, size[0])), dim=2)
        grid = grid[None] + torch.zeros_like(image[:, :1, :1, :1])
        kind = self.config.interpolation
        sampled = F.grid_sample(image, grid, mode=kind, padding_mode="border", align_corners=False)
        sampled = (sampled.clamp(0.0, 255.0) + 0.5).floor()
        if self.config.fill != "edge":
            inside = ((x >= -0.5) & (x < w - 0.5)) & ((y >= -0.5) & (y < h - 0.5))[:, None]
            sampled = torch.where(inside, sampled, torch.full_like(sampled, self._fill))
        return sampled


class After(nn.Module):
    """The network's outputs become keypoints in pixels of the frame."""

    def __init__(self, config: DecodeConfig, keypoints: int) -> None:
        """Build it for so many keypoints."""
        super().__init__()
        self.config, self.keypoints = config, keypoints

    def forward(self, first: Tensor, second: Tensor, geometry: Tensor) -> Tensor:
        """Decode ``[N, 1, K, 3]``.

        Args:
            first: heatmaps, or the scores along x of SimCC ``[N, K, X]``.
            second: offsets, or the scores along y; the heatmaps again where there is no second output.
            geometry: as `Before` gives it.
        """
        found = self._simcc(first, second) if self.config.kind == "simcc" else self._heatmap(first, second)
        place = found[..., :2] * geometry[:2] + geometry[2:]
        return torch.cat((place, found[..., 2:].clamp(0.0, 1.0)), dim=2).unsqueeze(1)

    def clearness(self, first: Tensor, second: Tensor) -> Tensor:
        """Return heatmaps ``[N, K, h, w]``, or what stands for them: of two equal cells either may be the best."""
        if self.config.kind != "simcc":
            return self._activated(first)
        gaps = []
        for scores in (first, second):
            best = scores.float().topk(2, dim=2).values
            gaps.append(best[..., 0] - best[..., 1])
        gap = torch.minimum(*gaps)
        return torch.stack((torch.zeros_like(gap), -gap), dim=2).unsqueeze(2)

    def _heatmap(self, first: Tensor, second: Tensor) -> Tensor:
        """Return x, y in network pixels and the score, ``[N, K, 3]``."""
        config = self.config
        stride, heatmaps = float(config.stride or 1), self._activated(first)
        if config.refine == "softmax":
            cells, score = self._soft(heatmaps)
            return torch.cat((cells * stride + config.first(), score), dim=2)
        best = peak(heatmaps)
        cells = torch.cat((best.column, best.row), dim=2).float()
        if config.refine == "mean":
            cells = refine_by_mean(heatmaps, best, config.window)
        elif config.refine == "quarter":
            cells = refine_by_quarter(heatmaps, best)
        place = cells * stride + config.first()
        if config.kind == "heatmap_offset":
            offsets, k = self._channels_first(second), self.keypoints
            n, _, h, w = offsets.shape
            if config.offset_order == "pairs":
                pairs = offsets.reshape(n, k, 2, h, w)
            else:
                pairs = offsets.reshape(n, 2, k, h, w).transpose(1, 2)
            place = place + at_peak(pairs, best) * config.offset_unit
        return torch.cat((place, best.value), dim=2)

    def _soft(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean place under a softmax, and the part of the softmax that lies in the window around it.

        With upsampling this is Lightning Pose's rule: the maps are doubled so many times, smoothed each time.
        """
        for _ in range(self.config.upsampling):
            heatmaps = doubled(heatmaps)
        n, k, h, w = heatmaps.shape
        soft = torch.softmax(heatmaps.reshape(n, k, h * w) * self.config.temperature, dim=2).reshape(n, k, h, w)
        x = (soft.sum(dim=2) * torch.arange(w)).sum(dim=2, keepdim=True)
        y = (soft.sum(dim=3) * torch.arange(h)).sum(dim=2, keepdim=True)
        place = torch.cat((x, y), dim=2)
        score = sum_around(soft, x.long(), y.long(), self.config.window)
        return place / 2**self.config.upsampling, score

    def _simcc(self, first: Tensor, second: Tensor) -> Tensor:
        places, scores = [], []
        for axis in (first.float(), second.float()):
            if self.config.activation == "softmax":
                axis = torch.softmax(axis * self.config.temperature, dim=2)
            elif self.config.activation == "sigmoid":
                axis = torch.sigmoid(axis)
            scores.append(axis.amax(dim=2, keepdim=True))
            places.append(axis.argmax(dim=2, keepdim=True) / self.config.split + self.config.first())
        return torch.cat((*places, torch.minimum(*scores)), dim=2)

    def _activated(self, maps: Tensor) -> Tensor:
        maps = self._channels_first(maps)
        if self.config.activation == "sigmoid":
            return torch.sigmoid(maps)
        if self.config.activation == "softmax":
            n, k, h, w = maps.shape
            flat = maps.reshape(n, k, h * w) * self.config.temperature
            return torch.softmax(flat, dim=2).reshape(n, k, h, w)
        return maps

    def _channels_first(self, maps: Tensor) -> Tensor:
        return (maps.permute(0, 3, 1, 2) if self.config.layout == "nhwc" else maps).float()


def doubled(maps: Tensor) -> Tensor:
    """Double maps ``[N, K, h, w]`` bicubically and smooth them with the binomial filter of five taps."""
    channels = int(maps.shape[1])
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = torch.outer(line, line).expand(channels, 1, -1, -1)
    maps = F.interpolate(maps, scale_factor=2.0, mode="bicubic", align_corners=False)
    return F.conv2d(maps, kernel, padding=2, groups=channels)


def _placed(window: Tensor, convention: str) -> Tensor:
    """Return scale and place of the first network pixel's centre, from the scale and the window's edges.

    By edges, the outer edges of both images lie on each other, as in OpenCV's resize; by pixels, the centres of their
    first pixels do, as in an affine warp whose matrix was made for coordinates of pixels.
    """
    scale, corner = window[:2], window[2:]
    return torch.cat((scale, corner + 0.5 * scale - 0.5 if convention == "edges" else corner))
