"""Another version of a model takes over while streams run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.v1 import poseloop_pb2_grpc as rpc
from poseloop_server.app import Server
from poseloop_server.model import PoseModel

from tests.models import write_spot_model
from tests.server.conftest import Serve
from tests.server.wire_client import (
    TrackCall,
    account_balances,
    connected,
    frame,
    received,
    spot_image,
    subscribed,
)

Code = grpc.StatusCode
NAMES = ("snout", "tail")


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions that fit each other, and files that do not fit them."""
    folder = tmp_path_factory.mktemp("versions")
    for version in (1, 2, 3):
        write_spot_model(folder / f"v{version}.onnx", NAMES, native_size=(64, 40 + version))
    write_spot_model(folder / "order.onnx", NAMES[::-1])
    write_spot_model(folder / "more.onnx", (*NAMES, "ear"))
    write_spot_model(folder / "rgb.onnx", NAMES, "rgb")
    _fix_width(folder / "v1.onnx", folder / "fixed.onnx", 32)
    _fail_when_run(folder / "fails.onnx")
    (folder / "broken.onnx").write_bytes(b"no model")
    return folder


def _fix_width(path: Path, out: Path, width: int) -> None:
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = width
    text = model.metadata_props[0].value
    model.metadata_props[0].value = text.replace('"native_width":64', f'"native_width":{width}')
    assert model.metadata_props[0].value != text
    onnx.save(model, out)


def _fail_when_run(path: Path) -> None:
    """Write a graph that loads, and fails on any frame whose brightest pixel is that of the warm-up's."""
    write_spot_model(path, NAMES, fail_on_black=True)
    model = onnx.load(path)
    (compared,) = [node.input[1] for node in model.graph.node if node.op_type == "Equal"]
    (black,) = [constant for constant in model.graph.initializer if constant.name == compared]
    black.CopyFrom(numpy_helper.from_array(np.array(254.0, np.float32), compared))
    onnx.save(model, path)


