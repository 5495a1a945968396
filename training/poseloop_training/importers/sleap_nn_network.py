"""sleap-nn's UNet with a head of confidence maps for one animal, built from the shapes of its weights.

Its coordinates have the origin at the centre of the top-left pixel, as SLEAP's labels do and ours: a cell j of a map
of stride s stands for x = s·j of the scaled image, which is x / scale of the frame.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from poseloop.errors import InvalidInputError
from torch import Tensor, nn

from poseloop_training.importers.decoding import ForeignMaps, peak, refine_by_mean
from poseloop_training.importers.resize import resize_smoothly

_ENCODER = re.compile(r"backbone\.encoders\.0\.encoder_stack\.\d+\.blocks\.stack0_enc(\d+)_conv(\d+)\.(weight|bias)")
_MIDDLE = re.compile(
    r"backbone\.middle_blocks\.\d+\.blocks\.stack0_enc(\d+)_middle_(?:expand|contract)_conv(\d+)\.(weight|bias)"
)
_DECODER = re.compile(
    r"backbone\.decoders\.0\.decoder_stack\.\d+\.blocks\.stack0_dec(\d+)_s\d+_to_s\d+_refine_conv(\d+)\.(weight|bias)"
)
_UPWARD = re.compile(
    r"backbone\.decoders\.0\.decoder_stack\.\d+\.blocks\.stack0_dec(\d+)_s\d+_to_s\d+_trans_conv()\.(weight|bias)"
)
_HEAD = re.compile(r"head_layers\.(0)\.SingleInstanceConfmapsHead\.(0)\.(weight|bias)")
_WINDOW = 5  # cells a side over which sleap-nn averages around the best one


class SleapNetwork(nn.Module):
    """From bytes of a frame to keypoints in its pixels.

    Attributes:
        channels: of a frame: 1 (gray) or 3 (RGB).
        stride: network pixels a cell of the confidence maps.
        max_stride: what the image's sides are padded to multiples of, at the right and at the bottom.
    """

    def __init__(self, weights: Mapping[str, Tensor], scale: float, file: Path) -> None:
        """Build the network out of its weights; ``scale`` is network pixels a frame pixel.

        Raises:
            InvalidInputError: the weights are of another architecture.
        """
        super().__init__()
        self.encoder = _blocks(weights, _ENCODER, file)
        self.middle = _blocks(weights, _MIDDLE, file)
        self.decoder = _blocks(weights, _DECODER, file)
        self.upward = _upward(weights, file)
        head = _blocks(weights, _HEAD, file)
        known = (_ENCODER, _MIDDLE, _DECODER, _UPWARD, _HEAD)
        other = next((name for name in weights if not any(kind.fullmatch(name) for kind in known)), None)
        if other is not None or not len(self.encoder) or not len(head) or len(self.decoder) > len(self.encoder):
            raise InvalidInputError(
                f"{file.name}: the network can't be imported, for it is no plain UNet for one animal "
                f"({other or 'layers are missing'}); what can be: sleap-nn's unet of one stack and no stem."
            )
        self.head = head[0]
        self.scale = scale
        self.max_stride = 2 ** len(self.encoder)
        self.stride = 2 ** (len(self.encoder) - len(self.decoder))
        self.channels, self.keypoints = _first(self.encoder[0]).in_channels, _first(self.head).out_channels
        self._fits(file)

    def forward(self, frames: Tensor) -> Tensor:
        """Turn uint8 ``[N, H, W, C]`` into float32 ``[N, 1, K, 3]``: x, y in pixels of the frame, and confidence."""
        heatmaps = self.maps(self.scaled(frames)).heatmaps
        best = peak(heatmaps)
        place = refine_by_mean(heatmaps, best, _WINDOW) * (self.stride / self.scale)
        return torch.cat((place, best.value.clamp(0.0, 1.0)), dim=2).unsqueeze(1)

    def scaled(self, frames: Tensor) -> Tensor:
        """Turn frames into whole grey levels ``[N, C, h, w]`` of the network's resolution."""
        image = frames.permute(0, 3, 1, 2).float()
        return image if self.scale == 1 else (resize_smoothly(image, self.scale) + 0.5).floor()

    def maps(self, image: Tensor) -> ForeignMaps:
        """Turn grey levels into confidence maps, over the whole padded image."""
        h, w = image.shape[-2:]
        x = F.pad(image / 255, (0, -w % self.max_stride, 0, -h % self.max_stride))
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2, 2)
        for block in self.middle:
            x = block(x)
        for number, (block, skip) in enumerate(zip(self.decoder, reversed(skips), strict=False)):
            x = self.upward[number](x) if len(self.upward) else _interpolated(x)
            x = block(torch.cat((skip, x), dim=1))
        return ForeignMaps(self.head(x))

    def _fits(self, file: Path) -> None:
        """Refuse weights whose shapes don't fit together, by running a small image."""
        try:
            with torch.inference_mode():
                self.maps(torch.zeros(1, self.channels, self.max_stride, self.max_stride))
        except (RuntimeError, IndexError):
            raise InvalidInputError(
                f"{file.name}: the shapes of its layers do not fit together; give the checkpoint that sleap-nn wrote."
            ) from None


