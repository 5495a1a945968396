"""The network of a model file: from bytes of a frame to keypoints in its pixels, all in one graph."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from poseloop.images import Color
from poseloop.types import ConfidenceSpec
from torch import Tensor, nn

from poseloop_training.backbone import DEFAULT_BACKBONE, Backbone, BackboneConfig
from poseloop_training.heads import KeypointHead, Maps, decode


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What decides the shape of the network and the meaning of its numbers.

    Attributes:
        keypoints: how many.
        channels: of a frame: 1 (gray) or 3 (RGB).
        input_scale: network pixels a frame pixel.
        backbone: timm's name.
        stride: network pixels a heatmap cell.
        most_stride: of the coarsest feature map that is used.
        width: channels of the feature pyramid.
    """

    keypoints: int
    channels: int = 3
    input_scale: float = 0.5
    backbone: str = DEFAULT_BACKBONE
    stride: int = 4
    most_stride: int = 16
    width: int = 64

    @property
    def color(self) -> Color:
        """Colour of the frames."""
        return "gray" if self.channels == 1 else "rgb"

    def of_backbone(self) -> BackboneConfig:
        """Return the backbone's part."""
        return BackboneConfig(self.backbone, self.channels, self.stride, self.most_stride)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for a checkpoint."""
        return asdict(self)


class PoseNetwork(nn.Module):
    """Frames in, keypoints out; training, evaluation and the exported graph are this one module.

    A pixel's centre x of the frame lies at ``(x + 0.5)·scale - 0.5`` in the network's input, since scaling keeps the
    frame's left edge, at x = -0.5, where it is.

    Attributes:
        confidence: what makes confidences probabilities; None while it is not known.
    """

    gain: Tensor
    bias: Tensor
    confidence: ConfidenceSpec | None = None

    def __init__(self, config: NetworkConfig, pretrained: bool = False) -> None:
        """Build it; ``pretrained`` fetches timm's weights of the backbone.

        Raises:
            InvalidInputError: there is no such backbone, or its weights can't be fetched.
        """
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.of_backbone(), pretrained)
        self.head = KeypointHead(self.backbone.channels, config.keypoints, config.width)
        mean = torch.tensor(self.backbone.mean).view(1, -1, 1, 1)
        std = torch.tensor(self.backbone.std).view(1, -1, 1, 1)
        # In grey levels, so that one multiplication and one addition take bytes to the network's range.
        self.register_buffer("gain", 1 / (255 * std), persistent=False)
        self.register_buffer("bias", -mean / std, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Find the animal's keypoints.

        Args:
            frames: uint8 ``[N, H, W, C]``.

        Returns:
            float32 ``[N, 1, K, 3]``: x, y in pixels of the frame, origin at the centre of its top-left pixel, and
            confidence in [0, 1].
        """
        found = decode(self.maps(self.scaled(frames)), self.config.stride, self.confidence)
        place = (found[..., :2] + 0.5) / self.config.input_scale - 0.5
        return torch.cat((place, found[..., 2:]), dim=-1).unsqueeze(1)

    def scaled(self, frames: Tensor) -> Tensor:
        """Turn uint8 ``[N, H, W, C]`` into grey levels ``[N, C, h, w]`` of the network's resolution."""
        n, h, w, c = frames.shape
        # A transposition of one channel moves nothing, and a reshape says so to the runtime.
        image = frames.reshape(n, 1, h, w) if c == 1 else frames.permute(0, 3, 1, 2)
        return resize(image.float(), self.config.input_scale)

    def maps(self, image: Tensor) -> Maps:
        """Turn grey levels ``[N, C, h, w]`` into heatmaps and offsets; the image is padded at the right and bottom."""
        image = image * self.gain + self.bias
        multiple = self.config.most_stride
        h, w = image.shape[-2:]
        image = F.pad(image, (0, -w % multiple, 0, -h % multiple))
        maps: Maps = self.head(self.backbone(image))
        return maps


def resize(image: Tensor, scale: float) -> Tensor:
    """Scale an image ``[N, C, H, W]`` about its top-left corner: by the mean of whole blocks of pixels or bilinearly.

    A scale of 1/2, 1/3 ... averages blocks, which leaves nothing out; rows that fill no block are left out, fewer than
    1/scale of them.
    """
    if scale == 1:
        return image
    block = round(1 / scale)
    if block > 1 and abs(1 / scale - block) < 1e-6:
        return F.avg_pool2d(image, block)
    return F.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False, recompute_scale_factor=False)
