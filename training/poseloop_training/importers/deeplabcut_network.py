"""DeepLabCut 3's networks with HeatmapHead and HeatmapPredictor, from bytes of a frame to keypoints in its pixels.

Its coordinates are those of its labels, integers at the centres of pixels, which is our origin: the offset maps were
trained from ``stride·(cell + 1/2)`` to the label, so what is decoded by the same rule needs no shift.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torch.nn.functional as F
from poseloop.errors import InvalidInputError
from torch import Tensor, nn

from poseloop_training.importers import cspnext
from poseloop_training.importers.decoding import ForeignMaps, at_peak, peak
from poseloop_training.importers.deeplabcut_config import DECODABLE, BackboneConfig, DeepLabCutConfig, MapsConfig
from poseloop_training.importers.resize import resize_like_opencv

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HRNET_STRIDE, _HRNET_MULTIPLE = 4, 32


@dataclass(frozen=True, slots=True)
class Box:
    """Where the animal is, in pixels of the frame: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float


class DeepLabCutNetwork(nn.Module):
    """A bottom-up network sees the whole frame; a top-down one sees one box of it, which the graph cuts out.

    Attributes:
        stride: network pixels a heatmap cell.
    """

    gain: Tensor
    bias: Tensor

    def __init__(self, config: DeepLabCutConfig, box: Box | None = None) -> None:
        """Build it; ``box`` is needed by a top-down network and by no other.

        Raises:
            InvalidInputError: its backbone is none that we know, or ``box`` is missing.
        """
        super().__init__()
        self.backbone, backbone_stride, channels = _backbone(config)
        head = config.head
        self.heatmap_head = _maps(head.heatmap_config, channels, config)
        refines = head.predictor.location_refinement and head.locref_config is not None
        self.locref_head = _maps(head.locref_config, channels, config) if refines and head.locref_config else None
        self.predictor = head.predictor
        self.keypoints = len(config.keypoints)
        self.stride = _stride(backbone_stride, head.heatmap_config, config)
        self.flips_color = config.data.colormode == "BGR"
        self.multiples = _multiples(config)
        self.crop = _Crop(config, box) if config.method == "td" else None
        normalises, unit = config.data.inference.normalize_images, config.data.inference.scale_to_unit_range
        std = torch.tensor(_STD if normalises else (1.0,) * 3).view(1, 3, 1, 1)
        mean = torch.tensor(_MEAN if normalises else (0.0,) * 3).view(1, 3, 1, 1)
        self.register_buffer("gain", 1 / ((255 if normalises or unit else 1) * std), persistent=False)
        self.register_buffer("bias", -mean / std, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Turn uint8 ``[N, H, W, 3]`` into float32 ``[N, 1, K, 3]``: x, y in pixels of the frame, and confidence."""
        maps = self.maps(self.scaled(frames))
        best = peak(maps.heatmaps)
        place = torch.cat((best.column, best.row), dim=2) * self.stride + 0.5 * self.stride
        if maps.offsets is not None:
            place = place + at_peak(maps.offsets, best) * self.predictor.locref_std
        if self.crop is not None:
            place = self.crop.to_frame(place)
        # Scores that are not clipped are no probabilities; ours lie in [0, 1] whatever the configuration says.
        return torch.cat((place, best.value.clamp(0.0, 1.0)), dim=2).unsqueeze(1)

    def scaled(self, frames: Tensor) -> Tensor:
        """Turn frames into grey levels ``[N, 3, h, w]``: all of them, or the box at the network's resolution."""
        image = frames.permute(0, 3, 1, 2).float()
        return image if self.crop is None else self.crop.cut(image)

    def maps(self, image: Tensor) -> ForeignMaps:
        """Turn grey levels into heatmaps, and offsets in units of ``locref_std``; the image is padded by reflection."""
        if self.flips_color:
            image = image.flip(1)
        image = image * self.gain + self.bias
        if self.multiples != (1, 1):
            h, w = image.shape[-2:]
            image = F.pad(image, (0, -w % self.multiples[1], 0, -h % self.multiples[0]), mode="reflect")
        features = self.backbone(image)
        heatmaps = self.heatmap_head(features)
        if self.predictor.apply_sigmoid:
            heatmaps = torch.sigmoid(heatmaps)
        if self.locref_head is None:
            return ForeignMaps(heatmaps)
        return ForeignMaps(heatmaps, self.locref_head(features).unflatten(1, (self.keypoints, 2)))


class _ResNet(nn.Module):
    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        model: Any = timm.create_model(name, pretrained=False, num_classes=0, output_stride=output_stride)
        self.model = model
        self.channels: int = model.num_features

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.model.forward_features(image)
        return features


class _HRNet(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        options: Any = {"features_only": True, "feature_location": "", "out_indices": (1, 2, 3, 4)}
        model: Any = timm.create_model(name, pretrained=False, **options)
        self.model = model
        self.channels: int = model.stage4_cfg["num_channels"][0]

    def forward(self, image: Tensor) -> Tensor:
        finest: Tensor = self.model(image)[0]
        return finest


class _Maps(nn.Module):
    """Transposed convolutions with ReLU between them, then perhaps a convolution; none of them pads."""

    def __init__(self, config: MapsConfig) -> None:
        super().__init__()
        steps = list(zip(config.channels, config.channels[1:], config.kernel_size, config.strides, strict=False))
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride in steps:
            layers += [nn.ReLU()] if layers else []
            layers.append(nn.ConvTranspose2d(inputs, outputs, kernel, stride))
        self.deconv_layers = nn.Sequential(*layers)
        last = config.final_conv
        self.final_conv = nn.Conv2d(config.channels[-1], last.out_channels, last.kernel_size) if last else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        maps: Tensor = self.final_conv(self.deconv_layers(features))
        return maps


class _Crop:
    """The box, grown to the network's proportions, and the network's image of it."""

    def __init__(self, config: DeepLabCutConfig, box: Box | None) -> None:
        size = config.data.inference.top_down_crop
        if box is None or size is None:
            raise InvalidInputError(
                f"the DeepLabCut network {config.net_type} works top-down and looks at one box of the frame; say where "
                "the animal is with --box X,Y,WIDTH,HEIGHT in pixels."
            )
        proportion = size.width / size.height
        width, height = max(box.width, box.height * proportion), max(box.height, box.width / proportion)
        # Python's rounding to even, which is DeepLabCut's here too.
        self.left, self.right = (round(box.x + box.width / 2 + half * width / 2) for half in (-1, 1))
        self.top, self.bottom = (round(box.y + box.height / 2 + half * height / 2) for half in (-1, 1))
        self.size = (size.height, size.width)

    def cut(self, image: Tensor) -> Tensor:
        """Return the box as OpenCV scales it, black where it is outside the frame."""
        width, height = self.right - self.left, self.bottom - self.top
        before_x, before_y = max(-self.left, 0), max(-self.top, 0)
        image = image[:, :, max(self.top, 0) : max(self.bottom, 0), max(self.left, 0) : max(self.right, 0)]
        h, w = image.shape[-2:]
        image = F.pad(image, (before_x, width - before_x - w, before_y, height - before_y - h))
        # Its size is a number; what has been traced so far does not know that.
        return resize_like_opencv(image.reshape(-1, 3, height, width), self.size)

    def to_frame(self, place: Tensor) -> Tensor:
        """Turn x, y of the network's image into pixels of the frame."""
        scale = ((self.right - self.left) / self.size[1], (self.bottom - self.top) / self.size[0])
        return place * place.new_tensor(scale) + place.new_tensor((float(self.left), float(self.top)))


def _backbone(config: DeepLabCutConfig) -> tuple[nn.Module, int, int]:
    """Return the backbone, its stride and its channels."""
    backbone: BackboneConfig = config.model.backbone
    if backbone.type == "CSPNeXt":
        network = cspnext.CSPNeXt(backbone.deepen_factor, backbone.widen_factor)
        return network, cspnext.STRIDE, network.channels
    pattern = r"resnet\d+\w*" if backbone.type == "ResNet" else r"hrnet_w\d+"
    if not re.fullmatch(pattern, backbone.model_name) or not timm.is_model(backbone.model_name):
        raise InvalidInputError(
            f"the DeepLabCut network {config.net_type} can't be imported: no network is known by the name "
            f"{backbone.model_name!r}; what can be: {DECODABLE}."
        )
    if backbone.type == "ResNet":
        residual = _ResNet(backbone.model_name, backbone.output_stride)
        return residual, backbone.output_stride, residual.channels
    high_resolution = _HRNet(backbone.model_name)
    return high_resolution, _HRNET_STRIDE, high_resolution.channels


def _maps(config: MapsConfig, channels: int, whole: DeepLabCutConfig) -> _Maps:
    if config.channels[0] != channels:
        raise InvalidInputError(
            f"the head of the DeepLabCut network {whole.net_type} takes {config.channels[0]} channels and its backbone "
            f"{whole.model.backbone.model_name or whole.model.backbone.type} gives {channels}; restore the file."
        )
    return _Maps(config)


def _stride(backbone_stride: int, head: MapsConfig, config: DeepLabCutConfig) -> int:
    up = 1
    for stride in head.strides:
        up *= stride
    if backbone_stride % up:
        raise InvalidInputError(
            f"the DeepLabCut network {config.net_type} can't be imported: its head enlarges {up} times what its "
            f"backbone reduced {backbone_stride} times; restore pytorch_config.yaml."
        )
    return backbone_stride // up


def _multiples(config: DeepLabCutConfig) -> tuple[int, int]:
    """Return what height and width are padded to multiples of."""
    padding, least = config.data.inference.auto_padding, 1
    if config.model.backbone.type == "HRNet" and config.method == "bu":
        least = _HRNET_MULTIPLE  # its branches only fit together on such sizes
    if padding is None:
        return least, least
    return padding.pad_height_divisor or least, padding.pad_width_divisor or least
