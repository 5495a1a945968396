"""Requests that are refused, too many or given up, and what the streams beside them notice: nothing."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.v1 import poseloop_pb2_grpc as rpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.e2e.real_server import RealServer
from tests.server.open_inference import TIMEOUT_S, frames_input, infer, outcome, spot_frames, stream_of
from tests.server.wire_client import TrackCall, account_balances, connected, frame, spot_image

FRAME = spot_frames((3, 4))
# 64 frames of some 20 ms: a request that is under way for as long as a test needs it to be.
LONG = spot_frames(*[(x, 0) for x in range(64)])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, spot_model: Path, slow_model: Path) -> Iterator[RealServer]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(slow_model, folder / "passing.onnx")
    models = ["--model", str(spot_model), "--model", str(slow_model), "--models-dir", str(folder)]
    limits = ["--infer-queue-requests", "2", "--max-frame-pixels", "5000", "--max-message-mib", "1"]
    with RealServer(folder, *models, *limits, "--warm-up-runs", "2") as running:
        yield running


@pytest.fixture
def client(server: RealServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.address) as connected_client:
        yield connected_client


def _request(**changes: object) -> service_pb2.ModelInferRequest:
    tensor = {"name": "frames", "datatype": "UINT8", "shape": FRAME.shape}
    tensor.update({key: value for key, value in changes.items() if key in tensor})
    fields = {"model_name": "spot", "raw_input_contents": [FRAME.tobytes()]}
    fields.update({key: value for key, value in changes.items() if key not in tensor})
    return service_pb2.ModelInferRequest(
        inputs=[service_pb2.ModelInferRequest.InferInputTensor(**tensor)], **fields
    )  # fmt: skip


def _with_shared_memory() -> service_pb2.ModelInferRequest:
    request = _request(raw_input_contents=[])
    request.inputs[0].parameters["shared_memory_region"].string_param = "frames"
    return request


def _both_contents() -> service_pb2.ModelInferRequest:
    request = _request()
    request.inputs[0].contents.uint_contents.append(1)
    return request


def _no_input() -> service_pb2.ModelInferRequest:
    request = _request()
    del request.inputs[:]
    return request


_OUTPUT = service_pb2.ModelInferRequest.InferRequestedOutputTensor
REFUSED = {
    "unknown model": (_request(model_name="mouze"), "NOT_FOUND", "model"),
    "several models": (_request(model_name=""), "INVALID_ARGUMENT", "model"),
    "unknown version": (_request(model_version="7"), "NOT_FOUND", "model_version"),
    "no input": (_no_input(), "INVALID_ARGUMENT", "inputs"),
    "other input": (_request(name="image"), "INVALID_ARGUMENT", "inputs"),
    "other output": (_request(outputs=[_OUTPUT(name="heatmaps")]), "INVALID_ARGUMENT", "outputs"),
    "other type": (_request(datatype="FP32"), "INVALID_ARGUMENT", "datatype"),
    "three axes": (_request(shape=FRAME.shape[1:]), "INVALID_ARGUMENT", "shape"),
    "no axes": (_request(shape=[]), "INVALID_ARGUMENT", "shape"),
    "no frames": (_request(shape=(0, 48, 64, 1)), "INVALID_ARGUMENT", "shape"),
    "negative": (_request(shape=(-1, -48, 64, 1)), "INVALID_ARGUMENT", "shape"),
    "too many frames": (_request(shape=(10**6, 1, 1, 1)), "INVALID_ARGUMENT", "shape"),
    "other channels": (_request(shape=(1, 16, 64, 3)), "INVALID_ARGUMENT", "shape"),
    "too large": (_request(shape=(1, 2**40, 2**40, 1)), "INVALID_ARGUMENT", "shape"),
    "over the pixels": (_request(shape=(1, 100, 100, 1)), "INVALID_ARGUMENT", "shape"),
    "too few bytes": (_request(raw_input_contents=[b"abc"]), "INVALID_ARGUMENT", "raw_input_contents"),
    "two inputs' bytes": (_request(raw_input_contents=[b"", b""]), "INVALID_ARGUMENT", "raw_input_contents"),
    "bytes twice": (_both_contents(), "INVALID_ARGUMENT", "raw_input_contents"),
    "no bytes": (_request(raw_input_contents=[]), "INVALID_ARGUMENT", "contents"),
    "shared memory": (_with_shared_memory(), "INVALID_ARGUMENT", "parameters"),
}


def test_refusals_name_the_field_and_leave_a_stream_alone(server: RealServer) -> None:
    async def run() -> None:
        async with connected(server.address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            raw = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            stream = TrackCall(channel)
            await stream.open("beside", model="spot", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            calls = {name: (stub.ModelInfer, *wanted) for name, wanted in REFUSED.items()}
            calls["garbage"] = (raw, b"\xff\xfe garbage", "INVALID_ARGUMENT", "message")
            for number, (name, (call, request, status, field)) in enumerate(calls.items()):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(request, timeout=TIMEOUT_S)
                assert caught.value.code().name == status, name
                assert caught.value.details().startswith(f"{field}: "), name
                assert caught.value.details().endswith("."), name
                assert dict(caught.value.trailing_metadata())["poseloop-field"] == field, name
                await stream.send(frame(number, spot_image(number, 2)))
                assert (await stream.reply()).pose.keypoints[0] == number, name
            _, closed = await stream.finish()
        assert closed.counters.published == closed.counters.client.sent == len(calls)

    asyncio.run(run())


def test_a_frame_that_the_model_fails_on(client: triton.InferenceServerClient) -> None:
    status, sentence = outcome(lambda: infer(client, "spot", FRAME * 0))
    assert (status, sentence[:18]) == ("INTERNAL", "the model 'spot' f")
    assert infer(client, "spot", FRAME)[0, 0, 0].tolist() == pytest.approx([3, 4, 200 / 255])


def test_a_message_over_the_limit_is_not_taken(client: triton.InferenceServerClient) -> None:
    assert outcome(lambda: infer(client, "spot", np.zeros((1, 1200, 1200, 1), np.uint8)))[0] == "RESOURCE_EXHAUSTED"
    assert infer(client, "spot", FRAME).shape == (1, 1, 2, 3)


def test_streams_have_their_turns_beside_requests(server: RealServer) -> None:
    """A long request and two streams share one model: each frame of a stream waits for one of the request's."""

    async def run() -> None:
        async with connected(server.address) as channel, triton_aio.InferenceServerClient(server.address) as client:
            lossless, live = TrackCall(channel), TrackCall(channel)
            await lossless.open("lossless", model="slow", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            await live.open("live", model="slow", return_poses=True)
            request = asyncio.create_task(client.infer("slow", [frames_input(LONG)], client_timeout=TIMEOUT_S))
            for number in range(5):
                await lossless.send(frame(number, spot_image(number, 1)))
                await live.send(frame(number, spot_image(number, 1)))
                assert (await lossless.reply()).pose.keypoints[0] == number
            assert not request.done()
            _, closed = await lossless.finish()
            assert closed.counters.published == closed.counters.client.sent == 5
            _, closed = await live.finish()
            assert closed.counters.client.sent == 5
            assert account_balances(closed.counters)
            found = (await request).as_numpy("keypoints")
            assert found[:, 0, 0, 0].tolist() == list(range(64))

    asyncio.run(run())


def test_what_is_too_much_is_refused_and_what_is_given_up_makes_room(client: triton.InferenceServerClient) -> None:
    failed_before = client.get_inference_statistics("slow").model_stats[0].inference_stats.fail.count
    ended: list[InferenceServerException | None] = []

    def note(result: object, error: InferenceServerException | None) -> None:
        ended.append(error)

    def one_more() -> tuple[str, str]:
        return outcome(lambda: infer(client, "slow", FRAME))

    long = [client.async_infer("slow", [frames_input(LONG)], note, client_timeout=TIMEOUT_S) for _ in range(2)]
    while (refused := one_more())[0] == "OK":
        pass  # the server does not have both yet
    assert refused[0] == "RESOURCE_EXHAUSTED"
    assert "--infer-queue-requests" in refused[1]
    assert not ended
    assert infer(client, "spot", FRAME).shape == (1, 1, 2, 3), "another model has a queue of its own"
    for call in long:
        call.cancel()
    while (refused := one_more())[0] == "RESOURCE_EXHAUSTED":
        pass  # the server does not know yet
    assert refused[0] == "OK"
    stats = client.get_inference_statistics("slow").model_stats[0]
    assert stats.inference_stats.fail.count - failed_before >= 3


def test_a_stream_that_sends_too_fast_is_made_to_wait(client: triton.InferenceServerClient) -> None:
    with stream_of(client) as stream:
        for number in range(50):
            stream.send("spot", spot_frames((number, 1)), f"{number}")
        assert [stream.answer().get_response().id for _ in range(50)] == [f"{number}" for number in range(50)]


def test_requests_for_a_model_that_is_unloaded_are_answered(server: RealServer) -> None:
    async def run() -> None:
        async with connected(server.address) as channel, triton_aio.InferenceServerClient(server.address) as client:
            models = rpc.ModelServiceStub(channel)
            await models.LoadModel(pb.LoadModelRequest(file="passing.onnx"))
            assert await client.is_model_ready("passing")
            request = asyncio.create_task(client.infer("passing", [frames_input(LONG)], client_timeout=TIMEOUT_S))
            await client.infer("passing", [frames_input(FRAME)], client_timeout=TIMEOUT_S)
            await models.UnloadModel(pb.UnloadModelRequest(name="passing"))
            assert not await client.is_model_ready("passing")
            with pytest.raises(InferenceServerException) as caught:
                await request
            assert caught.value.status() == "StatusCode.UNAVAILABLE"

    asyncio.run(run())


def test_a_server_that_stops_answers_what_it_took_and_ends_the_streams(tmp_path: Path, slow_model: Path) -> None:
    with (
        RealServer(tmp_path, "--model", str(slow_model)) as server,
        triton.InferenceServerClient(server.address) as client,
        stream_of(client) as stream,
    ):
        for number in range(8):
            stream.send("slow", FRAME, f"{number}")
        assert stream.answer().get_response().id == "0"
        server.process.send_signal(signal.SIGTERM)
        answered = 1
        while (status := outcome(stream.answer)[0]) == "OK":
            answered += 1
        assert status == "UNAVAILABLE"
        assert 1 < answered <= 8
        assert server.process.wait(TIMEOUT_S) == 0
        assert "Traceback" not in server.log()
