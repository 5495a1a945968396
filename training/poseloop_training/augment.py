"""Augmentation: a random window of a frame, rotated, scaled, shifted and mirrored with its keypoints; then light, blur,
noise and occlusion by torchvision's v2 transforms.

The window is drawn by one resampling of the image with its own affine map, because torchvision 0.29's ``affine`` moves
keypoints about a centre half a pixel from the image's, which at 90 degrees is an error of a whole pixel. An image finer
than the network's input is resampled at its own resolution and then scaled as the network scales a frame: resampled
after scaling, training frames would be less sharp than those that the network is used on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

MIDDLE_GRAY = 127


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """How far augmentation goes; all angles in degrees, all lengths in parts of the window.

    Attributes:
        rotation: largest angle, either way.
        scale: least and largest zoom.
        shift: largest displacement of a frame that fits the window.
        aside: largest distance from the window's middle to a keypoint, where the frame does not fit.
        anywhere: part of those windows that are laid without regard to the animal.
        flip: mirror every second frame; needs the swap pairs.
        light: largest change of brightness and contrast, 0 to 1.
        blur, noise, occlusion: probabilities.
    """

    rotation: float = 180.0
    scale: tuple[float, float] = (0.75, 1.3)
    shift: float = 0.1
    aside: float = 0.35
    anywhere: float = 0.1
    flip: bool = True
    light: float = 0.3
    blur: float = 0.1
    noise: float = 0.2
    occlusion: float = 0.2


class Augmentation:
    """What a training frame goes through. Randomness is torch's own, so that a seeded run can be repeated."""

    def __init__(
        self, settings: AugmentSettings, window: tuple[int, int], swaps: Sequence[tuple[int, int]], channels: int
    ) -> None:
        """Prepare it.

        Args:
            settings: how far it goes.
            window: height and width of what comes out, in network pixels.
            swaps: pairs of indices of the keypoints that a mirror exchanges.
            channels: of the images: 1 or 3.
        """
        self.settings = settings
        self.window = window
        self.swaps = tuple(swaps)
        self._appearance = _appearance(settings, channels)

    def __call__(self, image: Tensor, keypoints: Tensor, fineness: int = 1) -> tuple[Tensor, Tensor]:
        """Draw one variation.

        Args:
            image: uint8 ``[C, h, w]``.
            keypoints: float32 ``[K, 2]`` in network pixels; NaN where unlabelled.
            fineness: pixels of the image a network pixel.

        Returns:
            float32 ``[C, *window]`` in grey levels, and float32 ``[K, 2]`` in its pixels, some outside; NaN where
            unlabelled.
        """
        mirrored = self.settings.flip and bool(torch.rand(()) < 0.5)
        forward = self._random_map(tuple(side / fineness for side in image.shape[-2:]), keypoints, mirrored)
        image = warp(image, forward, self.window, fineness)
        keypoints = move(keypoints, forward)
        if mirrored:
            keypoints = exchange(keypoints, self.swaps)
        return self._appearance(image.float() / 255) * 255, keypoints

    def _random_map(self, size: tuple[float, ...], keypoints: Tensor, mirrored: bool) -> Tensor:
        s = self.settings
        angle = math.radians(_uniform(-s.rotation, s.rotation))
        zoom = math.exp(_uniform(math.log(s.scale[0]), math.log(s.scale[1])))
        (h, w), (window_h, window_w) = size, self.window
        centre = torch.tensor([(w - 1) / 2, (h - 1) / 2])
        animal = keypoints[~keypoints.isnan().any(dim=-1)]
        about = animal[int(torch.randint(len(animal), ()))] if len(animal) and torch.rand(()) > s.anywhere else None
        for axis, (side, window) in enumerate(((w, window_w), (h, window_h))):
            if side * zoom <= window:
                continue
            # Where the frame doesn't fit the window, the window mostly goes where the animal is.
            if about is None:
                centre[axis] = _uniform(0, side - 1)
            else:
                centre[axis] = about[axis] + _uniform(-s.aside, s.aside) * window / zoom
        target = torch.tensor([(window_w - 1) / 2, (window_h - 1) / 2])
        target += torch.tensor([_uniform(-s.shift, s.shift) * window_w, _uniform(-s.shift, s.shift) * window_h])
        cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
        turn = torch.tensor([[cos, -sin], [sin, cos]])
        if mirrored:
            turn = turn @ torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
        return torch.cat((turn, (target - turn @ centre)[:, None]), dim=1)


def warp(image: Tensor, forward: Tensor, window: tuple[int, int], fineness: int = 1) -> Tensor:
    """Draw a uint8 image ``[C, h, w]`` through ``forward`` ``[2, 3]``, which takes network pixels to the window's.

    The image has ``fineness`` pixels a network pixel. Resampling is bilinear; what lies outside the image becomes
    middle grey. Returns uint8 ``[C, *window]``.
    """
    import cv2

    pixels = image.permute(1, 2, 0).contiguous().numpy()
    height, width = (side * fineness for side in window)
    # OpenCV's maps are between centres of pixels, as ours; it resamples several times faster than grid_sample.
    drawn = cv2.warpAffine(
        pixels,
        _of_finer_pixels(forward, fineness).numpy(),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderValue=(MIDDLE_GRAY,) * pixels.shape[2],
    )
    if fineness > 1:
        drawn = cv2.resize(drawn, window[::-1], interpolation=cv2.INTER_AREA)  # the mean of each block
    return torch.from_numpy(drawn.reshape(*window, -1)).permute(2, 0, 1)


def _of_finer_pixels(forward: Tensor, fineness: int) -> Tensor:
    """Return the map ``[2, 3]`` between pixels of which ``fineness`` make one, at the same top-left corner."""
    turn, way = forward[:, :2], forward[:, 2]
    # Centre x of a pixel lies at fineness·(x + 0.5) - 0.5 in finer ones.
    half = torch.full((2,), (fineness - 1) / 2)
    return torch.cat((turn, (fineness * way + half - turn @ half)[:, None]), dim=1)


def move(keypoints: Tensor, forward: Tensor) -> Tensor:
    """Take keypoints ``[K, 2]`` through ``forward`` ``[2, 3]``."""
    return keypoints @ forward[:, :2].T + forward[:, 2]


def exchange(keypoints: Tensor, swaps: Sequence[tuple[int, int]]) -> Tensor:
    """Exchange the keypoints ``[K, 2]`` that a mirror exchanges."""
    order = list(range(len(keypoints)))
    for left, right in swaps:
        order[left], order[right] = right, left
    return keypoints[order]


def _appearance(settings: AugmentSettings, channels: int) -> v2.Transform:
    steps: list[v2.Transform] = []
    if settings.light:
        saturation = settings.light if channels == 3 else 0
        steps.append(v2.ColorJitter(brightness=settings.light, contrast=settings.light, saturation=saturation))
    if settings.blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(5, sigma=(0.3, 1.5))], p=settings.blur))
    if settings.noise:
        steps.append(v2.RandomApply([v2.GaussianNoise(sigma=0.04)], p=settings.noise))
    if settings.occlusion:
        steps.append(v2.RandomErasing(p=settings.occlusion, scale=(0.002, 0.02), value=0.5))
    return v2.Compose([*steps, v2.Identity()])


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
