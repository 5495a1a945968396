"""A server, as a program that uses it sees it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self, TypedDict, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

from poseloop.addresses import DEFAULT_SERVER, check_server
from poseloop.encoder import Encoding
from poseloop.errors import InvalidInputError, ServerUnavailableError
from poseloop.link import Listeners, Reconnection
from poseloop.messages import model_info_from_wire, stream_info_from_wire
from poseloop.sender import FrameSender, SenderSettings, parse_policy
from poseloop.tracking import Image, PoseQueue, Tracking
from poseloop.transport import ConnectionBrokenError, Transport, error_of, open_channel, wait_until_ready
from poseloop.triggers import LoopInfo, loop_info_from_wire
from poseloop.types import ModelInfo, Policy, Pose, StreamInfo
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.v1 import poseloop_pb2_grpc as rpc

_ANSWER_S = 10.0
# Loading reads, checks and warms a model up; with some providers it builds an engine first.
_LOAD_S = 600.0

Reply = TypeVar("Reply", bound=Message)


class TrackOptions(TypedDict, total=False):
    """What a stream may be opened with beside its name, model and policy.

    encoding: ``"raw"`` (the default); ``"jpeg"``, which suits slow networks and needs the camera extra; or ``"auto"``,
        which takes whichever of the two makes poses younger (raw without that extra, and in lossless streams).
    jpeg_quality: libjpeg's, 1 to 100; 90 unless given.
    reconnect_s: how long to go on trying when the server goes away; for ever, unless given.
    transport: ``"auto"`` (the default) hands frames over through shared memory where the server is on this host and
        offers it, and over gRPC elsewhere; ``"grpc"`` and ``"local"`` insist.
    on_reconnect: called with each `Reconnection`, on the sender's thread; they are logged in any case.
    priority: -100 to 100, 0 unless given; of the streams that are ready the server serves the highest first.
    max_fps: poses a second that are enough, live only; what exceeds it is dropped by the server and counted.
    crop: ``"256x256"``, a window that follows the one animal; ``"off"``: none; unless given, what the server has set.
    keep_warm: whether the way of a live frame is rehearsed shortly before it is due, by a thread of the sender's; true
        unless given. It takes some hundredths of a core, and a third off the time that handing a frame over takes.
    """

    encoding: Encoding
    jpeg_quality: int
    reconnect_s: float
    transport: Transport
    on_reconnect: Callable[[Reconnection], None]
    priority: int
    max_fps: float | None
    crop: str | None
    keep_warm: bool


class SenderOptions(TrackOptions, total=False):
    """As `TrackOptions`, and for programs that take the poses from the sender itself:

    on_pose: called with each pose, on the sender's thread; the next answer is read when it returns. While it is slower
        than the poses come, frames of a live stream give way and are counted.
    on_end: called once when the stream is over, with the error that ended it or None.
    """

    on_pose: Callable[[Pose], None]
    on_end: Callable[[Exception | None], None]


class Server:
    """A connection to one server; made by `connect`, and a context manager that closes it."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address = check_server(address)
        self._timeout_s = timeout_s
        self._closed = False
        self._channel = open_channel(self.address)
        try:
            wait_until_ready(self._channel, self.address, timeout_s)
        except BaseException:
            self._channel.close()
            raise
        self._models = rpc.ModelServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._streams = rpc.StreamServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._loop = rpc.LoopServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def sender(
        self, stream: str, model: str = "", policy: Policy | str = Policy.LIVE, **options: Unpack[SenderOptions]
    ) -> FrameSender:
        """Open a stream to send frames; the server publishes their poses (`poseloop.subscribe`).

        Args:
            stream: its name, 1 to 64 of ``A-Z a-z 0-9 _ . -``; unique on the server while open.
            model: a loaded model's name; empty where the server has just one.
            policy: ``"live"`` (newest frame wins, losses are counted) or ``"lossless"`` (the source waits).
            options: see `SenderOptions`.

        Raises:
            InvalidInputError: one of these can't be right.
            MissingExtraError: JPEG was asked for, and the camera extra is not installed.
            RequestRefusedError: the server refuses the stream; ``code`` and ``field`` say for what.
            ServerUnavailableError: the server does not answer.
        """
        _check_options(options, SenderOptions.__optional_keys__)
        settings = SenderSettings(
            stream=stream,
            model=model,
            policy=parse_policy(policy),
            encoding=options.get("encoding", "raw"),
            jpeg_quality=options.get("jpeg_quality", 90),
            return_poses=options.get("on_pose") is not None,
            timeout_s=self._timeout_s,
            reconnect_s=options.get("reconnect_s", math.inf),
            transport=options.get("transport", "auto"),
            priority=options.get("priority", 0),
            max_fps=options.get("max_fps"),
            crop=options.get("crop"),
            keep_warm=options.get("keep_warm", True),
        )
        listeners = Listeners(options.get("on_pose"), options.get("on_reconnect"), options.get("on_end"))
        return FrameSender(settings, self.address, listeners)

    def track(
        self,
        frames: Iterable[Image],
        stream: str,
        model: str = "",
        policy: Policy | str = Policy.LIVE,
        **options: Unpack[TrackOptions],
    ) -> Tracking:
        """Send frames and iterate over their poses; the server publishes them too.

        Args:
            frames: any iterable of uint8 ``(height, width)`` grey, ``(height, width, 3)`` RGB, or `Frame`; taken on a
                thread of its own, so that a camera is read while poses are handled.
            stream, model, policy: as for `sender`.
            options: see `TrackOptions`.

        Raises:
            PoseloopError: for the same reasons as `sender`; the iteration raises whatever ``frames`` raises, too.
        """
        _check_options(options, TrackOptions.__optional_keys__)
        poses = PoseQueue(parse_policy(policy))
        sender = self.sender(stream, model, policy, **options, on_pose=poses.put, on_end=poses.fail)
        return Tracking(sender, poses, frames)

    def models(self) -> list[ModelInfo]:
        """Return the loaded models and what really runs them."""
        reply = self._ask(self._models.ListModels, pb.ListModelsRequest())
        return [model_info_from_wire(model) for model in reply.models]

    def streams(self) -> list[StreamInfo]:
        """Return the open streams with their accounts and latencies."""
        reply = self._ask(self._streams.ListStreams, pb.ListStreamsRequest())
        return [stream_info_from_wire(stream) for stream in reply.streams]

    def load_model(self, file: str, name: str = "") -> ModelInfo:
        """Load a file of the server's models folder, warm it up and make it available; a failed load changes nothing.

        Args:
            file: a file name in that folder, without a path.
            name: what to call it; the file's stem, unless given.

        Raises:
            RequestRefusedError: there is no such file, it is no model, or the name is taken.
        """
        reply = self._ask(self._models.LoadModel, pb.LoadModelRequest(file=file, name=name), _LOAD_S)
        return model_info_from_wire(reply.model)

    def swap_model(self, name: str, file: str) -> ModelInfo:
        """Let a file of the server's models folder take over a model's name and streams, between two inferences.

        Args:
            name: of the loaded model; it stays.
            file: a file name in that folder, without a path.

        Raises:
            RequestRefusedError: there is no such model or file, the file is no model, or its poses would not mean the
                same to the streams that run. The model that runs goes on.
        """
        reply = self._ask(self._models.SwapModel, pb.SwapModelRequest(name=name, file=file), _LOAD_S)
        return model_info_from_wire(reply.model)

    def unload_model(self, name: str) -> None:
        """Unload a model.

        Raises:
            RequestRefusedError: there is no such model, or a stream uses it.
        """
        self._ask(self._models.UnloadModel, pb.UnloadModelRequest(name=name))

    def triggers(self) -> LoopInfo:
        """Return what the server's experiment does: its triggers, outputs and record."""
        return loop_info_from_wire(self._ask(self._loop.ListTriggers, pb.ListTriggersRequest()))

    def arm(self, trigger: str = "", stream: str = "", *, armed: bool = True) -> int:
        """Arm or disarm triggers, from each stream's next pose on; it stands in the record.

        Args:
            trigger: its name; all unless given.
            stream: of this stream only.
            armed: whether they may fire; an active one that is disarmed ends.

        Returns:
            How many triggers were meant.

        Raises:
            RequestRefusedError: there is no such trigger, or the server has no experiment.
        """
        request = pb.ArmTriggersRequest(stream=stream, trigger=trigger, armed=armed)
        return int(self._ask(self._loop.ArmTriggers, request).triggers)

    def close(self) -> None:
        """Close the connection; senders have their own and go on."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        """Return the server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def _ask(self, method: Callable[..., Reply], request: Message, timeout_s: float = _ANSWER_S) -> Reply:
        if self._closed:
            raise InvalidInputError(f"the connection to {self.address} is closed; connect again")
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            meant = error_of(error, self.address)
            if isinstance(meant, ConnectionBrokenError):
                meant = ServerUnavailableError(f"The server at {self.address} went away: {meant}.")
            raise meant from None


def _check_options(options: Mapping[str, object], known: frozenset[str]) -> None:
    for name in options:
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, ["model", "policy", *sorted(known)], n=1, cutoff=0.0)
            raise InvalidInputError(f"a stream has no option {name!r}; did you mean {near[0]!r}?")


def connect(address: str = DEFAULT_SERVER, timeout_s: float = 5.0) -> Server:
    """Connect to a server.

    Args:
        address: ``host:port``.
        timeout_s: how long to wait for it, here and when a stream is opened.

    Raises:
        InvalidInputError: the address can't be right.
        ServerUnavailableError: no server answers there in time.
    """
    return Server(address, timeout_s)
