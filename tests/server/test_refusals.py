"""Wrong requests: the right status, a sentence, the field, and nobody else notices."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import grpc
import numpy as np
import pytest
import simplejpeg
from poseloop.v1 import poseloop_pb2 as pb

from tests.server.conftest import Serve
from tests.server.wire_client import CallRefusedError, TrackCall, connected, frame, opening, spot_image

Code = grpc.StatusCode
IMAGE = spot_image(1, 1)
HUGE_JPEG = simplejpeg.encode_jpeg(np.zeros((16, 16, 1), np.uint8), colorspace="GRAY")
# The size in the frame header (SOF0: marker, length, precision, height, width) of a small file.
_SOF = HUGE_JPEG.index(b"\xff\xc0")
HUGE_JPEG = HUGE_JPEG[: _SOF + 5] + (40000).to_bytes(2, "big") * 2 + HUGE_JPEG[_SOF + 9 :]

REFUSED_OPENINGS = {
    "unknown model": (opening("cam1", model="mouze"), Code.NOT_FOUND, "model"),
    "bad name": (opening("cam 1"), Code.INVALID_ARGUMENT, "stream"),
    "no name": (opening(""), Code.INVALID_ARGUMENT, "stream"),
    "long name": (opening("x" * 65), Code.INVALID_ARGUMENT, "stream"),
    "unicode name": (opening("käfig"), Code.INVALID_ARGUMENT, "stream"),
    "bad policy": (opening("cam1", policy=9), Code.INVALID_ARGUMENT, "policy"),
    "priority out of range": (opening("cam1", priority=101), Code.INVALID_ARGUMENT, "priority"),
    "negative limit": (opening("cam1", max_frames_per_second=-1.0), Code.INVALID_ARGUMENT, "max_frames_per_second"),
    "no limit": (opening("cam1", max_frames_per_second=float("nan")), Code.INVALID_ARGUMENT, "max_frames_per_second"),
    "lossless limit": (
        opening("cam1", policy=pb.DELIVERY_POLICY_LOSSLESS, max_frames_per_second=5.0),
        Code.INVALID_ARGUMENT,
        "max_frames_per_second",
    ),
    "narrow crop": (opening("cam1", crop=pb.Crop(width=20, height=64)), Code.INVALID_ARGUMENT, "crop"),
    "vast crop": (opening("cam1", crop=pb.Crop(width=2**31, height=64)), Code.INVALID_ARGUMENT, "crop"),
    "sure crop": (opening("cam1", crop=pb.Crop(width=64, height=64, confidence=1.5)), Code.INVALID_ARGUMENT, "crop"),
    "odd crop": (
        opening("cam1", crop=pb.Crop(width=64, height=64, confidence=math.nan)),
        Code.INVALID_ARGUMENT,
        "crop",
    ),
    "frame first": (frame(0, IMAGE), Code.INVALID_ARGUMENT, "open"),
    "empty": (pb.FrameMessage(), Code.INVALID_ARGUMENT, "message"),
    "garbage": (b"\xff\xfe garbage", Code.INVALID_ARGUMENT, "message"),
    "same name": (opening("cam0"), Code.ALREADY_EXISTS, "stream"),
}
REFUSED_FRAMES = {
    "too few bytes": (frame(5, IMAGE, data=b"abc"), "data"),
    "too many bytes": (frame(5, IMAGE, data=bytes(64 * 48 + 1)), "data"),
    "no width": (frame(5, IMAGE, width=0), "width"),
    "no height": (frame(5, IMAGE, height=0), "height"),
    "too large": (frame(5, IMAGE, width=2**31, height=2**31), "width"),
    "huge jpeg": (frame(5, IMAGE, format=pb.PIXEL_FORMAT_JPEG, width=40000, height=40000, data=HUGE_JPEG), "width"),
    "jpeg lies": (frame(5, IMAGE, format=pb.PIXEL_FORMAT_JPEG, data=HUGE_JPEG), "width"),
    "no jpeg": (frame(5, IMAGE, format=pb.PIXEL_FORMAT_JPEG, data=b"no jpeg at all"), "data"),
    "no format": (frame(5, IMAGE, format=0), "format"),
    "unknown format": (frame(5, IMAGE, format=77), "format"),
    "same sequence": (frame(4, IMAGE), "sequence"),
    "impossible time": (frame(5, IMAGE, captured_client_ns=2**63 - 1), "captured_client_ns"),
    "impossible offset": (frame(5, IMAGE, clock_offset_ns=-(2**62)), "clock_offset_ns"),
    "second open": (opening("cam1"), "open"),
    "garbage": (b"\xff\xfe garbage", "message"),
}


@pytest.fixture(scope="module")
def anyone_else():
    """What the stream beside the refused ones goes through."""

    async def bystander(channel: grpc.aio.Channel) -> TrackCall:
        call = TrackCall(channel)
        await call.open("cam0", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
        return call

    return bystander


def _check(refused: CallRefusedError, code: grpc.StatusCode, field: str) -> None:
    assert refused.code is code, refused
    assert refused.field == field, refused
    assert refused.sentence.startswith(f"{field}: "), refused
    assert refused.sentence.endswith((".", "-")), refused


def test_refusals_do_not_touch_another_stream(serve: Serve, spot_model: Path, anyone_else) -> None:
    async def run() -> None:
        async with serve(spot_model) as server, connected(server.announcement.address) as channel:
            bystander = await anyone_else(channel)
            number = 0
            for message, code, field in REFUSED_OPENINGS.values():
                call = TrackCall(channel)
                await call.send(message)
                _check(await call.refused(), code, field)
                await bystander.send(frame(number, spot_image(number, 2)))
                assert (await bystander.reply()).pose.sequence == number
                number += 1
            for message, field in REFUSED_FRAMES.values():
                call = TrackCall(channel)
                await call.open("cam1")
                await call.send(frame(4, IMAGE))
                await call.send(message)
                _check(await call.refused(), Code.INVALID_ARGUMENT, field)
                await bystander.send(frame(number, spot_image(number, 2)))
                assert (await bystander.reply()).pose.sequence == number
                number += 1
            _, closed = await bystander.finish()
        assert closed.counters.published == number

    asyncio.run(run())


def test_what_came_before_a_bad_frame_is_answered(serve: Serve, slow_model: Path) -> None:
    async def run() -> None:
        async with serve(slow_model) as server, connected(server.announcement.address) as channel:
            call = TrackCall(channel)
            await call.open("cam1", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            await call.send(frame(0, IMAGE))
            await call.send(b"\xff")
            assert (await call.reply()).pose.sequence == 0
            assert (await call.reply()).closed.counters.published == 1
            assert (await call.refused()).code is Code.INVALID_ARGUMENT

    asyncio.run(run())


def test_a_model_must_be_named_where_there_are_several(serve: Serve, spot_model: Path, slow_model: Path) -> None:
    async def run() -> None:
        async with serve(spot_model, slow_model) as server, connected(server.announcement.address) as channel:
            call = TrackCall(channel)
            await call.send(opening("cam0"))
            refused = await call.refused()
            assert "slow, spot" in refused.sentence
            _check(refused, Code.INVALID_ARGUMENT, "model")
            for model in ("spot", "slow"):
                call = TrackCall(channel)
                await call.open(f"on-{model}", model=model, policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
                await call.send(frame(0, IMAGE))
                assert (await call.reply()).pose.model == model
                await call.finish()

    asyncio.run(run())


def test_a_message_over_the_limit_is_refused_before_it_is_taken(serve: Serve, spot_model: Path) -> None:
    async def run() -> None:
        async with (
            serve(spot_model, max_message_mib=1) as server,
            connected(server.announcement.address) as channel,
        ):
            call = TrackCall(channel)
            await call.open("cam0")
            await call.send(frame(0, np.zeros((1200, 1200), np.uint8)))
            assert (await call.refused()).code is Code.RESOURCE_EXHAUSTED
            again = TrackCall(channel)
            await again.open("cam1")
            await again.finish()

    asyncio.run(run())
