"""Sends the frames of one stream, and carries on by itself when the server goes away and comes back."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from poseloop import forks, jpeg, local
from poseloop.addresses import check_stream
from poseloop.clock import ClockOffset, clock_id, now_ns
from poseloop.crop import parse_crop
from poseloop.encoder import Encoder, Encoding
from poseloop.errors import InvalidInputError, MissingExtraError, ServerUnavailableError
from poseloop.flow import Flow
from poseloop.link import Link, Listeners
from poseloop.messages import POLICY_TO_WIRE, crop_to_wire
from poseloop.transport import Transport, unavailable
from poseloop.types import Counters, Frame, ModelSpec, Policy
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.warmer import Warmer
from poseloop.wire import FrameData

log = logging.getLogger(__name__)

_CLOSE_LIVE_S = 10.0


def parse_policy(text: str) -> Policy:
    """Return the policy of that name.

    Raises:
        InvalidInputError: there is none.
    """
    try:
        return Policy(text)
    except ValueError:
        raise InvalidInputError(f"policy {text!r} is unknown; use one of {', '.join(Policy)}") from None


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """What a stream is opened with.

    Attributes:
        stream: its name, 1 to 64 of ``A-Z a-z 0-9 _ . -``; unique on the server while open.
        model: a loaded model's name; empty where the server has just one.
        policy: live (newest frame wins) or lossless (the source waits).
        encoding: how frames travel: as they are, as JPEG, or as whichever of the two makes poses younger. Lossless
            frames are never compressed by themselves, since what a pose says must not depend on the network.
        jpeg_quality: libjpeg's, 1 to 100.
        return_poses: whether the server answers with the poses themselves, beside publishing them.
        timeout_s: how long opening the stream may take.
        reconnect_s: how long to go on trying when the server goes away; for ever, unless given.
        transport: how frames travel: ``"grpc"``, ``"local"`` (shared memory of this host) or ``"auto"``.
        priority: -100 to 100; of the streams that are ready the server serves the highest first.
        max_fps: poses a second that are enough, live only; None for every frame.
        crop: the window that follows the one animal in it, as ``WIDTHxHEIGHT``, or ``off``; None: as the server has it.
        keep_warm: whether a thread rehearses the way of each live frame shortly before it is due, so that it finds the
            caches warm.
    """

    stream: str
    model: str = ""
    policy: Policy = Policy.LIVE
    encoding: Encoding = "raw"
    jpeg_quality: int = 90
    return_poses: bool = False
    timeout_s: float = 10.0
    reconnect_s: float = math.inf
    transport: Transport = "auto"
    priority: int = 0
    max_fps: float | None = None
    crop: str | None = None
    keep_warm: bool = True

    def __post_init__(self) -> None:
        check_stream(self.stream)
        if self.transport not in get_args(Transport):
            raise InvalidInputError(
                f"transport {self.transport!r} is unknown; use one of {', '.join(get_args(Transport))}"
            )
        if self.transport == "local" and not local.is_installed():
            raise MissingExtraError("The local transport", "local")
        if self.encoding not in get_args(Encoding):
            raise InvalidInputError(
                f"encoding {self.encoding!r} is unknown; use one of {', '.join(get_args(Encoding))}"
            )
        if not 1 <= self.jpeg_quality <= 100:
            raise InvalidInputError(f"a JPEG's quality must be 1 to 100, not {self.jpeg_quality}")
        # None is what other libraries write for "no limit"; here a comparison with it would end the first reconnect.
        if not isinstance(self.reconnect_s, float | int) or not self.reconnect_s >= 0:
            raise InvalidInputError(
                f"reconnect_s must be a number of seconds, not {self.reconnect_s!r}; leave it out to go on for ever"
            )
        if not -100 <= self.priority <= 100:
            raise InvalidInputError(f"a stream's priority must be -100 to 100, not {self.priority}")
        self._check_max_fps()
        if self.crop is not None:
            parse_crop(self.crop)
        if self.encoding == "jpeg":
            jpeg.require()

    def _check_max_fps(self) -> None:
        if self.max_fps is None:
            return
        if self.policy is Policy.LOSSLESS:
            raise InvalidInputError("max_fps drops frames, and a lossless stream drops none; use one of the two")
        if not 0 < self.max_fps < math.inf:
            raise InvalidInputError(f"max_fps must be a number above 0, not {self.max_fps}")

    def opening(self) -> pb.OpenStream:
        """Return the message that opens the stream."""
        return pb.OpenStream(
            stream=self.stream,
            model=self.model,
            policy=POLICY_TO_WIRE[self.policy],
            return_poses=self.return_poses,
            clock_id=clock_id(),
            shared_memory=self.transport != "grpc" and local.is_installed(),
            priority=self.priority,
            max_frames_per_second=self.max_fps or 0.0,
            crop=None if self.crop is None else crop_to_wire(parse_crop(self.crop)),
        )

    def encoder(self) -> Encoder | None:
        """Return what compresses frames before they leave; None where nothing ever does."""
        if self.encoding == "raw" or (self.encoding == "auto" and self.policy is Policy.LOSSLESS):
            return None
        if self.encoding == "auto" and not jpeg.is_possible():
            log.warning(
                "stream %s: frames go raw whatever the network, since JPEG needs `pip install 'poseloop[camera]'`",
                self.stream,
            )
            return None
        return Encoder(self.stream, self.jpeg_quality, choose=self.encoding == "auto")


class FrameSender:
    """One open stream; made by `Server.sender`, and a context manager that closes it.

    In live mode `send` never waits; in lossless mode it waits until there is room. When the server goes away the sender
    connects again by itself: live frames go on being replaced and counted meanwhile, lossless ones wait, and those that
    were in flight are sent again.

    Raises:
        RequestRefusedError: the server refuses the stream: its ``code`` says whether for the model, the name ...
        ServerUnavailableError: no server answered within ``timeout_s``.
    """

    def __init__(self, settings: SenderSettings, address: str, listeners: Listeners) -> None:
        self._settings = settings
        self._address = address
        self._policy = settings.policy
        self._forks = forks.count
        self._encoder = settings.encoder()
        self._flow = Flow(settings.stream, self._policy, self._encoder)
        self._link = Link(address, settings.opening(), self._flow, settings.reconnect_s, listeners, settings.transport)
        opened = False
        try:
            opened = self._flow.wait_until_open(settings.timeout_s)
        finally:
            if not opened:
                self._link.abort()
        if not opened:
            raise unavailable(address, settings.timeout_s)
        is_warm = settings.keep_warm and settings.policy is Policy.LIVE
        self._warmer = Warmer(self._flow, self._link, settings.stream) if is_warm else None

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self._settings.stream

    @property
    def policy(self) -> Policy:
        """Live or lossless."""
        return self._policy

    @property
    def model_spec(self) -> ModelSpec | None:
        """The description of the model that the frames go to."""
        return self._link.model_spec

    @property
    def transport(self) -> Transport:
        """How frames travel now: ``"grpc"`` or ``"local"``."""
        return self._link.transport

    @property
    def encoding(self) -> Literal["raw", "jpeg"]:
        """What frames travel as now; with ``encoding="auto"`` that may change at any time."""
        return "raw" if self._encoder is None else self._encoder.encoding

    @property
    def connected(self) -> bool:
        """Whether frames can leave now."""
        return self._flow.connected

    @property
    def counters(self) -> Counters:
        """The stream's account over every reconnect; the server's part is as of its last answer."""
        return self._flow.counters

    @property
    def clock(self) -> ClockOffset:
        """The server's clock against ours, as the frames carry it now."""
        return self._flow.clock

    @property
    def warm_ups(self) -> int:
        """How often the way of a frame was rehearsed before it came."""
        return 0 if self._warmer is None else self._warmer.times

    def send(self, image: NDArray[np.uint8] | Frame, captured_ns: int | None = None) -> int:
        """Send one frame and return its sequence number, which starts at 0 and counts every frame given here.

        Args:
            image: uint8 ``(height, width)`` grey, ``(height, width, 3)`` RGB, or a `Frame`. Its memory may be used
                again as soon as this returns.
            captured_ns: when it was taken, on `poseloop.now_ns`; now, if it is not given and ``image`` is no `Frame`.

        Raises:
            InvalidInputError: the image can't be sent, ``captured_ns`` is no integer, the sender is closed, or another
                process opened it.
            RequestRefusedError: the server refused an earlier frame.
            ServerUnavailableError: the server went away and did not come back within ``reconnect_s``.
        """
        if self._forks != forks.count:
            self._check_process()
        if isinstance(image, Frame):
            return self._flow.push(FrameData.of(image))
        return self._flow.push(FrameData.of_array(image, now_ns() if captured_ns is None else captured_ns))

    def send_if_room(self, frame: FrameData, when_changed: Callable[[], None]) -> int | None:
        """Send one lossless frame without waiting, for an event loop; see `Flow.push_if_room`."""
        self._check_process()
        return self._flow.push_if_room(frame, when_changed)

    def close(self, timeout_s: float | None = None, *, away_s: float = 60.0) -> Counters:
        """Send what waits, wait for the answers to what is in flight, end the stream and return its final account.

        Args:
            timeout_s: how long to wait for that; 10 s in live mode, unless given, and as long as the server answers in
                lossless mode.
            away_s: how long of that to wait, at most, for a server that is away; ``reconnect_s`` may end it earlier.

        Raises:
            InvalidInputError: a callback of the sender's closes it, and would wait for itself; or another process
                opened it.
            RequestRefusedError: the server refused a frame.
            ServerUnavailableError: lossless frames are still unanswered.
        """
        self._check_process()
        if self._link.is_current_thread and not self._flow.over:
            raise InvalidInputError(
                f"a callback of stream {self.stream} can't close it, since it would wait for itself; close it on "
                "another thread, or call abort()"
            )
        if timeout_s is None and self._policy is Policy.LIVE:
            timeout_s = _CLOSE_LIVE_S
        error = self._flow.close(timeout_s, away_s)
        over, away = self._flow.over, not self._flow.connected
        self._end()
        if error is not None:
            raise error
        counters = self._flow.counters
        if self._policy is Policy.LOSSLESS and not self._flow.idle:
            waited_s = math.inf if timeout_s is None else timeout_s
            if over:
                why = "before it was aborted"
            elif away:
                why = f"since {self._address} went away and did not come back within {min(waited_s, away_s):g} s"
            else:
                why = f"within {waited_s:g} s"
            raise ServerUnavailableError(
                f"{counters.in_flight} frames of stream {self.stream} were not answered {why}."
            )
        return counters

    def abort(self) -> None:
        """Drop the connection at once, whatever is in flight; in a forked child, leave its parent's alone."""
        if self._forks != forks.count:
            return
        self._flow.close(timeout_s=0)
        self._end()

    def _end(self) -> None:
        self._link.abort()
        if self._warmer is not None:
            self._warmer.close()

    def _check_process(self) -> None:
        forks.check(self._forks, f"the sender of stream {self.stream!r}")

    def __enter__(self) -> Self:
        """Return the sender."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the stream; at once, where the block failed, so that its error is not hidden or delayed."""
        if kind is None:
            self.close()
        else:
            self.abort()
