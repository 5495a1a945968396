"""The services that tell what the server does and change its models: ModelService and StreamService."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
from poseloop.clock import now_ns
from poseloop.errors import PoseloopError
from poseloop.messages import FORMAT_TO_WIRE, POLICY_TO_WIRE, crop_to_wire
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.v1 import poseloop_pb2_grpc as rpc

from poseloop_server.refusal import RefusedError, invalid
from poseloop_server.registry import ModelRegistry
from poseloop_server.scheduler import Scheduler
from poseloop_server.stream import Stream
from poseloop_server.stream_table import StreamTable
from poseloop_server.wire import counters_to_wire, percentiles_to_wire

_MODEL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,127}\.onnx")


class ModelService(rpc.ModelServiceServicer):
    """Lists, loads, swaps and unloads models.

    Args:
        registry: the models.
        models_dir: the only folder that models are loaded from, or None where clients may load none.
    """

    def __init__(self, registry: ModelRegistry, models_dir: Path | None) -> None:
        self._registry = registry
        self._models_dir = models_dir

    async def ListModels(  # noqa: N802 - the contract's name
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002
        context: grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse],  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """List the models that are ready."""
        return pb.ListModelsResponse(models=[_model_info(scheduler) for scheduler in self._registry.schedulers])

    async def LoadModel(  # noqa: N802 - the contract's name
        self,
        request: pb.LoadModelRequest,
        context: grpc.aio.ServicerContext[pb.LoadModelRequest, pb.LoadModelResponse],
    ) -> pb.LoadModelResponse:
        """Load a file of the models folder; a failed load changes nothing."""
        try:
            path = self._file_to_load(request.file, request.name)
            scheduler = await self._registry.load(path, request.name or None)
        except RefusedError as refusal:
            await refusal.abort(context)
        except PoseloopError as error:
            await invalid("file", str(error)).abort(context)
        return pb.LoadModelResponse(model=_model_info(scheduler))

    async def SwapModel(  # noqa: N802 - the contract's name
        self,
        request: pb.SwapModelRequest,
        context: grpc.aio.ServicerContext[pb.SwapModelRequest, pb.SwapModelResponse],
    ) -> pb.SwapModelResponse:
        """Let a file of the models folder take over a model's streams; a failed load changes nothing."""
        try:
            path = self._file_to_load(request.file, request.name)
            scheduler = await self._registry.swap(request.name, path)
        except RefusedError as refusal:
            await refusal.abort(context)
        except PoseloopError as error:
            await invalid("file", str(error)).abort(context)
        return pb.SwapModelResponse(model=_model_info(scheduler))

    async def UnloadModel(  # noqa: N802 - the contract's name
        self,
        request: pb.UnloadModelRequest,
        context: grpc.aio.ServicerContext[pb.UnloadModelRequest, pb.UnloadModelResponse],
    ) -> pb.UnloadModelResponse:
        """Unload a model that no stream uses."""
        try:
            await self._registry.unload(request.name)
        except RefusedError as refusal:
            await refusal.abort(context)
        return pb.UnloadModelResponse()

    def _file_to_load(self, file: str, name: str) -> Path:
        if self._models_dir is None:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "file",
                "this server was started without a models folder; start it with --models-dir.",
            )
        if not _FILE_NAME.fullmatch(file):
            raise invalid("file", f"{file[:80]!r} is no bare file name such as 'mouse.onnx'.")
        if name and not _MODEL_NAME.fullmatch(name):
            raise invalid("name", f"{name[:80]!r} is no model name; use 1 to 64 of A-Z a-z 0-9 _ . -")
        path = self._models_dir / file
        if not path.is_file():
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND, "file", f"there is no {file!r} in the server's models folder."
            )
        return path


class StreamService(rpc.StreamServiceServicer):
    """Tells what every open stream is doing.

    Args:
        table: the streams.
        server_id: of this run of the server.
        window_s: how far back rates and percentiles look.
    """

    def __init__(self, table: StreamTable, server_id: str, window_s: float) -> None:
        self._table = table
        self._server_id = server_id
        self._window_s = window_s

    async def ListStreams(  # noqa: N802 - the contract's name
        self,
        request: pb.ListStreamsRequest,  # noqa: ARG002
        context: grpc.aio.ServicerContext[pb.ListStreamsRequest, pb.ListStreamsResponse],  # noqa: ARG002
    ) -> pb.ListStreamsResponse:
        """List the open streams."""
        now = now_ns()
        streams = [_stream_info(stream, now, self._window_s) for stream in self._table.open_streams()]
        return pb.ListStreamsResponse(server_id=self._server_id, time_ns=now, streams=streams)


def _model_info(scheduler: Scheduler) -> pb.ModelInfo:
    model = scheduler.model
    return pb.ModelInfo(
        name=model.name,
        spec=model.spec.model_dump_json(),
        sha256=model.sha256,
        provider=model.provider,
        device=model.device,
        precision=model.precision,
        warm_up_ms=model.warm_up_ms,
        inference_ms=model.inference_ms,
        streams=[stream.identity.name for stream in scheduler.streams],
        threads=model.threads,
        cores=scheduler.placement.cores,
        batch_times=[
            pb.BatchTime(frames=frames, inference_ms=time_ms) for frames, time_ms in model.batch_plan.times_ms.items()
        ],
        batches=model.batch_plan.sizes,
    )


def _stream_info(stream: Stream, now: int, window_s: float) -> pb.StreamInfo:
    identity = stream.identity
    recent = stream.latencies.recent(now, window_s)
    return pb.StreamInfo(
        name=identity.name,
        model=identity.model,
        policy=POLICY_TO_WIRE[identity.policy],
        format=pb.PIXEL_FORMAT_UNSPECIFIED if stream.format is None else FORMAT_TO_WIRE[stream.format],
        width=stream.width,
        height=stream.height,
        counters=counters_to_wire(stream.counters()),
        frames_per_second=recent.frames_per_second,
        age=percentiles_to_wire(recent.age),
        wait=percentiles_to_wire(recent.wait),
        inference=percentiles_to_wire(recent.inference),
        peer=identity.peer,
        session_id=identity.session_id,
        opened_ns=stream.opened_ns,
        priority=identity.priority,
        max_frames_per_second=identity.max_fps,
        crop=None if identity.crop is None else crop_to_wire(identity.crop),
    )
