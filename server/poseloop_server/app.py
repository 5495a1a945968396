"""The server as a whole: wires the parts, starts them in order, and stops them in the reverse one."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import zmq
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from poseloop import local
from poseloop.clock import clock_id, now_ns
from poseloop.errors import InvalidInputError
from poseloop.memory import keep_freed_memory
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.v1 import poseloop_pb2_grpc as rpc

from poseloop_server import realtime
from poseloop_server.bundled import arena_model_path
from poseloop_server.events import Events
from poseloop_server.following import require_croppable
from poseloop_server.ingest.grpc_frames import GrpcFrames
from poseloop_server.loop.experiment import LiveExperiment
from poseloop_server.loop.service import LoopService
from poseloop_server.metrics import MetricsEndpoint, PoseCollector
from poseloop_server.model import PoseModel
from poseloop_server.oip.service import SERVICE_NAME as INFERENCE_SERVICE
from poseloop_server.oip.service import InferenceService
from poseloop_server.oip.v2 import open_inference_pb2 as oip
from poseloop_server.outputs.base import OutputServices
from poseloop_server.placement import Placement
from poseloop_server.registry import ModelRegistry
from poseloop_server.scheduler import Scheduler
from poseloop_server.services import ModelService, StreamService
from poseloop_server.settings import HostPort, Settings
from poseloop_server.sinks.base import STATUS_TOPIC, Sinks
from poseloop_server.sinks.json_publisher import JsonPublisher
from poseloop_server.sinks.local_publisher import LocalPublisher
from poseloop_server.sinks.zmq_publisher import ZmqPublisher
from poseloop_server.stream_table import StreamTable

_log = logging.getLogger(__name__)
_STATUS_INTERVAL_S = 1.0
_WATCH_INTERVAL_S = 0.1
# How long the turns that are due may take at the end, before an experiment's outputs are put to rest.
_LAST_TURN_S = 5.0
_SWITCH_INTERVAL_S = 0.00002
_KEEPALIVE_TIME_MS = 10_000
# Long, since on a slow link the answer to a ping stands behind frames.
_KEEPALIVE_TIMEOUT_MS = 20_000
# Generated code carries no types.
_add_model_service: Callable[..., None] = rpc.add_ModelServiceServicer_to_server
_add_stream_service: Callable[..., None] = rpc.add_StreamServiceServicer_to_server
_add_loop_service: Callable[..., None] = rpc.add_LoopServiceServicer_to_server
_OWN_SERVICES = ("PoseService", "ModelService", "StreamService", "LoopService")
_SERVICES = (*(f"poseloop.v1.{name}" for name in _OWN_SERVICES), INFERENCE_SERVICE)


@dataclass(frozen=True, slots=True)
class Announcement:
    """Where a server that is ready can be reached."""

    address: str
    publish: str
    publish_json: str | None
    metrics: str | None
    pid: int
    server_id: str


class Server:
    """One running server.

    Attributes:
        settings: what it was started with.
        server_id: new for every instance.
        announcement: its real addresses, once `start` has returned.
        experiment: acts on the poses; None: nothing does.
    """

    announcement: Announcement

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.server_id = uuid.uuid4().hex[:12]
        self.started_ns = now_ns()
        self.table = StreamTable()
        self.registry = ModelRegistry(self._load_model, self._start_scheduler)
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]  # set at import
        self.experiment: LiveExperiment | None = None
        self._metrics: MetricsEndpoint | None = None
        self._status: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def models(self) -> list[PoseModel]:
        """The models that are ready."""
        return [scheduler.model for scheduler in self.registry.schedulers]

    async def start(self) -> None:
        """Bind every address, load and warm up the models, and only then become SERVING.

        Raises:
            PoseloopError: an address is taken, or a model or provider is not as it should be.
        """
        try:
            publish, publish_json = self._open_sinks()
            if self.settings.loop is not None:
                self.experiment = LiveExperiment(self.settings.loop, OutputServices(self._sink, self.server_id))
            address = await self._open_grpc()
            if self.settings.metrics_address is not None:
                self._metrics = MetricsEndpoint(
                    self.settings.metrics_address,
                    PoseCollector(self.table, lambda: self.models, self._sink, self.experiment),
                )
            models = _models_to_serve(self.settings)
            _require_known_names(self.settings, {name or path.stem for name, path in models})
            for name, path in models:
                await self.registry.load(path, name)
            if self.experiment is not None:
                await asyncio.to_thread(self.experiment.start, self.models)
            self._frames.ready = True
        except BaseException:
            await self.stop()
            raise
        self.announcement = Announcement(
            address=str(address),
            publish=publish,
            publish_json=publish_json,
            metrics=None if self._metrics is None else str(self._metrics.address),
            pid=os.getpid(),
            server_id=self.server_id,
        )
        self._status = asyncio.create_task(self._tell_status())
        if self.experiment is not None:
            self._watch = asyncio.create_task(self._watch_streams(self.experiment))
        self._inference.ready = True
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Take no more frames, answer those in flight, and let go of everything; may be called at any stage."""
        await self._health.enter_graceful_shutdown()
        if self._status is not None:
            self._status.cancel()
        if hasattr(self, "_grpc"):
            loop = asyncio.get_running_loop()
            deadline_s = loop.time() + self.settings.shutdown_grace_s
            with suppress(TimeoutError):
                stopped = asyncio.gather(self._frames.stop(), self._inference.stop())
                await asyncio.wait_for(stopped, self.settings.shutdown_grace_s)
            await self._grpc.stop(max(0.0, deadline_s - loop.time()))  # what the streams left of it
        models = asyncio.ensure_future(self.registry.stop())
        # A model's thread that hangs, such as in a stage of the user's, must not keep the outputs from their rest.
        await asyncio.wait({models}, timeout=None if self.experiment is None else _LAST_TURN_S)
        if self._watch is not None:
            self._watch.cancel()
        if self.experiment is not None:
            await asyncio.to_thread(self.experiment.stop)
        await models
        if self._metrics is not None:
            self._metrics.close()
        if hasattr(self, "_sink"):
            await asyncio.to_thread(self._sink.close)
        self._zmq.term()

    def _open_sinks(self) -> tuple[str, str | None]:
        queue = self.settings.publish_queue_messages
        publisher = ZmqPublisher(self._zmq, self.settings.publish, queue)
        self._sink = Sinks(publisher)
        self._local_poses = self._open_local_poses()
        if self._local_poses is not None:
            # Shared memory first: its subscribers count on it, and they are the ones in a hurry.
            self._sink = Sinks(self._local_poses, publisher)
        self._events = Events(self._sink, self.server_id)
        endpoint = self.settings.publish_json_endpoint
        if endpoint is None:
            return publisher.endpoint, None
        json_publisher = JsonPublisher(self._zmq, endpoint, queue)
        self._sink.add(json_publisher)
        return publisher.endpoint, json_publisher.endpoint

    def _open_local_poses(self) -> LocalPublisher | None:
        """Offer poses to this host's subscribers through shared memory, where that can be had."""
        if not (self.settings.shared_memory and local.is_installed()):
            return None
        try:
            return LocalPublisher(self.server_id)
        except local.LocalTransportError as error:
            _log.warning("%s; poses go over ZeroMQ alone", error)
            return None

    async def _open_grpc(self) -> HostPort:
        settings = self.settings
        self._frames = GrpcFrames(settings, self.registry, self.table, self._events, self.server_id, self.experiment)
        self._inference = InferenceService(settings, self.registry)
        self._grpc = grpc.aio.server(options=_grpc_options(settings))
        self._frames.register(self._grpc)
        self._inference.register(self._grpc)
        _add_model_service(ModelService(self.registry, settings.models_dir), self._grpc)
        _add_stream_service(StreamService(self.table, self.server_id, settings.statistics_window_s), self._grpc)
        _add_loop_service(LoopService(self.experiment), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflected = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(reflected, self._grpc, _reflected_descriptors())
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        wanted = settings.listen_address
        try:
            port = self._grpc.add_insecure_port(str(wanted))
        except RuntimeError:
            raise InvalidInputError(
                f"nothing can listen at {wanted}; is another server running there? Choose another one with --listen."
            ) from None
        await self._grpc.start()
        return HostPort(wanted.host, port)

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in ("", *_SERVICES):
            await self._health.set(service, status)

    def _load_model(self, path: Path, name: str | None) -> PoseModel:
        settings = self.settings
        placement = self._placement(name or path.stem)
        placement.check()
        # ONNX Runtime's threads start here, and what is measured is what will run.
        with placement.pinned(), realtime.threads_at(settings.realtime):
            model = PoseModel(
                path,
                name,
                provider=settings.provider,
                options=settings.provider_options,
                threads=placement.threads,
                warm_up_runs=settings.warm_up_runs,
                max_batch=settings.max_batch_frames,
            )
        if settings.crop_of(model.name) is not None:
            require_croppable(model)
        return model

    def _start_scheduler(self, model: PoseModel) -> Scheduler:
        with realtime.threads_at(self.settings.realtime):
            placement = self._placement(model.name)
            keep_warm = self.settings.keep_warm
            return Scheduler(model, self._sink, self._events, self.server_id, placement, keep_warm=keep_warm)

    def _placement(self, name: str) -> Placement:
        return self.settings.placement(name, len(self.settings.model))

    async def _watch_streams(self, experiment: LiveExperiment) -> None:
        while True:
            try:
                experiment.watch()
            except Exception:  # what has failed once must be looked after all the same
                _log.exception("the streams of the experiment could not be looked after")
            await asyncio.sleep(_WATCH_INTERVAL_S)

    async def _tell_status(self) -> None:
        while True:
            message = pb.ServerStatus(
                server_id=self.server_id,
                time_ns=now_ns(),
                started_ns=self.started_ns,
                models=[model.name for model in self.models],
                streams=[stream.identity.name for stream in self.table.open_streams()],
                version=version("poseloop"),
                clock_id=clock_id(),
                shared_memory="" if self._local_poses is None else self._local_poses.name,
            )
            self._sink.publish(STATUS_TOPIC.encode(), message.SerializeToString())
            if self.experiment is not None:
                for stream in self.table.open_streams():
                    self.experiment.account(stream.identity.name, stream.counters(), stream.clock_uncertainty_ns)
            await asyncio.sleep(_STATUS_INTERVAL_S)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Server]:
    """Run a server inside a running event loop, for tests and programs of which it is a part."""
    server = Server(settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def tune_process() -> None:
    """Set the interpreter up for latency; for a process that does nothing but serve.

    The garbage collector does not look at what exists now again, and threads hand over the interpreter within 0.02 ms
    where it would be 5 ms: so long could the model's thread wait for it after an inference (docs/performance.md).
    OpenCV converts colours on the thread that asks: a frame is too small to be worth waking others.
    """
    import cv2

    keep_freed_memory()
    cv2.setNumThreads(1)
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def announce(announcement: Announcement, file: Path) -> None:
    """Write where the server can be reached as JSON, in one step, so that a reader sees all or nothing.

    Raises:
        InvalidInputError: the file can't be written.
    """
    unfinished = file.with_name(f"{file.name}.{announcement.pid}")
    try:
        unfinished.write_text(json.dumps(asdict(announcement), indent=2) + "\n", encoding="utf-8")
        unfinished.replace(file)
    except OSError as error:
        raise InvalidInputError(f"--announce {file} can't be written: {error.strerror}") from None


def require_announceable(file: Path) -> None:
    """Check what can be known before the announcement is there to be written.

    Raises:
        InvalidInputError: the file's folder is not there, or the file is one itself.
    """
    if not file.parent.is_dir():
        raise InvalidInputError(f"--announce {file}: the folder {file.parent} is not there; make it first")
    if file.is_dir():
        raise InvalidInputError(f"--announce {file} is a folder; name a file")


def _grpc_options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_mib << 20),
        # Two servers at one port would share its streams at random.
        ("grpc.so_reuseport", 0),
        # A client whose machine vanished without a word is noticed within half a minute, and its stream's name freed.
        ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        # The same again: gRPC 1.85 waits for this one, a minute unless set, after a ping of its keep-alive.
        ("grpc.http2.ping_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        # Pings go on however long a stream is idle; gRPC would stop after two.
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]


