"""Draws the synthetic box and the animal in it, with NumPy alone, anti-aliased, at the exact places of its keypoints.

The box is drawn once. A frame is a copy of it in which only the patch around the animal is drawn anew: the body comes
from a finely sampled texture of the straight animal, looked up along the bent spine; ears, nose, paws and tail are
drawn from their equations, which makes their centres exact. Colours are planar float32 ``(channels, height, width)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from poseloop import arena_body as body
from poseloop.arena_body import Posture, Tail

Plane = NDArray[np.float32]

# Tints have a BT.601 luma of 1, so an animal has the same brightness in grey as in colour.
_LUMA: Final = (0.299, 0.587, 0.114)
_TINTS: Final = {"fur": (1.06, 0.99, 0.90), "skin": (1.30, 0.90, 0.84), "bedding": (1.10, 1.00, 0.76)}

TEXELS_PER_PX: Final = 3
SHADOW_SHIFT_PX: Final = 0.035  # of the body length, towards the lower right
EAR_RADIUS: Final = 0.078
NOSE_RADIUS: Final = 0.023
EYES: Final = (0.365, 0.062, 0.017)  # forward, side, radius
PAWS: Final = ((0.20, 0.125), (-0.27, 0.185))  # forward, side of the front and the hind pair
PAW_RADIUS: Final = 0.032
TAIL_RADII: Final = (0.030, 0.010)  # at the base and at the tip


def tint_of(material: str, channels: int) -> NDArray[np.float32]:
    """Return a material's colour of brightness 1, float32 ``(channels, 1, 1)``."""
    if channels == 1:
        return np.ones((1, 1, 1), np.float32)
    tint = np.array(_TINTS[material])
    return np.asarray(tint / tint.dot(_LUMA), np.float32).reshape(3, 1, 1)


@dataclass(frozen=True, slots=True)
class Texture:
    """The straight animal from above, sampled `TEXELS_PER_PX` times a pixel; its border is empty.

    Attributes:
        cover: how much of the pixel the body covers, in [0, 1], ``(sides * forwards)``.
        shade: brightness of the fur relative to its mean.
        shadow: the body's outline, blurred, for the shadow it casts.
        forwards, sides: size in texels; forward runs along the rows' last axis.
        forward_origin, side_origin: texel of the middle of the body.
    """

    cover: Plane
    shade: Plane
    shadow: Plane
    forwards: int
    sides: int
    forward_origin: float
    side_origin: float


