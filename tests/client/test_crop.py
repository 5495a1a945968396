from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poseloop.crop import LONGEST, SHORTEST, Crop, CropView, parse_crop
from poseloop.errors import InvalidInputError
from poseloop.messages import crop_from_wire, crop_to_wire, pose_from_wire
from poseloop.sender import SenderSettings
from poseloop.v1 import poseloop_pb2 as pb

sides = st.integers(SHORTEST, LONGEST)
crops = st.builds(Crop, sides, sides, st.none() | st.integers(1, 99).map(lambda percent: percent / 100))


@given(crops)
def test_a_crop_is_the_same_as_text_and_on_the_wire(crop: Crop) -> None:
    assert parse_crop(str(crop)) == crop
    assert crop_from_wire(pb.Crop.FromString(crop_to_wire(crop).SerializeToString())) == crop


def test_a_crop_left_out_is_the_servers_and_off_is_none() -> None:
    assert not SenderSettings("cam0").opening().HasField("crop")
    off = SenderSettings("cam0", crop="off").opening()
    assert off.HasField("crop")
    assert crop_from_wire(off.crop) is None
    asked = SenderSettings("cam0", crop="320x240").opening()
    assert crop_from_wire(asked.crop) == Crop(320, 240)
    assert crop_from_wire(pb.Crop(width=64, height=64)) == Crop(64, 64), "an unset confidence is the usual one"


@pytest.mark.parametrize(
    "text", ["", "256", "256x", "x256", "256x256x3", "-1x64", "8x64", "64x99999", "64x64@", "64x64@0", "64x64@1", "Off"]
)
def test_what_is_no_crop_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="crop"):
        SenderSettings("cam0", crop=text)


def test_a_pose_tells_where_it_was_seen_only_where_there_is_a_crop() -> None:
    assert pose_from_wire(pb.Pose()).crop is None
    seen = pb.CropView(x=3, y=4, width=64, height=48, searched=True)
    assert pose_from_wire(pb.Pose(crop=seen)).crop == CropView(3, 4, 64, 48, searched=True, lost=False)
