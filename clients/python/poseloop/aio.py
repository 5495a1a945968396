"""The same client for asyncio: `connect` and `subscribe` whose waiting is awaited.

A stream's frames, answers and reconnects are handled by the very same `FrameSender`, whose work is on threads of its
own; nothing here holds up the event loop. What may wait for long, opening a stream and ending it, has a thread of its
own too: the loop's few would be full when several streams wait, and the program's work and their own end behind them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray

from poseloop import client
from poseloop.addresses import DEFAULT_SERVER
from poseloop.aio_subscription import AsyncSubscription, subscribe
from poseloop.client import SenderOptions, TrackOptions
from poseloop.clock import now_ns
from poseloop.sender import FrameSender, parse_policy
from poseloop.tracking import Image, PoseQueue, feed
from poseloop.triggers import LoopInfo
from poseloop.types import Counters, Frame, ModelInfo, ModelSpec, Policy, Pose, StreamInfo
from poseloop.wire import FrameData

__all__ = ["AsyncFrameSender", "AsyncServer", "AsyncSubscription", "AsyncTracking", "connect", "subscribe"]

Frames = Iterable[Image] | AsyncIterable[Image]
Result = TypeVar("Result")

# How often who waits for room lets the sender look whether the server is silent.
_LOOK_S = 1.0


async def _on_own_thread(call: Callable[[], Result]) -> Result:
    """Return what ``call`` returns on a thread of its own, which a cancellation leaves to its end."""
    done: Future[Result] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # it has to reach who waits
            done.set_exception(error)

    threading.Thread(target=run, name="poseloop-aio", daemon=True).start()
    return await asyncio.wrap_future(done)


def _setter(event: asyncio.Event) -> Callable[[], None]:
    """Return what sets the event from any thread."""
    loop = asyncio.get_running_loop()

    def set_it() -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(event.set)

    return set_it


class AsyncFrameSender:
    """One open stream; see `poseloop.FrameSender`."""

    def __init__(self, sender: FrameSender) -> None:
        self._sender = sender
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._wake = _setter(self._changed)

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self._sender.stream

    @property
    def model_spec(self) -> ModelSpec | None:
        """The description of the model that the frames go to."""
        return self._sender.model_spec

    @property
    def counters(self) -> Counters:
        """The stream's account over every reconnect."""
        return self._sender.counters

    async def send(self, image: NDArray[np.uint8] | Frame, captured_ns: int | None = None) -> int:
        """Send one frame and return its sequence number; lossless, wait for room. See `poseloop.FrameSender.send`.

        A lossless frame whose `send` is cancelled is not sent.
        """
        if self._sender.policy is Policy.LIVE:
            return self._sender.send(image, captured_ns)  # never waits
        if isinstance(image, Frame):
            frame = FrameData.of(image)
        else:
            frame = FrameData.of_array(image, now_ns() if captured_ns is None else captured_ns)
        return await self._send_in_turn(frame)

    async def _send_in_turn(self, frame: FrameData) -> int:
        async with self._turn:
            await asyncio.sleep(0)  # a source that never waits lets others run, and can be cancelled
            while True:
                self._changed.clear()
                if (sequence := self._sender.send_if_room(frame, self._wake)) is not None:
                    return sequence
                with suppress(TimeoutError):  # the sender looks now and then whether the server is silent
                    await asyncio.wait_for(self._changed.wait(), _LOOK_S)

    async def close(self, timeout_s: float | None = None, *, away_s: float = 60.0) -> Counters:
        """Answer what is in flight and end the stream; see `poseloop.FrameSender.close`."""
        return await _on_own_thread(partial(self._sender.close, timeout_s, away_s=away_s))

    async def abort(self) -> None:
        """Drop the connection at once, whatever is in flight."""
        await _on_own_thread(self._sender.abort)

    async def __aenter__(self) -> Self:
        """Return the sender."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the stream; at once, where the block failed."""
        await (self.close() if kind is None else self.abort())


class AsyncTracking:
    """The poses of frames that are being sent: an asynchronous iterator and context manager; see `poseloop.Tracking`.

    The stream is opened when the first pose is asked for. A wait for a pose may be cancelled, by a timeout for example,
    and repeated.
    """

    def __init__(self, open_sender: Callable[[PoseQueue], FrameSender], frames: Frames, policy: Policy):
        self._opening: _Opening | None = None
        self._closed = False
        self._changed = asyncio.Event()
        self._poses = PoseQueue(policy, on_change=_setter(self._changed))
        self._open_sender = open_sender
        self._frames = frames
        self._sender: FrameSender | None = None
        self._feeding: asyncio.Task[None] | None = None

    @property
    def counters(self) -> Counters:
        """The stream's account."""
        return Counters() if self._sender is None else self._sender.counters

    @property
    def passed_over(self) -> int:
        """Poses of a live stream that gave way to newer ones because they were not read in time."""
        return self._poses.passed_over

    def __aiter__(self) -> Self:
        """Return the tracking: its poses, one after the other."""
        return self

    async def __anext__(self) -> Pose:
        """Return the next pose; raises what `poseloop.Tracking` raises."""
        try:
            if self._feeding is None and not self._closed:
                await self._open()
            while True:
                self._changed.clear()
                if (pose := self._poses.take()) is not None:
                    return pose
                await self._changed.wait()
        except StopIteration:
            await self.close()
            raise StopAsyncIteration from None
        except Exception:  # not a cancellation: who waits for a pose with a timeout may ask again
            await self.close()
            raise

    async def _open(self) -> None:
        if self._opening is None:
            self._opening = _Opening(partial(self._open_sender, self._poses))
        self._sender = await self._opening.sender()
        self._feeding = asyncio.create_task(_feed(self._frames, self._sender, self._poses))

    async def close(self) -> None:
        """Stop sending; what is in flight is not waited for."""
        self._closed = True
        self._poses.abandon()
        if self._sender is not None:
            await _on_own_thread(self._sender.abort)
        elif self._opening is not None:
            self._opening.give_up()
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)

    def __del__(self) -> None:
        """End the stream of an iteration that was cancelled and that nobody can take up again."""
        if self._opening is not None and not self._closed:
            self._poses.abandon()
            self._opening.give_up()

    async def __aenter__(self) -> Self:
        """Return the tracking."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop sending."""
        await self.close()


