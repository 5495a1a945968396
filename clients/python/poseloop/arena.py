"""A synthetic arena: a mouse-like animal walking in a box, with keypoints known to a hundredth of a pixel.

It is a camera where there is none: for the demo, for tests and for measurements. Frames are found by their index, in
any order, and are the same in every process, so whoever receives a pose can compute the truth from its sequence::

    arena = Arena(ArenaSettings(width=640, height=480, frames_per_second=60, seed=1))
    image = arena.frame(120)  # uint8 (480, 640)
    truth = arena.keypoints(120)  # float32 (7, 2)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from poseloop import arena_body
from poseloop.arena_box import Light, SensorNoise, draw_box
from poseloop.arena_motion import Motion
from poseloop.arena_paint import AnimalPainter, Palette, make_texture, tint_of
from poseloop.errors import InvalidInputError
from poseloop.images import Color

BODY_LENGTH: Final = 0.20  # of the frame's shorter side, where animal_size is 1

_RANGES: Final[dict[str, tuple[float, float]]] = {
    "width": (64, 8192),
    "height": (64, 8192),
    "frames_per_second": (0.1, 10_000),
    "seed": (0, 2**32 - 1),
    "animal_size": (0.4, 1.6),
    "body_brightness": (10, 245),
    "skin_brightness": (10, 245),
    "fur_contrast": (0, 1),
    "background_brightness": (20, 235),
    "background_contrast": (0, 1),
    "lighting": (0, 1),
    "shadow": (0, 1),
    "noise": (0, 12),
}


@dataclass(frozen=True, slots=True)
class ArenaSettings:
    """What an arena looks like and how fast it is filmed.

    Attributes:
        width, height: of the frames, in pixels.
        frames_per_second: how far the animal gets between two frames.
        seed: decides the walk, the bedding, the light and the noise.
        color: ``"gray"`` or ``"rgb"``.
        animal_size: 1 is an animal of a fifth of the frame's shorter side, snout to tail base.
        body_brightness, skin_brightness: of the fur, and of nose, ears, paws and tail, in grey levels.
        fur_contrast: strength of the fur's shading and grain, 0 to 1.
        background_brightness: mean of the bedding, in grey levels.
        background_contrast: strength of the bedding's texture, 0 to 1.
        lighting: unevenness of the light, 0 to 1.
        shadow: strength of the animal's shadow, 0 to 1.
        noise: standard deviation of the camera's noise, in grey levels.

    Raises:
        InvalidInputError: a value is out of its range.
    """

    width: int = 640
    height: int = 480
    frames_per_second: float = 60.0
    seed: int = 0
    color: Color = "gray"
    animal_size: float = 1.0
    body_brightness: float = 62.0
    skin_brightness: float = 116.0
    fur_contrast: float = 0.7
    background_brightness: float = 172.0
    background_contrast: float = 0.6
    lighting: float = 0.3
    shadow: float = 0.4
    noise: float = 3.0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidInputError(f"the arena's {name} must lie between {low:g} and {high:g}, not be {value:g}")
        if self.color not in ("gray", "rgb"):
            raise InvalidInputError(f'the arena\'s color must be "gray" or "rgb", not {self.color!r}')


class Arena:
    """Frames and true keypoints of a synthetic recording without end.

    Attributes:
        settings: as given.
        keypoint_names: of the animal, in the order of `keypoints`.
        skeleton: edges, by keypoint name.
        swap_pairs: keypoints that a mirror exchanges.
        body_length_px: snout to tail base of the straight animal.
        period_s: after this time the walk begins anew.
    """

    keypoint_names: Final = arena_body.KEYPOINTS
    skeleton: Final = arena_body.SKELETON
    swap_pairs: Final = arena_body.SWAP_PAIRS

    def __init__(self, settings: ArenaSettings | None = None) -> None:
        self.settings = chosen = settings or ArenaSettings()
        self.body_length_px = BODY_LENGTH * min(chosen.width, chosen.height) * chosen.animal_size
        self._motion = Motion(chosen.width, chosen.height, self.body_length_px, chosen.seed)
        self.period_s = self._motion.period_s
        channels = 1 if chosen.color == "gray" else 3
        shape = (chosen.height, chosen.width) if channels == 1 else (chosen.height, chosen.width, 3)
        self._noise = SensorNoise(shape, chosen.noise, chosen.seed)
        low, high = float(self._noise.largest), 255.0 - self._noise.largest
        self._light = Light.of(chosen.width, chosen.height, chosen.lighting, chosen.seed)
        bedding = tint_of("bedding", channels) * np.float32(chosen.background_brightness)
        box = draw_box(chosen.width, chosen.height, bedding, chosen.background_contrast, self._light, chosen.seed)
        self._box = np.ascontiguousarray(np.clip(box + 0.5, low, high).astype(np.uint8).transpose(1, 2, 0)).reshape(
            shape
        )
        texture = make_texture(self.body_length_px, chosen.fur_contrast, chosen.seed)
        palette = Palette(
            fur=tint_of("fur", channels) * np.float32(chosen.body_brightness),
            ear_rim=tint_of("fur", channels) * np.float32(0.85 * chosen.body_brightness),
            skin=tint_of("skin", channels) * np.float32(chosen.skin_brightness),
            shadow=chosen.shadow,
        )
        self._painter = AnimalPainter(self.body_length_px, texture, palette, low, high)

    def keypoints(self, index: int) -> NDArray[np.float32]:
        """Return the truth of one frame as float32 ``(keypoints, 2)``: x, y, always inside the frame.

        In pixels of the frame, origin at the centre of the top-left pixel. The snout is the centre of the nose, an ear
        its centre, the tail tip the middle of the tail's round end.
        """
        return arena_body.keypoints_of(self._posture(index), self.body_length_px).astype(np.float32)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Draw one frame, uint8 ``(height, width)`` or ``(height, width, 3)`` RGB; the caller may change it."""
        image = self._box.copy()
        posture = self._posture(index)
        self._painter.draw(image, posture, float(self._light.at(posture.x, posture.y)))
        self._noise.add(image, index)
        return image

    def _posture(self, index: int) -> arena_body.Posture:
        if index < 0:
            raise InvalidInputError(f"frames of the arena are counted from 0; there is no frame {index}")
        return self._motion.at(index / self.settings.frames_per_second)
