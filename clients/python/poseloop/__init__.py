"""Real-time pose for closed-loop experiments: send frames, receive keypoints.

>>> with poseloop.connect("localhost:50051") as server:
...     for pose in server.track(frames, stream="cam0", model="mouse"):
...         print(pose["snout"].x)

>>> for pose in poseloop.subscribe("tcp://localhost:5557", stream="cam0"):
...     print(pose["snout"].x)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poseloop import aio
    from poseloop.client import Server, connect
    from poseloop.clock import now_ns
    from poseloop.errors import (
        InvalidInputError,
        MissingExtraError,
        NoPoseError,
        PoseloopError,
        RequestRefusedError,
        ServerUnavailableError,
    )
    from poseloop.link import Reconnection
    from poseloop.losses import Losses, Restart
    from poseloop.sender import FrameSender
    from poseloop.sources import open_source
    from poseloop.subscriber import Subscription, subscribe
    from poseloop.tracking import Tracking
    from poseloop.types import Counters, Frame, Keypoint, ModelInfo, ModelSpec, PixelFormat, Policy, Pose, StreamInfo

__all__ = [
    "Counters",
    "Frame",
    "FrameSender",
    "InvalidInputError",
    "Keypoint",
    "Losses",
    "MissingExtraError",
    "ModelInfo",
    "ModelSpec",
    "NoPoseError",
    "PixelFormat",
    "Policy",
    "Pose",
    "PoseloopError",
    "Reconnection",
    "RequestRefusedError",
    "Restart",
    "Server",
    "ServerUnavailableError",
    "StreamInfo",
    "Subscription",
    "Tracking",
    "aio",
    "connect",
    "now_ns",
    "open_source",
    "subscribe",
]

# Names are looked up when they are first used: a program that only reads poses never loads gRPC, and `poseloop --help`
# neither that nor numpy.
_MODULE_OF_NAME = {
    **dict.fromkeys(("Server", "connect"), "client"),
    "now_ns": "clock",
    **dict.fromkeys(
        (
            "InvalidInputError",
            "MissingExtraError",
            "NoPoseError",
            "PoseloopError",
            "RequestRefusedError",
            "ServerUnavailableError",
        ),
        "errors",
    ),
    "Reconnection": "link",
    **dict.fromkeys(("Losses", "Restart"), "losses"),
    "FrameSender": "sender",
    "open_source": "sources",
    **dict.fromkeys(("Subscription", "subscribe"), "subscriber"),
    "Tracking": "tracking",
    **dict.fromkeys(
        ("Counters", "Frame", "Keypoint", "ModelInfo", "ModelSpec", "PixelFormat", "Policy", "Pose", "StreamInfo"),
        "types",
    ),
}


def __getattr__(name: str) -> object:
    if name == "aio":
        return importlib.import_module("poseloop.aio")
    module = _MODULE_OF_NAME.get(name)
    if module is None:
        raise AttributeError(f"module 'poseloop' has no attribute {name!r}")
    return getattr(importlib.import_module(f"poseloop.{module}"), name)


def __dir__() -> list[str]:
    return __all__
