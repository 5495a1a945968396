from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from poseloop.images import to_model_color
from poseloop.types import PixelFormat

colour_images = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda size: arrays(np.uint8, (*size, 3)))


@given(image=colour_images)
def test_luma_is_that_of_bt601_whatever_the_order_of_the_channels(image: np.ndarray) -> None:
    luma = to_model_color(image, PixelFormat.RGB8, "gray")
    wanted = image @ np.array([0.299, 0.587, 0.114])
    assert luma.shape == (*image.shape[:2], 1)
    assert luma.dtype == np.uint8
    assert np.abs(luma[:, :, 0] - wanted).max() <= 1
    turned = np.ascontiguousarray(image[:, :, ::-1])
    assert np.array_equal(to_model_color(turned, PixelFormat.BGR8, "gray"), luma)


@given(image=colour_images)
def test_colour_is_rgb_in_memory_of_its_own_order(image: np.ndarray) -> None:
    assert to_model_color(image, PixelFormat.RGB8, "rgb") is image
    turned = to_model_color(image, PixelFormat.BGR8, "rgb")
    assert np.array_equal(turned, image[:, :, ::-1])
    assert turned.flags.c_contiguous


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1)])
def test_grey_is_a_view_for_a_grey_model_and_repeated_for_a_colour_one(shape: tuple[int, ...]) -> None:
    image = np.arange(35, dtype=np.uint8).reshape(shape)
    grey = to_model_color(image, PixelFormat.GRAY8, "gray")
    assert grey.shape == (5, 7, 1)
    assert np.shares_memory(grey, image)
    colour = to_model_color(image, PixelFormat.GRAY8, "rgb")
    assert np.array_equal(colour, np.repeat(grey, 3, axis=2))
