"""Streams with a crop: what the model's thread runs, and what a pose says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from poseloop.crop import Crop
from poseloop.errors import InvalidInputError
from poseloop.types import Policy
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.v1 import poseloop_pb2_grpc as rpc
from poseloop_server.app import Server
from poseloop_server.batching import plan
from poseloop_server.settings import Settings

from tests.server.conftest import Serve
from tests.server.test_scheduling import TIMEOUT_S, GatedModel, Rig
from tests.server.wire_client import TrackCall, connected, frame

SIZE = (64, 48)  # of the frames; a search sees them as they are
CROP = Crop(32, 32)


@pytest.fixture
def rig(spot_model: Path) -> Iterator[Rig]:
    made = Rig(GatedModel(spot_model))
    made.model.batch_plan = plan({1: 10.0, 2: 11.0, 4: 13.0}, 32 * 32)
    yield made
    made.close()


def _search(rig: Rig, *names: str) -> None:
    """Open streams and let the first frame of each be searched."""
    for name in names:
        rig.open(name, crop=CROP)
        rig.put(name, 0, size=SIZE)
        assert rig.began() == 1
        assert rig.finish() == [(name, 0)]


def _occupy(rig: Rig) -> None:
    rig.open("first")
    rig.put("first", 0)
    assert rig.began() == 1


def test_windows_of_one_size_are_inferred_together_and_with_whole_frames_of_it(rig: Rig) -> None:
    _search(rig, "a", "b")
    _occupy(rig)
    for name in ("c", "d"):
        rig.open(name)
        rig.put(name, 1, size=(32, 32))
    for name in ("a", "b"):
        rig.put(name, 1, size=SIZE)
    rig.finish()
    assert rig.began() == 4
    assert rig.finish(4) == [("c", 1), ("d", 1), ("a", 1), ("b", 1)]


def test_searches_and_windows_of_another_size_have_turns_of_their_own(rig: Rig) -> None:
    _search(rig, "a", "b")
    rig.open("wide", crop=Crop(40, 32))
    rig.open("video", policy=Policy.LOSSLESS, crop=CROP)
    _occupy(rig)
    rig.put("a", 1, size=(64, 40))  # frames of another size: searched
    for name in ("b", "wide", "video"):
        rig.put(name, 1, size=SIZE)
    rig.finish()
    for name in ("a", "b", "wide", "video"):
        assert rig.began() == 1
        assert rig.finish() == [(name, 1)]


def test_a_window_that_fails_fails_alone_and_its_stream_goes_on(rig: Rig) -> None:
    _search(rig, "a", "bad")
    _occupy(rig)
    rig.put("a", 1, size=SIZE)
    rig.put("bad", 1, size=SIZE, value=0)
    rig.finish()
    assert rig.began() == 2
    rig.model.permits.release(3)
    assert pb.Pose.FromString(rig.published.get(timeout=TIMEOUT_S)).stream == "a"
    assert [rig.began(), rig.began()] == [1, 1]
    rig.put("bad", 2, size=SIZE)
    assert rig.began() == 1
    assert rig.finish() == [("bad", 2)]
    assert rig.streams["bad"].failed == 1


@pytest.mark.parametrize("lost", ["", "a", "b"])
def test_inference_of_streams_that_share_one_ends_before_any_of_them_is_published(rig: Rig, lost: str) -> None:
    _search(rig, "a", "b")
    _occupy(rig)
    for name in ("a", "b"):
        rig.put(name, 1, size=SIZE, value=20 if name == lost else 200)
    rig.finish()
    assert rig.began() == 2
    rig.model.permits.release(2)
    poses = {pose.stream: pose for pose in (pb.Pose.FromString(rig.published.get(timeout=TIMEOUT_S)) for _ in "ab")}
    ended = {name: pose.stamps.inference_ended_ns for name, pose in poses.items()}
    assert max(ended.values()) <= min(pose.stamps.published_ns for pose in poses.values())
    if lost:
        assert poses[lost].crop.searched
        assert ended.pop(lost) > max(ended.values()), "the second look is the time of the stream that needs it"
    else:
        assert ended["a"] == ended["b"]


def test_another_version_of_the_model_searches_anew(rig: Rig, spot_model: Path) -> None:
    _search(rig, "a")
    rig.model.permits.release(100)
    rig.put("a", 1, size=SIZE)
    before = pb.Pose.FromString(rig.published.get(timeout=TIMEOUT_S))
    newer = GatedModel(spot_model)
    newer.permits.release(100)
    rig.scheduler.wait_for(rig.scheduler.swap(newer))
    rig.put("a", 2, size=SIZE)
    after = pb.Pose.FromString(rig.published.get(timeout=TIMEOUT_S))
    assert (before.crop.searched, after.crop.searched) == (False, True)


def _spot(x: int, y: int, width: int = 200, height: int = 160) -> np.ndarray:
    """A spot that also shows in a reduced frame."""
    image = np.full((height, width), 10, np.uint8)
    image[y - 2 : y + 3, x - 2 : x + 3] = 150
    image[y, x] = 250
    return image


async def _poses(call: TrackCall, *images: np.ndarray, first: int = 0) -> list[pb.Pose]:
    found = []
    for number, image in enumerate(images, first):
        await call.send(frame(number, image))
        found.append((await call.reply()).pose)
    return found


def _lossless(**fields: object) -> dict[str, object]:
    return {"policy": pb.DELIVERY_POLICY_LOSSLESS, "return_poses": True, **fields}


def test_a_pose_has_the_frames_coordinates_and_says_where_it_was_seen(serve: Serve, spot_model: Path) -> None:
    async def run() -> None:
        async with serve(spot_model) as server, connected(server.announcement.address) as channel:
            call = TrackCall(channel)
            await call.open("cam0", **_lossless(crop=pb.Crop(width=48, height=40)))
            places = [(150, 100), (152, 101), (20, 140), (20, 140)]
            poses = await _poses(call, *(_spot(x, y) for x, y in places))
            assert [tuple(pose.keypoints[:2]) for pose in poses] == places
            assert {(pose.width, pose.height) for pose in poses} == {(200, 160)}
            assert [(pose.crop.searched, pose.crop.lost) for pose in poses] == [
                (True, False), (False, False), (True, False), (False, False),
            ]  # fmt: skip
            for pose, (x, y) in zip(poses, places, strict=True):
                part = pose.crop
                assert (part.width, part.height) == (48, 40)
                assert part.x <= x < part.x + 48
                assert part.y <= y < part.y + 40
            listed = await rpc.StreamServiceStub(channel).ListStreams(pb.ListStreamsRequest())
            (info,) = listed.streams
            assert (info.crop.width, info.crop.height, info.crop.confidence) == (48, 40, 0)
            await call.finish()

    asyncio.run(run())


def test_a_stream_takes_the_servers_crop_its_own_or_none_and_begins_anew_when_it_comes_back(
    serve: Serve, spot_model: Path
) -> None:
    async def run() -> None:
        async with (
            serve(spot_model, crop="spot=64x48") as server,
            connected(server.announcement.address) as channel,
        ):
            widths = []
            for fields in ({}, {"crop": pb.Crop(width=100, height=100)}, {"crop": pb.Crop()}, {}):
                call = TrackCall(channel)
                await call.open("cam0", **_lossless(**fields))
                first, second = await _poses(call, _spot(150, 100), _spot(150, 100))
                assert first.HasField("crop") == second.HasField("crop") == (fields != {"crop": pb.Crop()})
                assert first.crop.searched == first.HasField("crop")
                assert not second.crop.searched
                widths.append(second.crop.width)
                await call.finish()
            assert widths == [64, 100, 0, 64]

    asyncio.run(run())


def test_a_missed_frame_costs_the_window_nothing(serve: Serve, spot_model: Path) -> None:
    async def run() -> None:
        async with serve(spot_model) as server, connected(server.announcement.address) as channel:
            call = TrackCall(channel)
            await call.open("cam0", **_lossless(crop=pb.Crop(width=64, height=64)))
            await _poses(call, _spot(150, 100))
            (pose,) = await _poses(call, _spot(140, 90), first=40)
            assert not pose.crop.searched
            await call.finish()

    asyncio.run(run())


@pytest.mark.parametrize("jpeg", [False, True])
def test_a_coloured_frame_is_cut_like_a_grey_one(serve: Serve, rgb_model: Path, jpeg: bool) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    image = np.zeros((160, 200, 3), np.uint8)
    image[94:106, 144:156] = (180, 0, 0)
    image[100, 150] = (255, 40, 40)
    image[20:30, 20:30] = (0, 0, 255)  # what a model that got BGR would find
    fields = {}
    if jpeg:
        fields = {"format": pb.PIXEL_FORMAT_JPEG, "data": simplejpeg.encode_jpeg(image, 100, "RGB", "444")}

    async def run() -> None:
        async with serve(rgb_model) as server, connected(server.announcement.address) as channel:
            call = TrackCall(channel)
            await call.open("cam0", **_lossless(crop=pb.Crop(width=48, height=40)))
            for number in range(2):
                await call.send(frame(number, image, **fields))
                pose = (await call.reply()).pose
            assert not pose.crop.searched
            assert np.abs(np.array(pose.keypoints[:2]) - [150, 100]).max() <= (6 if jpeg else 0)
            await call.finish()

    asyncio.run(run())


def test_a_server_does_not_start_with_a_crop_for_a_model_that_there_is_not(spot_model: Path) -> None:
    settings = Settings(
        model=[str(spot_model)], crop=["mouse=64x64"], listen="127.0.0.1:0", publish="tcp://127.0.0.1:*"
    )
    with pytest.raises(InvalidInputError, match="no model mouse is served"):
        asyncio.run(Server(settings).start())
