"""Takes frames in over gRPC: one Track call is one stream.

Messages are handled as bytes: what can't be parsed gets our own status, and poses are serialised only once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from poseloop import local, local_frames
from poseloop.clock import clock_id, now_ns
from poseloop.crop import Crop
from poseloop.errors import InvalidInputError
from poseloop.messages import POLICY_FROM_WIRE
from poseloop.types import Policy
from poseloop.v1 import poseloop_pb2 as pb

from poseloop_server import replies
from poseloop_server.events import Events
from poseloop_server.following import require_croppable
from poseloop_server.frames import IncomingFrame
from poseloop_server.ingest.local_frames import LocalFrames
from poseloop_server.ingest.wire_frames import FrameGate, read_crop, read_open
from poseloop_server.loop.experiment import LiveExperiment
from poseloop_server.refusal import RefusedError, invalid, unavailable
from poseloop_server.registry import ModelRegistry
from poseloop_server.scheduler import Scheduler
from poseloop_server.settings import Settings
from poseloop_server.stream import ClientAccount, Stream, StreamIdentity, make_mailbox
from poseloop_server.stream_table import StreamTable

_log = logging.getLogger(__name__)
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # missing in its type stubs
_MAX_WAITING_REPLIES = 4096
_STARTING = "the server is starting and has not loaded all of its models; connect again when its health is SERVING."
_STOPPING = "the server is shutting down; connect again when it is back."
_BROKE = "the connection broke"
Context = grpc.aio.ServicerContext[bytes, bytes]


class _Outbox:
    """Replies on their way to the client; written by one task, since a call can have one write at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self._ended = False
        self._broken = False
        self._task = asyncio.create_task(self._write_all())
        self.overflowed = False

    def put(self, reply: bytes) -> None:
        """Send a reply when those before it are sent."""
        if len(self._waiting) >= _MAX_WAITING_REPLIES:
            self.overflowed = True
            return
        self._waiting.append(reply)
        self._filled.set()

    async def finish(self) -> bool:
        """Wait until everything is written, unless nobody reads it; nothing may be put in afterwards.

        Returns:
            Whether the client was there to the end.
        """
        self._ended = True
        self._filled.set()
        if self.overflowed:
            self._waiting.clear()
            self._task.cancel()
        await asyncio.wait({self._task})
        return not self._broken

    async def _write_all(self) -> None:
        try:
            while True:
                while self._waiting:
                    await self._context.write(self._waiting.popleft())
                if self._ended:
                    return
                self._filled.clear()
                await self._filled.wait()
        except (grpc.aio.BaseError, grpc.aio.UsageError, RuntimeError) as error:
            self._broken = True
            _log.debug("the client no longer reads: %s", error)


@dataclass(slots=True)
class _Session:
    """One open stream, and where its frames come from and its replies go."""

    stream: Stream
    scheduler: Scheduler
    outbox: _Outbox
    gate: FrameGate
    shared: LocalFrames | None
    latest: IncomingFrame | None = None  # of those that came through shared memory

    def admit(self, frame: IncomingFrame, client: ClientAccount) -> None:
        """Hand on a frame that there is room for; on the event loop.

        Raises:
            RefusedError: the replies before it are not read.
        """
        stream = self.stream
        if stream.put(frame, client):
            self.scheduler.wake(stream)
        if stream.identity.policy is Policy.LIVE:
            self.outbox.put(replies.ack(stream, frame))
        self._require_reader()

    def take(self, header: pb.Frame, data: memoryview, owner: object, received_ns: int, gave_way: int) -> bool:
        """Check a frame that lies in shared memory and put it in; on the model's thread.

        Returns:
            Whether the stream has to stand in its model's line.

        Raises:
            RefusedError: it can't be right, there is no room for it, or the replies are not read.
        """
        # A JPEG is copied: what decodes it must not see it change.
        pixels = bytes(data) if header.format == pb.PIXEL_FORMAT_JPEG else data
        frame, client = self.gate.admit_frame(header, pixels, received_ns, owner, gave_way)
        if not self.stream.mailbox.has_room:
            raise invalid("sequence", "more frames are unacknowledged than the window allows; wait for answers.")
        self._require_reader()
        if self.stream.identity.policy is Policy.LIVE:
            self.latest = frame
        return self.stream.put(frame, client, gave_way)

    def acknowledge_latest(self) -> None:
        """Answer the latest frame that came through shared memory, and so those before it; on the model's thread."""
        latest, self.latest = self.latest, None
        if latest is not None:
            self.stream.loop.call_soon_threadsafe(self.outbox.put, replies.ack(self.stream, latest))

    def _require_reader(self) -> None:
        if self.outbox.overflowed:
            raise RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "", "replies are not read; read them, or don't ask for poses."
            )