class _Opening:
    """A stream that is being opened, on a thread; once nobody wants it any more, it is dropped when it is open."""

    def __init__(self, open_sender: Callable[[], FrameSender]) -> None:
        self._open_sender = open_sender
        self._lock = threading.Lock()
        self._opened: FrameSender | None = None
        self._unwanted = False
        self._task = asyncio.create_task(_on_own_thread(self._run))

    async def sender(self) -> FrameSender:
        """Wait for the stream; may be cancelled, and called again."""
        return await asyncio.shield(self._task)

    def give_up(self) -> None:
        """Drop the stream, at once or when it is open; does not wait."""
        with self._lock:
            self._unwanted = True
        if self._opened is not None:
            threading.Thread(target=self._opened.abort, daemon=True).start()

    def _run(self) -> FrameSender:
        sender = self._open_sender()
        with self._lock:
            self._opened = sender
        if self._unwanted:
            sender.abort()
        return sender


async def _feed(frames: Frames, sender: FrameSender, poses: PoseQueue) -> None:
    """Send the frames of a source; an iterable that is not asynchronous may wait for a camera, on its own thread."""
    if not isinstance(frames, AsyncIterable):
        threading.Thread(
            target=feed, args=(frames, sender, poses), name=f"poseloop-frames-{sender.stream}", daemon=True
        ).start()
        return
    error: Exception | None = None
    sending = AsyncFrameSender(sender)
    try:
        async for frame in frames:
            await sending.send(frame)
    except Exception as raised:  # it has to reach whoever iterates
        error = raised
    try:
        await sending.close()  # before the error: it comes after every pose
    except Exception as raised:
        error = error or raised
    poses.finish(error)


class AsyncServer:
    """A connection to one server; made by `connect`, see `poseloop.Server`."""

    def __init__(self, server: client.Server) -> None:
        self._server = server
        self.address = server.address

    async def sender(
        self, stream: str, model: str = "", policy: Policy | str = Policy.LIVE, **options: Unpack[SenderOptions]
    ) -> AsyncFrameSender:
        """Open a stream to send frames; callbacks among the options run on a thread of the sender's."""
        opening = _Opening(partial(self._server.sender, stream, model, policy, **options))
        try:
            return AsyncFrameSender(await opening.sender())
        except asyncio.CancelledError:
            opening.give_up()
            raise

    def track(
        self,
        frames: Frames,
        stream: str,
        model: str = "",
        policy: Policy | str = Policy.LIVE,
        **options: Unpack[TrackOptions],
    ) -> AsyncTracking:
        """Send frames, from an iterable that may be asynchronous, and iterate over their poses."""

        def open_sender(poses: PoseQueue) -> FrameSender:
            return self._server.sender(stream, model, policy, **options, on_pose=poses.put, on_end=poses.fail)

        return AsyncTracking(open_sender, frames, parse_policy(policy))

    async def models(self) -> list[ModelInfo]:
        """Return the loaded models and what really runs them."""
        return await asyncio.to_thread(self._server.models)

    async def streams(self) -> list[StreamInfo]:
        """Return the open streams with their accounts and latencies."""
        return await asyncio.to_thread(self._server.streams)

    async def load_model(self, file: str, name: str = "") -> ModelInfo:
        """Load a model of the server's models folder; see `poseloop.Server.load_model`."""
        return await asyncio.to_thread(self._server.load_model, file, name)

    async def swap_model(self, name: str, file: str) -> ModelInfo:
        """Let a file take over a model's name and streams; see `poseloop.Server.swap_model`."""
        return await asyncio.to_thread(self._server.swap_model, name, file)

    async def unload_model(self, name: str) -> None:
        """Unload a model."""
        await asyncio.to_thread(self._server.unload_model, name)

    async def triggers(self) -> LoopInfo:
        """Return what the server's experiment does."""
        return await asyncio.to_thread(self._server.triggers)

    async def arm(self, trigger: str = "", stream: str = "", *, armed: bool = True) -> int:
        """Arm or disarm triggers; as `poseloop.client.Server.arm`."""
        return await asyncio.to_thread(self._server.arm, trigger, stream, armed=armed)

    async def close(self) -> None:
        """Close the connection; senders have their own and go on."""
        self._server.close()

    async def __aenter__(self) -> Self:
        """Return the server."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()


class _Connecting:
    """What `connect` returns: it can be awaited, or entered at once with ``async with``."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._server: AsyncServer | None = None

    async def _connect(self) -> AsyncServer:
        return AsyncServer(await asyncio.to_thread(client.connect, self._address, self._timeout_s))

    def __await__(self) -> Generator[Any, None, AsyncServer]:
        return self._connect().__await__()

    async def __aenter__(self) -> AsyncServer:
        self._server = await self._connect()
        return self._server

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.close()


def connect(address: str = DEFAULT_SERVER, timeout_s: float = 5.0) -> _Connecting:
    """Connect to a server: ``async with connect(...) as server`` or ``server = await connect(...)``.

    Raises what `poseloop.connect` raises, when it is awaited or entered.
    """
    return _Connecting(address, timeout_s)
