"""The GRPCInferenceService: the models of the server for clients of the Open Inference Protocol.

Messages are handled as bytes, so that what can't be parsed gets our own status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.errors import PoseloopError

from poseloop_server.oip import description
from poseloop_server.oip.account import Account, RequestTimes
from poseloop_server.oip.checks import check_request, read_frames, require_version
from poseloop_server.oip.description import OUTPUT_TYPE, VERSION
from poseloop_server.oip.inference import InferenceJob
from poseloop_server.oip.messages import InferRequest, M, read_infer_request, read_message
from poseloop_server.oip.stream_call import Context, StreamCall
from poseloop_server.oip.v2 import open_inference_pb2 as oip
from poseloop_server.refusal import RefusedError, unavailable
from poseloop_server.registry import ModelRegistry
from poseloop_server.session import OUTPUT
from poseloop_server.settings import Settings

SERVICE_NAME: str = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_EXTENSIONS = ("model_configuration", "statistics")
# Its messages may take as much as this many of the largest.
_LARGEST_MESSAGES = 4
_READ_AHEAD = 16
_NO_MEMORY = "the server has too little memory for these frames; send fewer or smaller ones."
_FINAL = oip.InferParameter(bool_param=True)


class InferenceService:
    """Answers requests for single inferences, whose frames belong to no stream.

    Args:
        settings: limits.
        registry: where models are found.

    Attributes:
        ready: whether the server is; told by its owner.
    """

    def __init__(self, settings: Settings, registry: ModelRegistry) -> None:
        self._settings = settings
        self._registry = registry
        self._accounts: dict[str, Account] = {}  # by model name
        self._calls: set[StreamCall] = set()
        self._stopping = False
        self.ready = False

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to a gRPC server."""
        handlers = {
            "ServerLive": _unary(oip.ServerLiveRequest, lambda _: oip.ServerLiveResponse(live=True)),
            "ServerReady": _unary(oip.ServerReadyRequest, lambda _: oip.ServerReadyResponse(ready=self.ready)),
            "ServerMetadata": _unary(oip.ServerMetadataRequest, _server_metadata),
            "RepositoryIndex": _unary(oip.RepositoryIndexRequest, self._repository_index),
            "ModelReady": _unary(oip.ModelReadyRequest, self._model_ready),
            "ModelMetadata": _unary(oip.ModelMetadataRequest, self._model_metadata),
            "ModelConfig": _unary(oip.ModelConfigRequest, self._model_config),
            "ModelStatistics": _unary(oip.ModelStatisticsRequest, self._model_statistics),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._stream_infer),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))

    async def stop(self) -> None:
        """Take no more requests, and wait until those of open streams are answered."""
        self._stopping, self.ready = True, False
        for call in self._calls:
            call.stop()
        await asyncio.gather(*(call.ended.wait() for call in self._calls))

    def _repository_index(self, _: oip.RepositoryIndexRequest) -> oip.RepositoryIndexResponse:
        index = oip.RepositoryIndexResponse.ModelIndex
        names = [scheduler.model.name for scheduler in self._registry.schedulers]
        return oip.RepositoryIndexResponse(models=[index(name=name, version=VERSION, state="READY") for name in names])

    def _model_ready(self, request: oip.ModelReadyRequest) -> oip.ModelReadyResponse:
        known = any(scheduler.model.name == request.name for scheduler in self._registry.schedulers)
        return oip.ModelReadyResponse(ready=known and request.version in ("", VERSION))

    def _model_metadata(self, request: oip.ModelMetadataRequest) -> oip.ModelMetadataResponse:
        require_version(request.version)
        return description.metadata(self._registry.find(request.name).model)

    def _model_config(self, request: oip.ModelConfigRequest) -> oip.ModelConfigResponse:
        require_version(request.version)
        return oip.ModelConfigResponse(config=description.config(self._registry.find(request.name).model))

    def _model_statistics(self, request: oip.ModelStatisticsRequest) -> oip.ModelStatisticsResponse:
        require_version(request.version)
        chosen = [self._registry.find(request.name)] if request.name else self._registry.schedulers
        names = [scheduler.model.name for scheduler in chosen]
        return oip.ModelStatisticsResponse(model_stats=[self._account(name).to_wire(name, VERSION) for name in names])

    async def _infer(self, data: bytes, context: Context) -> bytes:
        try:
            response = await self._answer(data)
        except RefusedError as refusal:
            await refusal.abort(context)
        return response.SerializeToString()

    async def _stream_infer(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        # A client of Triton may ask that an error ends the call, as it does everywhere else in gRPC.
        strict = ("triton_grpc_error", "true") in {(key, value) for key, value in context.invocation_metadata() or ()}
        read_ahead = min(_READ_AHEAD, self._settings.infer_queue_requests)
        call = StreamCall(context, self._answer_strictly if strict else self._answer_in_stream, read_ahead)
        self._calls.add(call)
        try:
            if not self._stopping:
                await call.run()
            if self._stopping:
                raise unavailable("the server is shutting down; every request that it took is answered.")
        except RefusedError as refusal:
            await refusal.abort(context)
        finally:
            self._calls.discard(call)

    async def _answer_in_stream(self, data: bytes) -> bytes:
        try:
            return await self._answer_strictly(data)
        except RefusedError as refusal:
            about = oip.ModelInferResponse(id=_id_of(data))
            return oip.ModelStreamInferResponse(
                error_message=refusal.sentence, infer_response=about
            ).SerializeToString()

    async def _answer_strictly(self, data: bytes) -> bytes:
        response = await self._answer(data)
        response.parameters["triton_final_response"].CopyFrom(_FINAL)
        return oip.ModelStreamInferResponse(infer_response=response).SerializeToString()

    async def _answer(self, data: bytes) -> oip.ModelInferResponse:
        """Run the model that a request names; whatever becomes of it is counted."""
        received_ns = now_ns()
        request = read_infer_request(data)
        name, request_id = request.header.model_name, request.header.id
        account = self._account(self._registry.find(name).model.name)
        try:
            with account.admitted(len(data)):
                frames = await self._frames_of(request)
                del request  # its typed contents would be held twice
                return await self._run(name, request_id, frames, received_ns)
        except BaseException as error:
            account.fail.add(now_ns() - received_ns)
            if isinstance(error, PoseloopError):
                raise RefusedError(grpc.StatusCode.INTERNAL, "", str(error)) from None
            if isinstance(error, MemoryError):
                raise RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "", _NO_MEMORY) from None
            raise

    async def _frames_of(self, request: InferRequest) -> NDArray[np.uint8]:
        model = self._registry.find(request.header.model_name).model
        shape = check_request(request, model, self._settings.max_frame_pixels)
        if request.raw:
            return read_frames(request, shape)
        # A number in Python for each pixel: too long for the event loop to stand still.
        return await asyncio.to_thread(read_frames, request, shape)

    async def _run(
        self, name: str, request_id: str, frames: NDArray[np.uint8], received_ns: int
    ) -> oip.ModelInferResponse:
        scheduler = self._registry.find(name)
        job = InferenceJob(frames)
        scheduler.submit(job)
        try:
            keypoints = await job.keypoints
        except asyncio.CancelledError:
            job.cancel()
            raise
        response = _response(scheduler.model.name, request_id, keypoints)
        ended_ns = now_ns()
        times = RequestTimes(
            total=ended_ns - received_ns,
            queue=job.queue_ns,
            compute_input=job.made_ns - received_ns,
            compute_infer=job.infer_ns,
            compute_output=ended_ns - job.ended_ns,
        )
        self._account(scheduler.model.name).succeeded(times, len(keypoints))
        return response

    def _account(self, model: str) -> Account:
        if model not in self._accounts:
            largest = self._settings.max_message_mib << 20
            self._accounts[model] = Account(self._settings.infer_queue_requests, _LARGEST_MESSAGES * largest)
        return self._accounts[model]