async def _read_one(context: Context) -> Any:
    return await context.read()


class GrpcFrames:
    """The PoseService.

    Args:
        settings: windows and limits.
        registry: where models are found.
        table: where streams are known by name.
        events: told of opened and closed streams.
        server_id: of this run of the server.
        experiment: acts on the poses of the streams that it names; None: nothing does.

    Attributes:
        ready: every model that the server was started with is loaded; until then no stream is opened, since the model
            that it names, or a second one where it names none, may be about to come.
    """

    def __init__(
        self,
        settings: Settings,
        registry: ModelRegistry,
        table: StreamTable,
        events: Events,
        server_id: str,
        experiment: LiveExperiment | None = None,
    ) -> None:
        self._settings = settings
        self._experiment = experiment
        self._registry = registry
        self._table = table
        self._events = events
        self._server_id = server_id
        self.ready = False
        self._stopping = False
        self._readers: set[asyncio.Task[Any]] = set()
        self._retiring: set[asyncio.Task[None]] = set()

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to a gRPC server."""
        handler = grpc.stream_stream_rpc_method_handler(self._track)
        name = pb.DESCRIPTOR.services_by_name["PoseService"].full_name
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Track": handler}),))

    async def stop(self) -> None:
        """Refuse new streams, take no more frames, and answer those in flight."""
        self._stopping = True
        for reader in self._readers:
            reader.cancel()
        while self._readers or self._retiring:
            await asyncio.wait(self._readers | self._retiring)

    async def _track(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        try:
            session = await self._open(context)
        except RefusedError as error:
            await error.abort(context)
        reader = asyncio.create_task(self._read(session, context))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        if session.shared is not None:
            live = session.stream.identity.policy is Policy.LIVE
            refuse = partial(session.stream.loop.call_soon_threadsafe, reader.cancel)
            session.shared.start(session.take, session.acknowledge_latest if live else None, refuse)
            session.scheduler.fetch(session.stream, session.shared)
        reason = _BROKE
        try:
            await asyncio.wait({reader})
            refusal = self._why_ended(reader, session.shared)
            reason = "" if refusal is None else refusal.sentence
        finally:
            # In a task of its own, since frames in flight are dealt with even where the client is gone.
            reader.cancel()
            retired = self._retire(session, reason)
        await asyncio.shield(retired)
        if refusal is not None:
            await refusal.abort(context)

    async def _open(self, context: Context) -> _Session:
        first = await self._first_message(context)
        if first is _EOF:
            raise invalid("open", "the call ended before a stream was opened; send `open` first.")
        request = read_open(first)
        if self._stopping:
            raise unavailable(_STOPPING)
        if not self.ready:
            raise unavailable(_STARTING)
        policy = POLICY_FROM_WIRE.get(request.policy, Policy.LIVE)
        window = self._settings.window_live_frames if policy is Policy.LIVE else self._settings.window_lossless_frames
        session_id = self._table.next_session_id()
        scheduler = self._registry.find(request.model)
        await self._prepare_loop(request, scheduler)
        shared = await self._offer_shared_memory(request, scheduler, session_id, window)
        try:
            # From here on nothing waits: the name stays free until it is taken.
            if self._registry.find(request.model) is not scheduler:
                raise unavailable("the model was unloaded at this moment; connect again.")
            self._table.require_free(request.stream)
            crop = self._crop_of(request, scheduler)
        except RefusedError:
            if shared is not None:
                await asyncio.to_thread(shared.close)
            raise
        identity = StreamIdentity(
            name=request.stream,
            session_id=session_id,
            model=scheduler.model.name,
            policy=policy,
            return_poses=request.return_poses,
            peer=context.peer(),
            priority=request.priority,
            max_fps=request.max_frames_per_second,
            crop=crop,
        )
        outbox = _Outbox(context)
        stream = Stream(identity, make_mailbox(policy, window), asyncio.get_running_loop(), outbox.put)
        self._table.add(stream)
        experiment = self._experiment
        scheduler.add(stream, None if experiment is None else experiment.open_stream(request.stream, scheduler.model))
        self._events.opened(stream)
        offered = ("", "") if shared is None else (shared.name, shared.event)
        outbox.put(replies.opened(stream, scheduler.model.spec, self._server_id, window, *offered))
        model = scheduler.model
        gate = FrameGate(self._settings.max_frame_pixels, model.fixed_width, model.fixed_height)
        return _Session(stream, scheduler, outbox, gate, shared)

    def _crop_of(self, request: pb.OpenStream, scheduler: Scheduler) -> Crop | None:
        """Return the window that follows the stream's animal, if one does."""
        crop = read_crop(request, self._settings.crop_of(scheduler.model.name))
        if crop is not None:
            try:
                require_croppable(scheduler.model)
            except InvalidInputError as error:
                raise invalid("crop", str(error)) from None
        return crop

    async def _prepare_loop(self, request: pb.OpenStream, scheduler: Scheduler) -> None:
        """Have ready what will act on the stream's poses, if anything does."""
        if self._experiment is None:
            return
        try:
            await asyncio.to_thread(self._experiment.prepare_stream, request.stream, scheduler.model)
        except InvalidInputError as error:
            raise invalid("stream", str(error)) from None

    async def _offer_shared_memory(
        self, request: pb.OpenStream, scheduler: Scheduler, session_id: int, window: int
    ) -> LocalFrames | None:
        """Make the shared memory of a stream whose client asks for it and shares this host, where that can be had."""
        asked = request.shared_memory and request.clock_id == clock_id()
        if not (asked and self._settings.shared_memory and local.is_installed()):
            return None
        live = request.policy != pb.DELIVERY_POLICY_LOSSLESS

        def offer() -> LocalFrames:
            # The first stream of a model names its bell.
            bell = scheduler.open_bell(f"{local_frames.service_name(self._server_id, session_id)}/bell")
            name = local_frames.service_name(self._server_id, session_id)
            largest_bytes = self._settings.max_message_mib << 20
            return LocalFrames(name, bell.name, None if live else window, largest_bytes, bell.ring)

        try:
            return await asyncio.to_thread(offer)
        except local.LocalTransportError as error:
            _log.warning("stream %s: %s; its frames come over gRPC", request.stream, error)
            return None

    async def _first_message(self, context: Context) -> Any:
        """Wait for the message that opens the stream, until the server stops."""
        if self._stopping:
            raise unavailable(_STOPPING)
        reading: asyncio.Task[Any] = asyncio.create_task(_read_one(context))
        self._readers.add(reading)
        reading.add_done_callback(self._readers.discard)
        try:
            return await reading
        except asyncio.CancelledError:
            if self._stopping:
                raise unavailable(_STOPPING) from None
            raise

    async def _read(self, session: _Session, context: Context) -> None:
        """Take frames until the client has sent its last."""
        mailbox = session.stream.mailbox
        while True:
            message: Any = await context.read()
            if session.shared is not None and not session.shared.finished:
                # The client has sent its last frame, or prefers to send them here.
                await asyncio.to_thread(session.shared.finish)
            if message is _EOF:
                return
            frame, client = session.gate.admit(message, now_ns())
            if not mailbox.has_room:
                await session.stream.wait_until(lambda: mailbox.has_room)
            session.admit(frame, client)

    def _retire(self, session: _Session, reason: str) -> asyncio.Task[None]:
        """Let the frames that wait be dealt with, forget the stream, and say so."""
        stream = session.stream

        async def retire() -> None:
            if session.shared is not None:
                await asyncio.to_thread(session.shared.finish)
            await stream.drained()
            session.scheduler.remove(stream)
            closing = None
            if self._experiment is not None:
                closing = self._experiment.close_stream(
                    stream.identity.name, reason, stream.counters(), stream.clock_uncertainty_ns
                )
            self._table.remove(stream)
            session.outbox.put(replies.closed(stream))
            if session.shared is not None:
                await asyncio.to_thread(session.shared.close)
            # A connection that breaks may look like a client's clean end at first; but nothing can be written to it.
            is_there = await session.outbox.finish()
            why = reason if reason or is_there else _BROKE
            if closing is not None:
                closing.tell(why)
            self._events.closed(stream, why)

        task = asyncio.create_task(retire())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        return task

    def _why_ended(self, reader: asyncio.Task[None], shared: LocalFrames | None) -> RefusedError | None:
        """Return the refusal that ended a reader, or None where the client did; any other failure is a defect."""
        if shared is not None and shared.refusal is not None:
            return shared.refusal
        if reader.cancelled():
            return unavailable("the server is shutting down; every frame that it took is answered.")
        error = reader.exception()
        if error is None or isinstance(error, RefusedError):
            return error
        raise error