def _reflected_descriptors() -> DescriptorPool:
    """Return every service in one pool; the Open Inference Protocol's is not in the process's own."""
    pool = DescriptorPool()
    for stubs in (pb, oip, health_pb2, reflection_pb2):
        pool.AddSerializedFile(stubs.DESCRIPTOR.serialized_pb)
    return pool


def _require_known_names(settings: Settings, models: set[str]) -> None:
    """Check that threads and cores are set for models that there are; further ones may come from the models folder."""
    if settings.models_dir is not None:
        return
    for key, entries in (
        ("model_threads", settings.model_threads),
        ("cores", settings.cores),
        ("crop", settings.crop),
    ):
        unknown = {entry.partition("=")[0] for entry in entries if "=" in entry} - models
        if unknown:
            raise InvalidInputError(
                f"{key}: no model {', '.join(sorted(unknown))} is served; there is {', '.join(sorted(models))}."
            )


def _models_to_serve(settings: Settings) -> list[tuple[str | None, Path]]:
    """Return name (None: the file's stem) and file of each model.

    Raises:
        InvalidInputError: a name could not be shown, or there is no folder of further models.
    """
    if settings.models_dir is not None and not settings.models_dir.is_dir():
        raise InvalidInputError(f"models_dir: {settings.models_dir} is no folder; make it, or give another one.")
    if not settings.model:
        _log.info("no --model was given: serving the bundled model of the synthetic arena")
        return [("arena", arena_model_path())]
    chosen: list[tuple[str | None, Path]] = []
    for text in settings.model:
        name, separator, path = text.partition("=")
        if separator and not (name.strip() and name.isprintable()):
            raise InvalidInputError(
                f"model: {name!r} is no name for a model; give it letters and digits, or only PATH."
            )
        chosen.append((name, Path(path)) if separator else (None, Path(text)))
    return chosen
