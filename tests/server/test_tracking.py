"""Frames in, poses out, over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from poseloop.clock import clock_id
from poseloop.types import ModelSpec
from poseloop.v1 import poseloop_pb2 as pb

from tests.server.conftest import Serve
from tests.server.wire_client import (
    TrackCall,
    account_balances,
    connected,
    frame,
    received,
    received_poses,
    spot_image,
    subscribed,
)


async def _one_pose(server, stream: str, message: pb.FrameMessage) -> pb.Pose:
    async with connected(server.announcement.address) as channel:
        call = TrackCall(channel)
        await call.open(stream, policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
        await call.send(message)
        replies, _ = await call.finish()
    assert [reply.WhichOneof("reply") for reply in replies] == ["pose"]
    return replies[0].pose


def test_a_pose_carries_what_the_contract_promises(serve: Serve, spot_model: Path) -> None:
    async def run() -> None:
        async with (
            serve(spot_model) as server,
            connected(server.announcement.address) as channel,
            subscribed(server.announcement.publish, "pose/cam0") as subscriber,
        ):
            call = TrackCall(channel)
            opened = await call.open("cam0", model="spot", clock_id=clock_id())
            assert opened.clock_id == clock_id()
            assert opened.server_id == server.server_id
            assert opened.window == 2
            assert ModelSpec.model_validate_json(opened.model_spec).keypoints == ["snout", "tail"]
            sent = frame(
                7,
                spot_image(11, 30),
                captured_client_ns=1_000_000,
                clock_offset_ns=234,
                clock_uncertainty_ns=5,
                client=pb.ClientCounters(sent=8, dropped_outbox=6, lost_connection=1),
            )
            await call.send(sent)
            ack = (await call.reply()).ack
            (pose,) = await received_poses(subscriber, 1)
            _, closed = await call.finish()

        assert (ack.sequence, ack.received_ns) == (7, pose.stamps.received_ns)
        assert ack.acked_ns >= ack.received_ns
        assert (pose.stream, pose.sequence, pose.model) == ("cam0", 7, "spot")
        assert (pose.width, pose.height, pose.instances) == (64, 48, 1)
        assert list(pose.keypoint_names) == ["snout", "tail"]
        assert np.allclose(pose.keypoints, [11, 30, 200 / 255, 21, 25, 200 / 255])
        assert (pose.server_id, pose.session_id) == (opened.server_id, opened.session_id)
        stamps = pose.stamps
        assert (stamps.captured_client_ns, stamps.captured_ns, stamps.clock_uncertainty_ns) == (1_000_000, 1_000_234, 5)
        assert stamps.received_ns <= stamps.inference_started_ns < stamps.inference_ended_ns <= stamps.published_ns
        assert pose.counters == closed.counters
        assert account_balances(closed.counters)
        assert (closed.counters.received, closed.counters.published) == (1, 1)

    asyncio.run(run())


@pytest.mark.parametrize("return_poses", [False, True])
def test_lossless_answers_every_frame_in_order(serve: Serve, spot_model: Path, return_poses: bool) -> None:
    async def run() -> None:
        async with (
            serve(spot_model, window_lossless_frames=3, publish_queue_messages=1000) as server,
            connected(server.announcement.address) as channel,
            subscribed(server.announcement.publish, "pose/video") as subscriber,
        ):
            call = TrackCall(channel)
            opened = await call.open("video", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=return_poses)
            assert opened.window == 3
            # Far more than the window at once: the server pushes back and loses nothing.
            for number in range(200):
                await call.send(frame(number, spot_image(number % 50, number % 40)))
            replies, closed = await call.finish()
            poses = await received_poses(subscriber, 200)

        kind = "pose" if return_poses else "ack"
        assert [getattr(reply, kind).sequence for reply in replies] == list(range(200))
        assert [pose.sequence for pose in poses] == list(range(200))
        assert [tuple(pose.keypoints[:2]) for pose in poses] == [(n % 50, n % 40) for n in range(200)]
        assert (closed.counters.published, closed.counters.dropped_mailbox) == (200, 0)
        assert account_balances(closed.counters)

    asyncio.run(run())


def test_live_overload_keeps_the_newest_and_counts_the_rest(serve: Serve, slow_model: Path) -> None:
    async def run() -> None:
        async with (
            serve(slow_model, publish_queue_messages=1000) as server,
            connected(server.announcement.address) as channel,
            subscribed(server.announcement.publish, "pose/") as subscriber,
        ):
            calls = {name: TrackCall(channel) for name in ("a", "b", "c")}
            closed: dict[str, pb.Closed] = {}

            async def flood(name: str, count: int) -> None:
                call = calls[name]
                await call.open(name)
                for number in range(count):
                    await call.send(frame(number, spot_image(number % 64, 5)))
                    assert (await call.reply()).ack.sequence == number
                replies, closed[name] = await call.finish()
                assert replies == []

            await asyncio.gather(*(flood(name, 150) for name in calls))
            poses = await received_poses(subscriber, sum(one.counters.published for one in closed.values()))

        for name, one in closed.items():
            mine = [pose for pose in poses if pose.stream == name]
            assert account_balances(one.counters)
            assert one.counters.received == 150
            assert one.counters.dropped_mailbox > 0
            assert one.counters.published == len(mine)
            sequences = [pose.sequence for pose in mine]
            assert sequences == sorted(set(sequences))
            assert sequences[-1] == 149, "the newest frame is never the one that is dropped"
            for pose in mine:
                counters = pose.counters
                in_flight = counters.received - counters.published - counters.dropped_mailbox - counters.failed
                assert 0 <= in_flight <= 2
                assert account_balances(counters, in_flight)

    asyncio.run(run())


def test_live_with_poses_acknowledges_first(serve: Serve, spot_model: Path) -> None:
    async def run() -> None:
        async with serve(spot_model) as server, connected(server.announcement.address) as channel:
            call = TrackCall(channel)
            await call.open("cam0", return_poses=True)
            await call.send(frame(0, spot_image(3, 4)))
            first, second = await call.reply(), await call.reply()
            assert {first.WhichOneof("reply"), second.WhichOneof("reply")} == {"ack", "pose"}
            await call.finish()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("pixel_format", "make"),
    [
        (pb.PIXEL_FORMAT_RGB8, lambda image: image.tobytes()),
        (pb.PIXEL_FORMAT_BGR8, lambda image: image[:, :, ::-1].tobytes()),
        (pb.PIXEL_FORMAT_JPEG, lambda image: simplejpeg.encode_jpeg(image, quality=95, colorspace="RGB")),
    ],
)
def test_every_format_reaches_an_rgb_model_as_rgb(serve: Serve, rgb_model: Path, pixel_format, make) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[8:16, 16:24] = (255, 0, 0)
    image[32:40, 40:48] = (0, 0, 255)

    async def run() -> None:
        async with serve(rgb_model) as server:
            pose = await _one_pose(server, "cam0", frame(0, image, format=pixel_format, data=make(image)))
        x, y, confidence = pose.keypoints
        assert 15 <= x < 25
        assert 7 <= y < 17
        assert confidence > 0.9

    asyncio.run(run())


@pytest.mark.parametrize("encode", [False, True])
def test_colour_frames_reach_a_grey_model_as_luma(serve: Serve, spot_model: Path, encode: bool) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[8:16, 16:24] = (0, 200, 0)  # luma 117
    image[32:40, 40:48] = (255, 0, 0)  # luma 76: brighter by value, darker to the eye
    fields = {"format": pb.PIXEL_FORMAT_RGB8}
    if encode:
        fields = {"format": pb.PIXEL_FORMAT_JPEG, "data": simplejpeg.encode_jpeg(image, quality=95, colorspace="RGB")}

    async def run() -> None:
        async with serve(spot_model) as server:
            pose = await _one_pose(server, "cam0", frame(0, image, **fields))
        assert 15 <= pose.keypoints[0] < 25
        assert pose.keypoints[2] == pytest.approx(117 / 255, abs=0.03)

    asyncio.run(run())


def test_a_failed_inference_is_counted_reported_once_and_isolated(serve: Serve, spot_model: Path) -> None:
    black = np.zeros((48, 64), np.uint8)

    async def run() -> None:
        async with (
            serve(spot_model) as server,
            connected(server.announcement.address) as channel,
            subscribed(server.announcement.publish, "event/") as subscriber,
        ):
            call, other = TrackCall(channel), TrackCall(channel)
            await call.open("bad", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            await other.open("good", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            for number in range(3):
                await call.send(frame(number, black))
                await other.send(frame(number, spot_image(1, 2)))
            await call.send(frame(3, spot_image(5, 6)))
            replies, closed = await call.finish()
            others, _ = await other.finish()
            events = [pb.StreamEvent.FromString((await received(subscriber))[1]) for _ in range(5)]

        assert [reply.WhichOneof("reply") for reply in replies] == ["ack", "ack", "ack", "pose"]
        assert (closed.counters.failed, closed.counters.published) == (3, 1)
        assert account_balances(closed.counters)
        assert [reply.WhichOneof("reply") for reply in others] == ["pose"] * 3
        failures = [event for event in events if event.kind == pb.StreamEvent.KIND_FAILED]
        assert [event.stream for event in failures] == ["bad"]
        assert "frame 0" in failures[0].message
        kinds = [event.kind for event in events if event.stream == "good"]
        assert kinds == [pb.StreamEvent.KIND_OPENED, pb.StreamEvent.KIND_CLOSED]

    asyncio.run(run())


def test_a_damaged_jpeg_fails_alone(serve: Serve, spot_model: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 1), dtype=np.uint8)
    whole = simplejpeg.encode_jpeg(noise, colorspace="GRAY")

    async def run() -> None:
        async with serve(spot_model) as server, connected(server.announcement.address) as channel:
            call = TrackCall(channel)
            await call.open("cam0", policy=pb.DELIVERY_POLICY_LOSSLESS)
            jpeg = {"format": pb.PIXEL_FORMAT_JPEG}
            await call.send(frame(0, spot_image(9, 9), data=whole[: len(whole) // 2], **jpeg))
            await call.send(frame(1, spot_image(9, 9), data=whole, **jpeg))
            _, closed = await call.finish()
        assert (closed.counters.failed, closed.counters.published) == (1, 1)

    asyncio.run(run())


def test_frames_may_change_size_and_be_large(serve: Serve, spot_model: Path) -> None:
    async def run() -> None:
        async with serve(spot_model) as server, connected(server.announcement.address) as channel:
            call = TrackCall(channel)
            await call.open("cam0", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            sizes = [(64, 48), (3000, 2000), (1, 1)]
            for number, (width, height) in enumerate(sizes):
                await call.send(frame(number, spot_image(width - 1, height - 1, width, height)))
            replies, _ = await call.finish()
        assert [(reply.pose.width, reply.pose.height) for reply in replies] == sizes
        assert [tuple(reply.pose.keypoints[:2]) for reply in replies] == [(w - 1, h - 1) for w, h in sizes]

    asyncio.run(run())


def test_a_vanished_client_frees_its_name_and_loses_nothing_that_arrived(serve: Serve, slow_model: Path) -> None:
    async def run() -> None:
        async with (
            serve(slow_model) as server,
            subscribed(server.announcement.publish, "pose/cam0", "event/cam0") as subscriber,
        ):
            async with connected(server.announcement.address) as channel:
                call = TrackCall(channel)
                await call.open("cam0", policy=pb.DELIVERY_POLICY_LOSSLESS)
                await call.send(frame(0, spot_image(1, 1)))
                await call.reply()
                await call.send(frame(1, spot_image(1, 1)))
                call.call.cancel()
            closed = pb.StreamEvent()
            poses = 0
            while closed.kind != pb.StreamEvent.KIND_CLOSED:
                topic, payload = await received(subscriber)
                poses += topic.startswith("pose/")
                if topic.startswith("event/"):
                    closed = pb.StreamEvent.FromString(payload)
            assert closed.counters.received == closed.counters.published == poses
            assert "broke" in closed.message
            async with connected(server.announcement.address) as channel:
                again = TrackCall(channel)
                await again.open("cam0")
                await again.finish()

    asyncio.run(run())
