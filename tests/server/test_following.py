"""What the model gets to see of a frame, whatever the frame's colour."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from poseloop.crop import Crop
from poseloop.errors import InvalidInputError
from poseloop.types import ConfidenceSpec, PixelFormat
from poseloop_server.following import Following, Pixels, require_croppable
from poseloop_server.model import PoseModel
from poseloop_server.window import View

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 255, (120, 200), dtype=np.uint8)
COLOR = RNG.integers(0, 255, (120, 200, 3), dtype=np.uint8)
WINDOW = View(30, 20, 64, 48, 64, 48)
PART = np.s_[20:68, 30:94]


@pytest.mark.parametrize(
    ("pixels", "color", "expected"),
    [
        (Pixels(GRAY, PixelFormat.GRAY8), "gray", GRAY[PART][..., None]),
        (Pixels(GRAY[..., None], PixelFormat.GRAY8), "gray", GRAY[PART][..., None]),
        (Pixels(GRAY, PixelFormat.GRAY8), "rgb", np.repeat(GRAY[PART][..., None], 3, axis=2)),
        (Pixels(COLOR, PixelFormat.RGB8), "rgb", COLOR[PART]),
        (Pixels(COLOR, PixelFormat.BGR8), "rgb", COLOR[PART][..., ::-1]),
        (Pixels(COLOR, PixelFormat.BGR8), "gray", cv2.cvtColor(COLOR, cv2.COLOR_BGR2GRAY)[PART][..., None]),
        (Pixels(COLOR, PixelFormat.RGB8), "gray", cv2.cvtColor(COLOR, cv2.COLOR_RGB2GRAY)[PART][..., None]),
    ],
)
def test_a_window_holds_the_pixels_of_the_frame_in_the_models_colour(pixels, color, expected) -> None:
    found = pixels.part(WINDOW, color)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("pixels", [Pixels(GRAY, PixelFormat.GRAY8), Pixels(COLOR, PixelFormat.BGR8)])
@pytest.mark.parametrize(("color", "channels"), [("gray", 1), ("rgb", 3)])
def test_a_search_averages_the_whole_frame(pixels, color, channels) -> None:
    found = pixels.part(View(0, 0, 200, 120, 50, 30), color)
    assert found.shape == (30, 50, channels)
    assert found.flags.c_contiguous
    blocks = pixels.part(View(0, 0, 200, 120, 200, 120), color).reshape(30, 4, 50, 4, channels).mean(axis=(1, 3))
    assert np.abs(found - blocks).max() <= 1.01


def test_a_spot_is_followed_in_pixels_of_the_frame(spot_model: Path) -> None:
    model = PoseModel(spot_model)
    following = Following(Crop(64, 64), model.spec)
    looks = []

    def infer(images: np.ndarray) -> np.ndarray:
        looks.append(images.shape[1:3])
        return model.infer(images)

    for x, y in ((200, 150), (205, 151), (209, 148), (10, 5), (318, 238)):
        image = np.full((240, 320), 10, np.uint8)
        image[y - 1 : y + 2, x - 1 : x + 2] = 120
        image[y, x] = 250
        found, _ = following.find(Pixels(image, PixelFormat.GRAY8), infer)
        assert found[0, 0].tolist() == pytest.approx([x, y, 250 / 255])
    assert looks[0] == (111, 148), "the frame with the pixels of four windows"
    assert (240, 320) not in looks


@pytest.mark.parametrize(
    ("calibrated", "asked", "brightness", "lost"),
    [
        (False, None, 0.35, False),
        (False, None, 0.25, True),
        (True, None, 0.45, True),
        (True, None, 0.55, False),
        (True, 0.4, 0.45, False),
        (False, 0.4, 0.35, True),
    ],
)
def test_what_counts_as_seen_depends_on_what_the_models_confidence_means_unless_it_is_told(
    spot_model: Path, calibrated: bool, asked: float | None, brightness: float, lost: bool
) -> None:
    model = PoseModel(spot_model)
    meaning = ConfidenceSpec(radius_px=3, scale=1, offset=0, frames=1, keypoints=2, views=1) if calibrated else None
    other = model.spec.model_copy(update={"confidence": None if calibrated else meaning})
    following = Following(Crop(64, 64, asked), other)
    following.use(model.spec.model_copy(update={"confidence": meaning}))  # as after a swap
    image = np.full((120, 160), 5, np.uint8)
    image[60, 80] = round(255 * brightness)
    _, view = following.finish(model.infer(following.begin(Pixels(image, PixelFormat.GRAY8))[None])[0], model.infer)
    assert view.lost is lost


def test_a_model_of_several_animals_or_of_one_frame_size_follows_nobody(spot_model: Path) -> None:
    model = PoseModel(spot_model)
    require_croppable(model)
    model.fixed_width = 64
    with pytest.raises(InvalidInputError, match="only takes frames of 64xany"):
        require_croppable(model)
    model.fixed_width = None
    model.spec = model.spec.model_copy(update={"max_animals": 2})
    with pytest.raises(InvalidInputError, match="up to 2"):
        require_croppable(model)
