"""Motion energy: the mean of what changed, against NumPy on the same pixels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.images import to_gray
from poseloop.types import PixelFormat
from poseloop_server.loop.chain import StreamLoop
from poseloop_server.loop.config import read_loop
from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.shapes import Circle, Polygon, Shape
from poseloop_server.loop.yaml_lines import parse_document
from poseloop_server.loop.zones import ZoneConfig
from poseloop_server.stages.base import StageContext
from poseloop_server.stages.motion_energy import MotionEnergy, MotionEnergyConfig
from poseloop_server.stages.zone_masks import mask_of

WIDTH, HEIGHT, FRAME_NS = 32, 24, 10_000_000
ZONES = {
    "nest": ZoneConfig.model_validate({"circle": {"center": [10, 10], "radius": 5}}),
    "left arm": ZoneConfig.model_validate({"polygon": [[0, 0], [8, 0], [8, 20], [3, 23]]}),
    "outside": ZoneConfig.model_validate({"rectangle": {"left": 100, "top": 100, "right": 120, "bottom": 120}}),
}


def stage(**settings: object) -> MotionEnergy:
    return MotionEnergy(MotionEnergyConfig.model_validate(settings), StageContext("cam0", ("snout",), zones=ZONES))


def pose(image: NDArray[np.uint8] | None, number: int = 0) -> LoopPose:
    at = number * FRAME_NS
    keypoints = np.zeros((1, 1, 3), np.float32)
    return LoopPose("cam0", number, at, at, at, WIDTH, HEIGHT, ("snout",), keypoints, image=image)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(len(shape)).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 1), (HEIGHT, WIDTH, 3)])
@pytest.mark.parametrize("row_step", [1, 2, 5])
def test_it_is_the_mean_absolute_difference(shape: tuple[int, ...], row_step: int) -> None:
    frames = noise(3, *shape)
    energy = stage(zones=["nest", "left arm"], row_step=row_step)
    gray = [to_gray(one, PixelFormat.RGB8) if shape[2:] == (3,) else one.reshape(HEIGHT, WIDTH) for one in frames]
    masks = {"nest": mask_of(ZONES["nest"].shape(WIDTH, HEIGHT), WIDTH, HEIGHT)}
    masks["left arm"] = mask_of(ZONES["left arm"].shape(WIDTH, HEIGHT), WIDTH, HEIGHT)
    lent = np.empty(shape, np.uint8)
    for number, frame in enumerate(frames):
        lent[:] = frame  # the memory of a frame is used again for the next
        values = energy.process(pose(lent, number)).values
        assert set(values) == set(energy.value_names)
        if number == 0:
            assert all(math.isnan(value) for value in values.values())
            continue
        changed = np.abs(gray[number].astype(float) - gray[number - 1])
        rows = slice(None, None, row_step)
        assert values["motion_energy"] == pytest.approx(changed[rows].mean())
        for zone, mask in masks.items():
            assert values[f"motion_energy.{zone}"] == pytest.approx(changed[rows][mask[rows]].mean())
        assert all(type(value) is float for value in values.values())


def test_a_still_image_has_none_and_a_zone_outside_is_unknown() -> None:
    energy = stage(zones=["outside"])
    energy.process(pose(noise(HEIGHT, WIDTH)))
    values = energy.process(pose(noise(HEIGHT, WIDTH), 1)).values
    assert values["motion_energy"] == 0.0
    assert math.isnan(values["motion_energy.outside"])


def test_without_an_image_the_values_are_left_alone() -> None:
    given = pose(None)
    given.values = {"motion_energy": 2.5}
    assert stage().process(given).values == {"motion_energy": 2.5}


@pytest.mark.parametrize("how", ["reset", "pause", "another size"])
def test_what_is_not_connected_is_not_compared(how: str) -> None:
    energy = stage()
    energy.process(pose(noise(HEIGHT, WIDTH)))
    image = noise(HEIGHT, WIDTH) if how != "another size" else noise(2 * HEIGHT, WIDTH)
    if how == "reset":
        energy.reset()
    after = energy.process(pose(image, 51 if how == "pause" else 1))
    assert math.isnan(after.values["motion_energy"])


def test_a_zone_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match=r"no zone 'nets'; did you mean 'nest'\?"):
        stage(zones=["nets"])


def test_a_configuration_names_it_and_its_triggers_use_it() -> None:
    text = """
experiment: energy
outputs: {}
streams:
  cam0:
    zones: {left arm: {rectangle: {left: 0, top: 0, right: 9, bottom: 9}}}
    stages: [{motion_energy: {zones: [left arm]}}]
    triggers:
      moves: {when: '"motion_energy.left arm" > 3 and motion_energy > 1'}
"""
    chain = StreamLoop(read_loop(parse_document(text, "energy.yaml"), Path()), "cam0", ("snout",), began_ns=0)
    assert chain.needs_image
    dark, bright = np.zeros((HEIGHT, WIDTH), np.uint8), np.full((HEIGHT, WIDTH), 9, np.uint8)
    steps = [chain.process(pose(image, number)) for number, image in enumerate((dark, dark, bright, bright))]
    assert [[decision.edge for decision in step.decisions] for step in steps] == [[], [], ["rise"], ["fall"]]


def _polygon(corners: list[tuple[int, int]]) -> Polygon | None:
    try:
        config = ZoneConfig.model_validate({"polygon": corners})
    except ValueError:  # it crosses itself, or is flat
        return None
    shape = config.shape(WIDTH, HEIGHT)
    assert isinstance(shape, Polygon)
    return shape


_corner = st.tuples(st.integers(-5, WIDTH + 5), st.integers(-5, HEIGHT + 5))
_polygons = st.lists(_corner, min_size=3, max_size=6, unique=True).map(_polygon).filter(bool)
_circles = st.builds(
    Circle, st.integers(-5, 40), st.integers(-5, 30), st.sampled_from([0.4, 1.0, 2.5, 5.0, 13.0, 100.0])
)


@given(_circles | _polygons)
def test_a_mask_is_what_the_shape_contains(shape: Shape) -> None:
    expected = [[shape.contains(float(x), float(y)) for x in range(WIDTH)] for y in range(HEIGHT)]
    assert mask_of(shape, WIDTH, HEIGHT).tolist() == expected
