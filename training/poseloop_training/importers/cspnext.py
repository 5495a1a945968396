"""CSPNeXt (Lyu et al. 2022, RTMDet, section 3.1), with the names that DeepLabCut's and MMDetection's weights have."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Channels into and out of a stage, its blocks, whether a block adds its input, whether pooling comes first.
_STAGES = (
    (64, 128, 3, True, False),
    (128, 256, 6, True, False),
    (256, 512, 6, True, False),
    (512, 1024, 3, False, True),
)
STRIDE = 32
_POOLS = (5, 9, 13)


class CSPNeXt(nn.Module):
    """The backbone's last feature map, of stride 32.

    Attributes:
        channels: of that map.
    """

    def __init__(self, deepen: float, widen: float) -> None:
        """Build it with ``deepen`` times the blocks and ``widen`` times the channels."""
        super().__init__()
        first = int(64 * widen)
        self.stem = nn.Sequential(
            _Conv(3, first // 2, 3, stride=2),
            _Conv(first // 2, first // 2, 3),
            _Conv(first // 2, first, 3),
        )
        for number, (inputs, outputs, blocks, adds, pools) in enumerate(_STAGES, 1):
            narrow, wide = int(inputs * widen), int(outputs * widen)
            layers: list[nn.Module] = [_Conv(narrow, wide, 3, stride=2)]
            layers += [_PyramidPooling(wide)] if pools else []
            layers.append(_CrossStage(wide, max(round(blocks * deepen), 1), adds))
            self.add_module(f"stage{number}", nn.Sequential(*layers))
        self.channels = int(_STAGES[-1][1] * widen)

    def forward(self, x: Tensor) -> Tensor:
        """Turn an image ``[N, 3, H, W]`` into features ``[N, channels, H/32, W/32]``, rounded up."""
        for layer in self.children():
            x = layer(x)
        return x


class _Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.norm(self.conv(x)))
        return y


class _Separable(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.depthwise_conv = _Conv(channels, channels, kernel, groups=channels)
        self.pointwise_conv = _Conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise_conv(self.depthwise_conv(x))
        return y


class _Block(nn.Module):
    def __init__(self, channels: int, adds: bool) -> None:
        super().__init__()
        self.conv1 = _Conv(channels, channels, 3)
        self.conv2 = _Separable(channels, 5)
        self.adds = adds

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return y + x if self.adds else y


class _Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * nn.functional.hardsigmoid(self.fc(x.mean(dim=(2, 3), keepdim=True)))


class _CrossStage(nn.Module):
    def __init__(self, channels: int, blocks: int, adds: bool) -> None:
        super().__init__()
        half = channels // 2
        self.main_conv = _Conv(channels, half, 1)
        self.short_conv = _Conv(channels, half, 1)
        self.final_conv = _Conv(2 * half, channels, 1)
        self.blocks = nn.Sequential(*(_Block(half, adds) for _ in range(blocks)))
        self.attention = _Attention(2 * half)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat((self.blocks(self.main_conv(x)), self.short_conv(x)), dim=1)
        y: Tensor = self.final_conv(self.attention(both))
        return y


class _PyramidPooling(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _Conv(channels, channels // 2, 1)
        self.conv2 = _Conv(channels // 2 * (1 + len(_POOLS)), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        pooled = [nn.functional.max_pool2d(x, size, 1, size // 2) for size in _POOLS]
        y: Tensor = self.conv2(torch.cat((x, *pooled), dim=1))
        return y
