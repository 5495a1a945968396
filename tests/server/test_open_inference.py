"""What `tritonclient` finds in the server: health, descriptions, keypoints, statistics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as triton
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from poseloop.arena import Arena, ArenaSettings
from poseloop.types import ModelSpec
from poseloop_server.bundled import arena_model_path
from poseloop_server.oip.v2 import open_inference_pb2 as oip
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.e2e.real_server import RealServer
from tests.server.open_inference import TIMEOUT_S, frames_input, infer, outcome, spot_frames, stream_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, spot_model: Path, rgb_model: Path) -> Iterator[RealServer]:
    folder = tmp_path_factory.mktemp("server")
    models = [flag for path in (spot_model, rgb_model, arena_model_path()) for flag in ("--model", str(path))]
    with RealServer(folder, *models, "--warm-up-runs", "2") as running:
        yield running


@pytest.fixture
def client(server: RealServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.address) as connected:
        yield connected


def _stats(client: triton.InferenceServerClient, model: str) -> Any:
    return client.get_inference_statistics(model).model_stats[0]


def test_names_and_numbers_are_those_of_the_protocol() -> None:
    compared = set()

    def compare(ours: Any, theirs: Any) -> None:
        if ours.full_name in compared:
            return
        compared.add(ours.full_name)
        for field in ours.fields:
            other = theirs.fields_by_name[field.name]
            assert (field.number, field.type, field.is_repeated) == (other.number, other.type, other.is_repeated)
            if field.message_type is not None:
                assert field.message_type.full_name == other.message_type.full_name
                compare(field.message_type, other.message_type)

    ours, theirs = (pool.services_by_name["GRPCInferenceService"] for pool in (oip.DESCRIPTOR, service_pb2.DESCRIPTOR))
    assert ours.full_name == theirs.full_name
    for method in ours.methods:
        other = theirs.methods_by_name[method.name]
        assert (method.client_streaming, method.server_streaming) == (other.client_streaming, other.server_streaming)
        compare(method.input_type, other.input_type)
        compare(method.output_type, other.output_type)
    assert len(compared) > 25


def test_health_and_descriptions(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("spot")
    assert client.is_model_ready("spot", "1")
    assert not client.is_model_ready("spot", "2")
    assert not client.is_model_ready("mouze")
    about = client.get_server_metadata()
    assert about.name == "poseloop"
    assert {"statistics", "model_configuration"} <= set(about.extensions)
    index = client.get_model_repository_index().models
    assert {one.name: one.state for one in index} == {"spot": "READY", "red": "READY", "arena": "READY"}

    metadata = client.get_model_metadata("red")
    assert (metadata.name, list(metadata.versions)) == ("red", ["1"])
    assert [(one.name, one.datatype, list(one.shape)) for one in (*metadata.inputs, *metadata.outputs)] == [
        ("frames", "UINT8", [-1, -1, -1, 3]),
        ("keypoints", "FP32", [-1, 1, 1, 3]),
    ]
    config = client.get_model_config("spot").config
    assert config.max_batch_size > 1
    assert [list(config.input[0].dims), list(config.output[0].dims)] == [[-1, -1, 1], [1, 2, 3]]
    assert (config.input[0].data_type, config.output[0].data_type) == (2, 11)
    spec = ModelSpec.model_validate(json.loads(config.parameters["poseloop.model"].string_value))
    assert spec.keypoints == ["snout", "tail"]


def test_health_checks_and_reflection_know_the_service(server: RealServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "inference.GRPCInferenceService" in database.get_services()
        pool = DescriptorPool(database)
        assert pool.FindServiceByName("inference.GRPCInferenceService").methods_by_name["ModelInfer"]
        assert pool.FindServiceByName("poseloop.v1.PoseService").methods_by_name["Track"]


def test_keypoints_are_those_of_onnx_runtime(client: triton.InferenceServerClient) -> None:
    session = onnxruntime.InferenceSession(arena_model_path(), providers=["CPUExecutionProvider"])
    color = ModelSpec.from_metadata(session.get_modelmeta().custom_metadata_map, "arena").color
    arena = Arena(ArenaSettings(width=320, height=240, color=color))
    frames = np.stack([arena.frame(index).reshape(240, 320, -1) for index in (0, 40, 80)])
    expected = np.concatenate([session.run(["keypoints"], {"frames": frame[np.newaxis]})[0] for frame in frames])
    asked = triton.InferRequestedOutput("keypoints")
    np.testing.assert_allclose(infer(client, "arena", frames, outputs=[asked]), expected, atol=1e-3)
    np.testing.assert_allclose(infer(client, "arena", frames[1:2, :201, :301]).shape, (1, *expected.shape[1:]))


def test_a_frame_of_more_than_four_mib(client: triton.InferenceServerClient) -> None:
    frames = spot_frames((1900, 1070), size=(1920, 1080), channels=3)
    assert frames.nbytes > 4 << 20
    found = infer(client, "red", frames)
    np.testing.assert_allclose(found, [[[[1900, 1070, 200 / 255]]]], rtol=1e-6)
    compressed = infer(client, "red", frames, compression_algorithm="gzip")
    np.testing.assert_array_equal(compressed, found)


def test_typed_contents_say_the_same_as_raw_ones(server: RealServer) -> None:
    frames = spot_frames((30, 20), (7, 9))

    def request(values: list[int]) -> service_pb2.ModelInferRequest:
        made = service_pb2.ModelInferRequest(model_name="spot", id="typed")
        made.parameters["no one knows it"].string_param = "and no one minds"
        tensor = made.inputs.add(name="frames", datatype="UINT8", shape=frames.shape)
        tensor.contents.uint_contents.extend(values)
        return made

    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(request(frames.ravel().tolist()), timeout=TIMEOUT_S)
        assert answer.id == "typed"
        assert len(answer.raw_output_contents) == 1
        assert not answer.outputs[0].HasField("contents")
        found = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(answer.outputs[0].shape)
        assert found[:, 0, 0, :2].tolist() == [[30, 20], [7, 9]]
        for wrong in ([256] * frames.size, [1] * (frames.size - 1)):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(request(wrong), timeout=TIMEOUT_S)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert caught.value.details().startswith("contents: ")


def test_requests_in_flight_are_told_apart_by_their_ids(client: triton.InferenceServerClient) -> None:
    with stream_of(client) as answers:
        for x in range(30):
            frames = frames_input(spot_frames((x, 5)))
            client.async_infer("spot", [frames], answers.put, request_id=f"at {x}", client_timeout=TIMEOUT_S)
        found = {}
        for _ in range(30):
            result = answers.answer()
            found[result.get_response().id] = result.as_numpy("keypoints")[0, 0, 0, 0]
    assert found == {f"at {x}": x for x in range(30)}


def test_a_stream_answers_in_order_and_survives_errors(client: triton.InferenceServerClient) -> None:
    with stream_of(client) as stream:
        for x in range(40):
            model, y = ("mouze", 1) if x % 10 == 3 else ("spot", 1)
            frames = spot_frames((x, y)) * (x % 10 != 7)  # this model fails on black frames
            stream.send(model, frames, f"{x}", enable_empty_final_response=True, priority=2, timeout=5_000_000)
        for x in range(40):
            if x % 10 in (3, 7):
                _, sentence = outcome(stream.answer)
                assert sentence.startswith("model: no model 'mouze'" if x % 10 == 3 else "the model 'spot' failed")
                continue
            result = stream.answer()
            assert result.get_response().id == f"{x}"
            assert result.get_response().parameters["triton_final_response"].bool_param
            assert result.as_numpy("keypoints")[0, 0, 0, 0] == x


def test_a_stream_may_ask_to_be_ended_by_an_error(client: triton.InferenceServerClient) -> None:
    with stream_of(client, headers={"triton_grpc_error": "true"}) as stream:
        stream.send("spot", spot_frames((3, 4)), "1")
        assert stream.answer().get_response().id == "1"
        stream.send("mouze", spot_frames((3, 4)), "2")
        assert outcome(stream.answer)[0] == "NOT_FOUND"


def test_statistics_move(client: triton.InferenceServerClient) -> None:
    before = _stats(client, "red")
    infer(client, "red", spot_frames((1, 1), (2, 2), channels=3))
    infer(client, "red", spot_frames((1, 1), channels=3))
    assert outcome(lambda: infer(client, "red", spot_frames((1, 1))))[0] == "INVALID_ARGUMENT"
    after = _stats(client, "red")
    assert after.inference_count - before.inference_count == 3
    assert after.execution_count - before.execution_count == 3
    assert after.last_inference >= before.last_inference > 0
    old, new = before.inference_stats, after.inference_stats
    assert new.fail.count - old.fail.count == 1
    for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert getattr(new, part).count - getattr(old, part).count == 2, part
        assert getattr(new, part).ns > getattr(old, part).ns, part
    parts = new.queue.ns + new.compute_input.ns + new.compute_infer.ns + new.compute_output.ns
    assert parts <= new.success.ns
    assert {one.name for one in client.get_inference_statistics().model_stats} == {"spot", "red", "arena"}


def test_the_example_of_the_documentation(server: RealServer, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(import[^`]*tritonclient.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(example.replace("127.0.0.1:50051", server.address), {})
    assert re.fullmatch(r"\(1, 1, \d+, 3\)\n", capsys.readouterr().out)