def _blocks(weights: Mapping[str, Tensor], pattern: re.Pattern[str], file: Path) -> nn.ModuleList:
    """Return the convolutions that match, grouped by the first number in their names, all with ReLU but the head's."""
    found: dict[int, dict[int, dict[str, Tensor]]] = {}
    for name, tensor in weights.items():
        match = pattern.fullmatch(name)
        if match is not None:
            found.setdefault(int(match[1]), {}).setdefault(int(match[2]), {})[match[3]] = tensor
    blocks = []
    for _, layers in sorted(found.items()):
        steps: list[nn.Module] = []
        for _, tensors in sorted(layers.items()):
            steps.append(_convolution(tensors, file))
            steps += [] if pattern is _HEAD else [nn.ReLU()]
        blocks.append(nn.Sequential(*steps))
    return nn.ModuleList(blocks)


def _upward(weights: Mapping[str, Tensor], file: Path) -> nn.ModuleList:
    """Return the transposed convolutions that double a map, one a block of the decoder; none where it interpolates."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        match = _UPWARD.fullmatch(name)
        if match is not None:
            found.setdefault(int(match[1]), {})[match[3]] = tensor
    blocks = []
    for _, tensors in sorted(found.items()):
        weight, bias = tensors.get("weight"), tensors.get("bias")
        if weight is None or bias is None or weight.shape[2:] != (3, 3) or bias.shape != weight.shape[1:2]:
            raise InvalidInputError(
                f"{file.name}: a transposed convolution is not one of 3x3; copy the checkpoint again."
            )
        layer = nn.ConvTranspose2d(weight.shape[0], weight.shape[1], 3, stride=2, padding=1, output_padding=1)
        layer.weight.data, layer.bias = weight, nn.Parameter(bias)
        blocks.append(nn.Sequential(layer, nn.ReLU()))
    return nn.ModuleList(blocks)


def _interpolated(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _convolution(tensors: Mapping[str, Tensor], file: Path) -> nn.Conv2d:
    weight, bias = tensors.get("weight"), tensors.get("bias")
    if weight is None or bias is None or weight.ndim != 4 or bias.shape != weight.shape[:1]:
        raise InvalidInputError(f"{file.name}: a convolution lacks its weight or bias; copy the checkpoint again.")
    outputs, inputs, height, width = weight.shape
    layer = nn.Conv2d(inputs, outputs, (height, width), padding="same")
    layer.weight.data, layer.bias = weight, nn.Parameter(bias)
    return layer


def _first(block: nn.Module) -> nn.Conv2d:
    return next(module for module in block.modules() if isinstance(module, nn.Conv2d))
