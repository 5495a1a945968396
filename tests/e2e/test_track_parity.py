"""`poseloop track` and a lossless stream must see the same numbers, whatever the model's colour."""

from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import poseloop
import pytest
from poseloop.arena import Arena, ArenaSettings
from poseloop.crop import Crop
from poseloop_server.model import PoseModel
from poseloop_server.processes import Children
from poseloop_server.track import TrackOutputs, track_video
from poseloop_server.video_poses import open_video

from tests.models import write_spot_model

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coloured recording with the losses of a usual codec."""
    path = tmp_path_factory.mktemp("video") / "arena.mp4"
    arena = Arena(ArenaSettings(width=320, height=240, color="rgb", noise=6.0))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (320, 240))
    assert writer.isOpened()
    for index in range(40):
        writer.write(np.ascontiguousarray(arena.frame(index)[:, :, ::-1]))
    writer.release()
    return path


@pytest.mark.parametrize("crop", [None, "96x80"])
@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_a_lossless_stream_gives_the_numbers_of_track(
    tmp_path: Path, recording: Path, color: Literal["gray", "rgb"], crop: str | None
) -> None:
    file = tmp_path / "spot.onnx"
    write_spot_model(file, ("spot", "beside"), color)
    table = tmp_path / "poses.h5"
    window = None if crop is None else Crop.parse(crop)
    track_video(open_video(recording), PoseModel(file), TrackOutputs([table]), crop=window)
    tracked = pd.read_hdf(table).to_numpy().reshape(40, 1, 2, 3)
    with Children() as children:
        address = children.server_address(children.start_server("--model", str(file)))
        with (
            poseloop.connect(address.grpc) as server,
            poseloop.open_source(str(recording), speed="max") as source,
            server.track(source, stream="cam0", policy="lossless", crop=crop) as poses,
        ):
            served = list(islice(poses, 40))
    assert [pose.sequence for pose in served] == list(range(40))
    np.testing.assert_allclose(np.stack([pose.keypoints for pose in served]), tracked, atol=1e-3)