@dataclass
class Swapping:
    server: Server
    channel: grpc.aio.Channel
    models: Any
    sha256: dict[str, str]

    async def swap(self, file: str, name: str = "mouse") -> pb.ModelInfo:
        return (await self.models.SwapModel(pb.SwapModelRequest(name=name, file=file))).model

    @asynccontextmanager
    async def loading(self, file: str) -> AsyncIterator[asyncio.Task[pb.ModelInfo]]:
        """A swap that does not get beyond the loading of its file within the block."""
        registry = self.server.registry
        load, began, go_on = registry._load, threading.Event(), threading.Event()

        def load_later(path: Path, name: str | None) -> PoseModel:
            began.set()
            assert go_on.wait(30)
            return load(path, name)

        registry._load = load_later
        swap = asyncio.create_task(self.swap(file))
        assert await asyncio.to_thread(began.wait, 30)
        yield swap
        registry._load = load
        go_on.set()

    async def refused(self, file: str, name: str = "mouse") -> tuple[grpc.StatusCode, str, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.swap(file, name)
        metadata = dict(caught.value.trailing_metadata())
        return caught.value.code(), metadata["poseloop-field"], caught.value.details()


@pytest.fixture
def swapping(serve: Serve, models_dir: Path) -> Callable[..., Any]:
    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[Swapping]:
        sha256 = {path.stem: PoseModel(path).sha256 for path in models_dir.glob("v*.onnx")}
        first = Path(f"mouse={models_dir / 'v1.onnx'}")
        async with (
            serve(first, models_dir=models_dir, **settings) as server,
            connected(server.announcement.address) as channel,
        ):
            yield Swapping(server, channel, rpc.ModelServiceStub(channel), sha256)

    return start


class Feed:
    """Sends frames until it is told to end, and keeps the poses that come back."""

    def __init__(self, channel: grpc.aio.Channel, policy: pb.DeliveryPolicy) -> None:
        self.call = TrackCall(channel)
        self.policy = policy
        self.sent = 0
        self.poses: list[pb.Pose] = []
        self.ending = False
        self.closed: pb.Closed | None = None

    async def run(self, name: str) -> None:
        await self.call.open(name, policy=self.policy, return_poses=True)
        reading = asyncio.create_task(self._read())
        while not self.ending:
            await self.call.send(frame(self.sent, spot_image(self.sent % 60, 7)))
            self.sent += 1
            await asyncio.sleep(0.001)
        await self.call.call.done_writing()
        await reading

    async def _read(self) -> None:
        while self.closed is None:
            reply = await self.call.reply()
            match reply.WhichOneof("reply"):
                case "pose":
                    self.poses.append(reply.pose)
                case "closed":
                    self.closed = reply.closed

    async def until_made_by(self, sha256: str) -> None:
        async with asyncio.timeout(30):
            while not (self.poses and self.poses[-1].model_sha256 == sha256):
                await asyncio.sleep(0.005)

    async def until_more(self, poses: int) -> None:
        wanted = len(self.poses) + poses
        async with asyncio.timeout(30):
            while len(self.poses) < wanted:
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("policy", [pb.DELIVERY_POLICY_LOSSLESS, pb.DELIVERY_POLICY_LIVE])
def test_versions_take_over_in_order_under_a_stream_that_goes_on(swapping, policy: pb.DeliveryPolicy) -> None:
    order = ["v1", "v2", "v3", "v2", "v1"]

    async def run() -> None:
        async with swapping() as on, subscribed(on.server.announcement.publish, "event/") as subscriber:
            feed = Feed(on.channel, policy)
            feeding = asyncio.create_task(feed.run("cam0"))
            await feed.until_made_by(on.sha256["v1"])
            await feed.until_more(100)
            for version in order[1:]:
                info = await on.swap(f"{version}.onnx")
                assert (info.name, info.sha256, list(info.streams)) == ("mouse", on.sha256[version], ["cam0"])
                await feed.until_made_by(on.sha256[version])
                await feed.until_more(50)
            feed.ending = True
            await feeding
            kinds = [pb.StreamEvent.FromString((await received(subscriber))[1]).kind for _ in range(len(order) + 1)]

        assert [made_by for made_by, _ in groupby(feed.poses, lambda pose: pose.model_sha256)] == [
            on.sha256[version] for version in order
        ]
        sequences = [pose.sequence for pose in feed.poses]
        if policy == pb.DELIVERY_POLICY_LOSSLESS:
            assert sequences == list(range(feed.sent))
        assert sequences == sorted(set(sequences))
        assert feed.sent >= 300
        assert len({pose.session_id for pose in feed.poses}) == 1
        assert {pose.model for pose in feed.poses} == {"mouse"}
        for pose in feed.poses:
            assert tuple(pose.keypoints[:2]) == (pose.sequence % 60, 7)
        assert feed.closed is not None
        counters = feed.closed.counters
        assert account_balances(counters)
        assert (counters.failed, counters.received) == (0, feed.sent)
        event = pb.StreamEvent
        assert kinds == [event.KIND_OPENED, *[event.KIND_SWAPPED] * (len(order) - 1), event.KIND_CLOSED]

    asyncio.run(run())


def test_what_does_not_fit_or_fails_never_replaces_what_runs(swapping) -> None:
    said = {
        "order.onnx": (Code.FAILED_PRECONDITION, "file", "tail, snout instead of snout, tail"),
        "more.onnx": (Code.FAILED_PRECONDITION, "file", "snout, tail, ear"),
        "rgb.onnx": (Code.FAILED_PRECONDITION, "file", "rgb frames instead of gray"),
        "fixed.onnx": (Code.FAILED_PRECONDITION, "file", "only takes frames of width 32"),
        "broken.onnx": (Code.INVALID_ARGUMENT, "file", "can't be loaded"),
        "fails.onnx": (Code.INVALID_ARGUMENT, "file", "failed on a frame"),
        "absent.onnx": (Code.NOT_FOUND, "file", "there is no"),
        "../v2.onnx": (Code.INVALID_ARGUMENT, "file", "no bare file name"),
    }

    async def run() -> None:
        async with swapping() as on:
            feed = Feed(on.channel, pb.DELIVERY_POLICY_LOSSLESS)
            feeding = asyncio.create_task(feed.run("cam0"))
            await feed.until_more(1)
            for file, (code, field, words) in said.items():
                found = await on.refused(file)
                assert found[:2] == (code, field), file
                assert words in found[2]
                assert found[0] != Code.FAILED_PRECONDITION or "cam0" in found[2]
                await feed.until_more(5)
            assert (await on.refused("v2.onnx", "rat"))[:2] == (Code.NOT_FOUND, "name")
            feed.ending = True
            await feeding
            assert {pose.model_sha256 for pose in feed.poses} == {on.sha256["v1"]}
            assert [pose.sequence for pose in feed.poses] == list(range(feed.sent))
            assert feed.closed is not None
            assert feed.closed.counters.failed == 0
            # Without a stream there is nothing that it would have to fit.
            assert (await on.swap("more.onnx")).spec.count("ear") > 0
            call = TrackCall(on.channel)
            opened = await call.open("cam1", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            assert "ear" in opened.model_spec
            await call.send(frame(0, spot_image(3, 4)))
            replies, _ = await call.finish()
            assert list(replies[0].pose.keypoint_names) == [*NAMES, "ear"]

    asyncio.run(run())


def test_one_swap_at_a_time_and_no_folder_no_swap(swapping, serve: Serve, models_dir: Path) -> None:
    async def run() -> None:
        async with swapping() as on:
            async with on.loading("v2.onnx") as first:
                code, field, sentence = await on.refused("v3.onnx")
                assert (code, field) == (Code.FAILED_PRECONDITION, "name")
                assert "being swapped" in sentence
            assert (await first).sha256 == on.sha256["v2"]
        async with serve(models_dir / "v1.onnx") as server, connected(server.announcement.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="--models-dir"):
                await rpc.ModelServiceStub(channel).SwapModel(pb.SwapModelRequest(name="v1", file="v2.onnx"))

    asyncio.run(run())


def test_a_model_that_is_unloaded_while_its_next_version_loads_stays_unloaded(swapping) -> None:
    async def run() -> None:
        async with swapping() as on:
            async with on.loading("v2.onnx") as swap:
                await on.models.UnloadModel(pb.UnloadModelRequest(name="mouse"))
            with pytest.raises(grpc.aio.AioRpcError, match="no model 'mouse' is loaded"):
                await swap
            assert not (await on.models.ListModels(pb.ListModelsRequest())).models

    asyncio.run(run())


def test_the_client_swaps_and_its_poses_tell_the_version(swapping, models_dir: Path) -> None:
    import poseloop

    def drive(address: str) -> list[poseloop.Pose]:
        poses: list[poseloop.Pose] = []
        swapped = threading.Event()

        def images() -> Iterator[np.ndarray]:
            for number in range(20):
                if number == 10:
                    assert swapped.wait(30)
                yield spot_image(1, 2)

        with poseloop.connect(address) as server, server.track(images(), "cam0", policy="lossless") as tracking:
            for pose in tracking:
                poses.append(pose)
                if len(poses) == 5:
                    assert server.swap_model("mouse", "v2.onnx").name == "mouse"
                    swapped.set()
        return poses

    async def run() -> None:
        async with swapping() as on:
            poses = await asyncio.to_thread(drive, on.server.announcement.address)
            made_by = [pose.model_sha256 for pose in poses]
            assert len(made_by) == 20
            assert made_by[0] == on.sha256["v1"]
            assert made_by[10:] == [on.sha256["v2"]] * 10

    asyncio.run(run())