def make_texture(body_length: float, fur_contrast: float, seed: int) -> Texture:
    """Draw the straight animal. ``fur_contrast`` is the strength of its shading and grain, 0 to 1."""
    rng = np.random.default_rng([seed, 2])
    half_forward, half_side = 0.62 * body_length, 0.30 * body_length
    forwards, sides = (2 * math.ceil(half * TEXELS_PER_PX) + 1 for half in (half_forward, half_side))
    forward = ((np.arange(forwards) - forwards // 2) / TEXELS_PER_PX)[None, :]
    side = ((np.arange(sides) - sides // 2) / TEXELS_PER_PX)[:, None]
    outline = _outline(forward[0], body_length)[None, :]
    slope = np.gradient(outline[0], 1 / TEXELS_PER_PX)[None, :]
    depth = (outline - np.abs(side)) / np.sqrt(1.0 + np.minimum(slope * slope, 9.0))
    cover = np.clip(depth + 0.5, 0.0, 1.0) * (outline > 0)
    across = np.clip(np.abs(side) / np.maximum(outline, 0.5), 0.0, 1.0)
    round_back = np.sqrt(1.0 - across * across)
    grain = blurred(rng.standard_normal((sides, forwards)), 2.2 * TEXELS_PER_PX, 0.7 * TEXELS_PER_PX)
    relief = 0.55 * (round_back - 0.75) - 0.16 * np.exp(-((side / (0.035 * body_length)) ** 2)) * round_back
    shade = 1.0 + fur_contrast * (relief + 0.15 * grain / grain.std())
    for eye_side in (-EYES[1], EYES[1]):
        apart = np.hypot(forward - EYES[0] * body_length, side - eye_side * body_length)
        shade *= 1.0 - 0.8 * np.clip(EYES[2] * body_length + 0.5 - apart, 0.0, 1.0)
    shadow = blurred(cover, 0.045 * body_length * TEXELS_PER_PX, 0.045 * body_length * TEXELS_PER_PX)
    shadow[[0, -1]] = 0.0
    shadow[:, [0, -1]] = 0.0
    return Texture(_flat(cover), _flat(shade), _flat(shadow), forwards, sides, forwards // 2, sides // 2)


def _flat(layer: NDArray[np.float64]) -> Plane:
    return np.ascontiguousarray(layer, np.float32).ravel()


def _outline(forward: NDArray[np.float64], body_length: float) -> NDArray[np.float64]:
    """Half the body's width at places along the spine, in pixels; 0 beyond its ends."""
    squared = np.square(body.OUTLINE_HALF_WIDTH)
    dense = np.linspace(body.OUTLINE_FORWARD[0], body.OUTLINE_FORWARD[-1], 400)
    kernel = np.hanning(41)
    smooth = np.convolve(
        np.pad(np.interp(dense, body.OUTLINE_FORWARD, squared), 20, mode="edge"), kernel / kernel.sum(), "valid"
    )
    smooth *= np.minimum(1.0, np.minimum(dense - dense[0], dense[-1] - dense) / 0.02)
    return np.asarray(np.sqrt(np.interp(forward / body_length, dense, smooth, left=0.0, right=0.0)) * body_length)


def blurred(image: NDArray[np.float64], along: float, across: float, angle: float = 0.0) -> NDArray[np.float64]:
    """Blur with a Gaussian of these standard deviations, in pixels, ``along`` in direction ``angle`` (radians from x).

    Periodic at the borders.
    """
    y = np.fft.fftfreq(image.shape[0])[:, None]
    x = np.fft.rfftfreq(image.shape[1])[None, :]
    straight, sideways = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    transfer = np.exp(-2.0 * math.pi**2 * (np.square(along * straight) + np.square(across * sideways)))
    return np.asarray(np.fft.irfft2(np.fft.rfft2(image) * transfer, s=image.shape))


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of the animal, float32 ``(channels, 1, 1)``, and the strength of its shadow, 0 to 1."""

    fur: Plane
    ear_rim: Plane
    skin: Plane
    shadow: float

    def lit(self, light: float) -> Palette:
        """Return the palette under a relative light."""
        factor = np.float32(light)
        return Palette(self.fur * factor, self.ear_rim * factor, self.skin * factor, self.shadow)


class Patch:
    """The part of a frame that is drawn anew: float32 ``(channels, height, width)`` and where it lies in the frame."""

    def __init__(self, image: NDArray[np.uint8], left: int, top: int, right: int, bottom: int) -> None:
        self._target = image[top:bottom, left:right]
        planes = self._target[None] if image.ndim == 2 else self._target.transpose(2, 0, 1)
        self.values: Plane = planes.astype(np.float32)
        self.xs = np.arange(left, right, dtype=np.float32)
        self.ys = np.arange(top, bottom, dtype=np.float32)
        self.left, self.top = left, top

    def window(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        """Rows and columns of the patch between these places of the frame, cut at the patch's borders."""
        rows = slice(max(math.floor(top) - self.top, 0), max(math.ceil(bottom) + 1 - self.top, 0))
        columns = slice(max(math.floor(left) - self.left, 0), max(math.ceil(right) + 1 - self.left, 0))
        return rows, columns

    def blend(self, rows: slice, columns: slice, cover: Plane, color: Plane) -> None:
        """Paint ``color`` over a window where and as much as ``cover``, ``(height, width)`` in [0, 1], says."""
        part = self.values[:, rows, columns]
        part += cover * (color - part)

    def disc(self, x: float, y: float, radius: float, color: Plane, opacity: float = 1.0) -> None:
        """Paint an anti-aliased disc; its centre of mass is (x, y) to a hundredth of a pixel."""
        reach = radius + 2.0
        rows, columns = self.window(x - reach, y - reach, x + reach, y + reach)
        apart_x, apart_y = self.xs[columns] - np.float32(x), self.ys[rows] - np.float32(y)
        cover = _covered(radius, np.sqrt(apart_x * apart_x + (apart_y * apart_y)[:, None]))
        if opacity != 1.0:
            cover *= np.float32(opacity)
        self.blend(rows, columns, cover, color)

    def store(self, low: float, high: float) -> None:
        """Write the patch back into the frame, rounded, within [low, high]."""
        self.values += np.float32(0.5)
        _limit(self.values, low, high)
        whole = self.values.astype(np.uint8)
        self._target[:] = whole[0] if self._target.ndim == 2 else whole.transpose(1, 2, 0)


class AnimalPainter:
    """Draws the animal into frames.

    Args:
        body_length: snout to tail base, in pixels.
        texture: the straight animal.
        palette: its colours.
        low, high: darkest and brightest value that is written, so that noise can be added without a clip.
    """

    def __init__(self, body_length: float, texture: Texture, palette: Palette, low: float, high: float) -> None:
        self._length = body_length
        self._texture = texture
        self._palette = palette
        self._low, self._high = low, high

    def draw(self, image: NDArray[np.uint8], posture: Posture, light: float) -> None:
        """Draw the animal under a relative ``light`` into a uint8 image ``(height, width[, 3])``, in place."""
        length, palette = self._length, self._palette.lit(light)
        tail = Tail.of(posture, length)
        trunk = [posture.to_frame(f * length, s * length) for f in (-0.56, -0.3, 0.0, 0.3, 0.54) for s in (-0.22, 0.22)]
        tail_points = [tail.to_frame(posture, length, tail.reach * share / 6) for share in range(7)]
        shift = round(SHADOW_SHIFT_PX * length)
        margin = 0.05 * length + 3.0
        patch = Patch(image, *_box_around([*trunk, *tail_points], margin + shift, image.shape[1], image.shape[0]))
        body_window = patch.window(*_extent(trunk, margin))
        cover, shade, shadow = self._look_up(patch, posture, *body_window)
        self._cast_shadow(patch, shadow, shift, *body_window)
        self._draw_paws(patch, posture, palette)
        window = patch.window(*_extent(tail_points, 0.035 * length + 2.0))
        patch.blend(*window, self._tail_cover(patch, posture, tail, *window), palette.skin)
        rows, columns = body_window
        part = patch.values[:, rows, columns]
        part += cover * (shade * palette.fur - part)
        self._draw_head(patch, posture, palette)
        patch.store(self._low, self._high)

    def _look_up(self, patch: Patch, posture: Posture, rows: slice, columns: slice) -> tuple[Plane, Plane, Plane]:
        """Sample the texture along the bent spine; return cover, shade and shadow, each ``(height, width)``."""
        texture = self._texture
        forward, side = _body_coordinates(patch, posture, rows, columns)
        ahead = np.maximum(forward, 0.0)
        side -= np.float32(0.5 * posture.bend) * np.square(forward)
        side -= np.float32(0.5 * posture.head_turn) * np.square(ahead)
        scale = np.float32(TEXELS_PER_PX)
        along = forward * scale
        along += np.float32(texture.forward_origin + 0.5)
        side *= scale
        side += np.float32(texture.side_origin + 0.5)
        _limit(along, 0, texture.forwards - 1)
        _limit(side, 0, texture.sides - 1)
        places = side.astype(np.int32)
        places *= texture.forwards
        places += along.astype(np.int32)
        return texture.cover.take(places), texture.shade.take(places), texture.shadow.take(places)

    def _cast_shadow(self, patch: Patch, shadow: Plane, shift: int, rows: slice, columns: slice) -> None:
        _, height, width = patch.values.shape
        down, right = slice(rows.start + shift, height), slice(columns.start + shift, width)
        part = patch.values[:, down, right]
        shadow = shadow[: part.shape[1], : part.shape[2]]
        part = part[:, : shadow.shape[0], : shadow.shape[1]]
        part *= np.float32(1.0) - np.float32(self._palette.shadow) * shadow

    def _draw_paws(self, patch: Patch, posture: Posture, palette: Palette) -> None:
        length = self._length
        for pair, (forward, side) in enumerate(PAWS):
            for hand in (-1, 1):
                phase = posture.gait + (0.0 if (hand > 0) == (pair == 0) else math.pi)
                reach = 0.075 * posture.stride * math.cos(phase)
                x, y = posture.to_frame((forward + reach) * length, hand * side * length)
                patch.disc(x, y, PAW_RADIUS * length, palette.skin)

    def _tail_cover(self, patch: Patch, posture: Posture, tail: Tail, rows: slice, columns: slice) -> Plane:
        forward, side = _body_coordinates(patch, posture, rows, columns)
        back = np.float32(body.TAIL_BASE * self._length) - forward
        along = _limit(back.copy(), 0, tail.reach)
        bend, hook, slope = np.float32(tail.bend), np.float32(tail.hook), np.float32(tail.slope)
        side -= np.float32(tail.root) + along * (slope + along * (bend + along * hook))
        steep = slope + along * (2 * bend + 3 * hook * along)
        beyond = back - along
        apart = np.sqrt(side * side / (1.0 + steep * steep) + beyond * beyond)
        at_base, at_tip = (radius * self._length for radius in TAIL_RADII)
        radius_here = np.float32(at_base) + along * np.float32((at_tip - at_base) / tail.reach)
        return _covered(radius_here, apart)

    def _draw_head(self, patch: Patch, posture: Posture, palette: Palette) -> None:
        length = self._length
        for hand in (-1, 1):
            x, y = posture.to_frame(body.EARS[0] * length, hand * body.EARS[1] * length)
            patch.disc(x, y, EAR_RADIUS * length, palette.ear_rim)
            patch.disc(x, y, 0.72 * EAR_RADIUS * length, palette.skin, 0.6)
        patch.disc(*posture.to_frame(body.SNOUT * length, 0.0), NOSE_RADIUS * length, palette.skin)


def _body_coordinates(patch: Patch, posture: Posture, rows: slice, columns: slice) -> tuple[Plane, Plane]:
    """Forward and side of every pixel of a window, in pixels, as if the spine were straight."""
    cosine, sine = np.float32(math.cos(posture.heading)), np.float32(math.sin(posture.heading))
    x = patch.xs[columns] - np.float32(posture.x)
    y = (patch.ys[rows] - np.float32(posture.y))[:, None]
    return x * cosine + y * sine, y * cosine - x * sine


def _limit(values: Plane, low: float, high: float) -> Plane:
    """Cut to [low, high] in place; `np.clip` does the same behind 5 us of checks, as long as the work itself here."""
    np.maximum(values, np.float32(low), out=values)
    return np.minimum(values, np.float32(high), out=values)


def _covered(radius: Plane | float, apart: Plane) -> Plane:
    """How much of each pixel lies within ``radius`` of a line or point that is ``apart`` pixels from its centre.

    The edge is two pixels wide, as a lens has it: sharper ones shift a small disc's centre of mass with its phase.
    """
    share = _limit(np.asarray((radius + np.float32(1.0) - apart) * np.float32(0.5), np.float32), 0, 1)
    return share * share * (np.float32(3.0) - np.float32(2.0) * share)


def _extent(points: list[tuple[float, float]], margin: float) -> tuple[float, float, float, float]:
    xs, ys = zip(*points, strict=True)
    return min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin


def _box_around(points: list[tuple[float, float]], margin: float, width: int, height: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = _extent(points, margin)
    return (
        max(math.floor(left), 0),
        max(math.floor(top), 0),
        min(math.ceil(right) + 1, width),
        min(math.ceil(bottom) + 1, height),
    )