def _server_metadata(_: oip.ServerMetadataRequest) -> oip.ServerMetadataResponse:
    return oip.ServerMetadataResponse(name="poseloop", version=version("poseloop"), extensions=_EXTENSIONS)


def _response(model: str, request_id: str, keypoints: NDArray[np.float32]) -> oip.ModelInferResponse:
    tensor = oip.ModelInferResponse.InferOutputTensor(name=OUTPUT, datatype=OUTPUT_TYPE, shape=keypoints.shape)
    return oip.ModelInferResponse(
        model_name=model,
        model_version=VERSION,
        id=request_id,
        outputs=[tensor],
        raw_output_contents=[keypoints.astype("<f4", copy=False).tobytes()],
    )


def _id_of(data: bytes) -> str:
    """Return the id of a request that was refused, by which its sender knows it; empty where it can't be read."""
    try:
        return read_infer_request(data).header.id
    except RefusedError:
        return ""


def _unary(kind: type[M], answer: Callable[[M], Message]) -> Any:
    """Return the handler of a call that needs no waiting."""

    async def call(data: bytes, context: Context) -> bytes:
        try:
            response = answer(read_message(kind, data))
        except RefusedError as refusal:
            await refusal.abort(context)
        return response.SerializeToString()

    return grpc.unary_unary_rpc_method_handler(call)
