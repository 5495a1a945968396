from __future__ import annotations

import asyncio
import json
import shutil
import sys
import threading
import urllib.request
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
import zmq
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from poseloop.errors import InvalidInputError
from poseloop.local_poses import PoseTap
from poseloop.messages import model_info_from_wire, stream_info_from_wire
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.v1 import poseloop_pb2_grpc as rpc
from poseloop_server.sinks.base import Sinks
from poseloop_server.sinks.json_publisher import JsonPublisher
from poseloop_server.sinks.local_publisher import LocalPublisher
from poseloop_server.sinks.zmq_publisher import ZmqPublisher

from tests.server.conftest import Serve
from tests.server.wire_client import TrackCall, connected, frame, received, spot_image, subscribed

Code = grpc.StatusCode


def test_streams_are_listed_with_counters_and_latencies(serve: Serve, spot_model: Path) -> None:
    async def run() -> None:
        async with serve(spot_model) as server, connected(server.announcement.address) as channel:
            streams = rpc.StreamServiceStub(channel)
            call = TrackCall(channel)
            await call.open("cam0", policy=pb.DELIVERY_POLICY_LOSSLESS)
            for number in range(5):
                await call.send(frame(number, spot_image(1, 1)))
                await call.reply()
            listed = await streams.ListStreams(pb.ListStreamsRequest())
            info = stream_info_from_wire(listed.streams[0])
            assert listed.server_id == server.server_id
            assert (info.name, info.model, info.policy, info.format) == ("cam0", "spot", "lossless", "gray8")
            assert (info.width, info.height) == (64, 48)
            assert info.counters.published == info.counters.sent == 5
            assert 0 < info.inference.p50 <= info.inference.max
            assert info.age.p50 >= info.inference.p50
            assert info.frames_per_second > 0
            await call.finish()
            assert not (await streams.ListStreams(pb.ListStreamsRequest())).streams

    asyncio.run(run())


def test_models_are_loaded_listed_and_unloaded(serve: Serve, spot_model: Path, tmp_path: Path) -> None:
    shutil.copy(spot_model, tmp_path / "second.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")

    async def refused(request) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await request
        return caught.value.code(), dict(caught.value.trailing_metadata()).get("poseloop-field", "")

    async def run() -> None:
        async with (
            serve(spot_model, models_dir=tmp_path) as server,
            connected(server.announcement.address) as channel,
        ):
            models = rpc.ModelServiceStub(channel)
            loaded = (await models.LoadModel(pb.LoadModelRequest(file="second.onnx"))).model
            info = model_info_from_wire(loaded)
            assert (info.name, info.spec.name, info.provider, info.precision, info.threads) == (
                "second", "spot", "CPUExecutionProvider", "fp32", 1,
            )  # fmt: skip
            assert info.warm_up_ms > info.inference_ms > 0
            call = TrackCall(channel)
            await call.open("cam0", model="second")
            listed = (await models.ListModels(pb.ListModelsRequest())).models
            assert {one.name: list(one.streams) for one in listed} == {"spot": [], "second": ["cam0"]}

            load = models.LoadModel
            assert await refused(models.UnloadModel(pb.UnloadModelRequest(name="second"))) == (
                Code.FAILED_PRECONDITION,
                "name",
            )
            assert await refused(models.UnloadModel(pb.UnloadModelRequest(name="x"))) == (Code.NOT_FOUND, "name")
            assert await refused(load(pb.LoadModelRequest(file="second.onnx"))) == (Code.ALREADY_EXISTS, "name")
            assert await refused(load(pb.LoadModelRequest(file="none.onnx"))) == (Code.NOT_FOUND, "file")
            assert await refused(load(pb.LoadModelRequest(file="broken.onnx"))) == (Code.INVALID_ARGUMENT, "file")
            for path in ("../second.onnx", "/etc/passwd", "a/second.onnx", "..", "", "second.onnx/"):
                assert await refused(load(pb.LoadModelRequest(file=path))) == (Code.INVALID_ARGUMENT, "file")
            assert await refused(load(pb.LoadModelRequest(file="second.onnx", name="a b"))) == (
                Code.INVALID_ARGUMENT,
                "name",
            )
            await call.finish()
            await models.UnloadModel(pb.UnloadModelRequest(name="second"))
            assert [one.name for one in (await models.ListModels(pb.ListModelsRequest())).models] == ["spot"]

    asyncio.run(run())


def test_health_and_reflection(serve: Serve, spot_model: Path) -> None:
    async def run() -> None:
        async with serve(spot_model) as server:
            address = server.announcement.address
            async with connected(address) as channel:
                health = health_pb2_grpc.HealthStub(channel)
                for service in ("", "poseloop.v1.PoseService"):
                    answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
                    assert answer.status == health_pb2.HealthCheckResponse.SERVING

            def reflect() -> list[str]:
                with grpc.insecure_channel(address) as channel:
                    return list(ProtoReflectionDescriptorDatabase(channel).get_services())

            services = await asyncio.to_thread(reflect)
            assert {"poseloop.v1.PoseService", "poseloop.v1.ModelService", "grpc.health.v1.Health"} <= set(services)

    asyncio.run(run())


def test_json_says_the_same_as_protobuf(serve: Serve, spot_model: Path) -> None:
    async def run() -> None:
        async with (
            serve(spot_model, publish_json="tcp://127.0.0.1:*") as server,
            connected(server.announcement.address) as channel,
            subscribed(server.announcement.publish_json, "pose/", "event/", "status") as subscriber,
        ):
            call = TrackCall(channel)
            await call.open("cam0", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            await call.send(frame(0, spot_image(11, 30)))
            replies, _ = await call.finish()
            found: dict[str, dict] = {}
            while set(found) < {"pose", "opened", "closed", "status"}:
                _, payload = await received(subscriber)
                document = json.loads(payload)
                found[document["kind"]] = document
        pose = replies[0].pose
        document = found["pose"]
        snout = document["instances"][0]["snout"]
        assert (snout["x"], snout["y"], snout["confidence"]) == tuple(pose.keypoints[:3])
        assert document["stamps"]["published_ns"] == pose.stamps.published_ns
        assert document["counters"]["published"] == 1
        assert found["status"]["models"] == ["spot"]

    asyncio.run(run())


def test_json_goes_on_after_a_message_that_cannot_be_written_and_counts_it(caplog: pytest.LogCaptureFixture) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        publisher = JsonPublisher(context, "tcp://127.0.0.1:*", 64)
        subscriber.subscribe(b"event/")
        subscriber.connect(publisher.endpoint)
        event = pb.StreamEvent(kind=pb.StreamEvent.KIND_OPENED, stream="cam0").SerializeToString()
        for bad in (b"no message", pb.Pose(keypoint_names=["a"], keypoints=[1, 2], instances=1).SerializeToString()):
            publisher.publish(b"pose/cam0", bad)
        while not subscriber.poll(20):
            publisher.publish(b"event/cam0", event)
        assert json.loads(subscriber.recv_multipart()[1])["stream"] == "cam0"
        publisher.close()
    assert publisher.dropped == 2
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_json_that_is_behind_does_not_hold_up_the_servers_end() -> None:
    topic, status = b"status", pb.ServerStatus(models=["spot"]).SerializeToString()
    with zmq.Context() as context:
        publisher = JsonPublisher(context, "tcp://127.0.0.1:*", 2)
        for _ in range(50):
            publisher.publish(topic, status)
        closing = threading.Thread(target=publisher.close, daemon=True)
        closing.start()
        closing.join(30)
        assert not closing.is_alive()
        publisher.publish(topic, status)  # one that comes late disturbs nothing


def test_metrics_count_what_the_streams_count(serve: Serve, spot_model: Path) -> None:
    def scrape(address: str) -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
            return answer.read().decode()

    async def run() -> None:
        async with (
            serve(spot_model, metrics="127.0.0.1:0", publish_json="tcp://127.0.0.1:*") as server,
            connected(server.announcement.address) as channel,
        ):
            for _ in range(2):  # a second session of the same stream goes on counting
                call = TrackCall(channel)
                await call.open("cam0", policy=pb.DELIVERY_POLICY_LOSSLESS)
                for number in range(3):
                    await call.send(frame(number, spot_image(1, 1)))
                await call.finish()
            text = await asyncio.to_thread(scrape, server.announcement.metrics)
        assert 'poseloop_frames_received_total{stream="cam0"} 6.0' in text
        assert 'poseloop_frames_published_total{stream="cam0"} 6.0' in text
        assert 'poseloop_frames_dropped_total{place="mailbox",stream="cam0"} 0.0' in text
        assert 'poseloop_age_seconds_count{stream="cam0"} 6.0' in text
        for stage in ("wait", "inference", "stages", "publish"):
            assert f'poseloop_stage_seconds_bucket{{le="+Inf",stage="{stage}",stream="cam0"}} 6.0' in text
        assert 'poseloop_queue_frames{model="spot"} 0.0' in text
        assert 'poseloop_model_info{device="' in text
        assert 'model="spot",options="",precision="fp32",provider="CPUExecutionProvider",threads="1"} 1.0' in text
        assert 'poseloop_messages_lost_total{sink="JsonPublisher"} 0.0' in text
        assert "ZmqPublisher" not in text, "what it drops, at each subscriber's queue, it does not tell"
        assert "process_resident_memory_bytes " in text

    asyncio.run(run())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the room in shared memory is not asked for")
def test_a_pose_that_shared_memory_has_no_room_for_is_counted() -> None:
    pytest.importorskip("iceoryx2")
    publisher = LocalPublisher(uuid4().hex[:12])
    tap = PoseTap(publisher.name)
    sinks = Sinks(publisher)
    for payload in (b"small", bytes(1 << 28), b"small"):  # the second only where there are hundreds of gigabytes
        sinks.publish(b"pose/cam0", payload)
    assert [payload for _, payload in tap.receive()] == [b"small"], "a gap tells of those before it"
    assert sinks.lost() == {"LocalPublisher": 1}
    tap.close()
    sinks.close()


def test_a_sink_that_counts_nothing_is_told_of_once_it_fails() -> None:
    with zmq.Context() as context:
        publisher = ZmqPublisher(context, "tcp://127.0.0.1:*", 8)
        sinks = Sinks(publisher)
        assert sinks.lost() == {}
        sinks.publish(b"pose/cam0", "no bytes")  # type: ignore[arg-type]
        assert sinks.lost() == {"ZmqPublisher": 1}
        sinks.close()


@pytest.mark.parametrize("setting", ["listen", "publish", "metrics"])
def test_a_taken_address_is_one_sentence(serve: Serve, spot_model: Path, setting: str) -> None:
    async def run() -> None:
        async with serve(spot_model, metrics="127.0.0.1:0") as first:
            taken = {
                "listen": first.announcement.address,
                "publish": first.announcement.publish,
                "metrics": first.announcement.metrics,
            }[setting]
            with pytest.raises(InvalidInputError, match="another"):
                async with serve(spot_model, **{setting: taken}):
                    pass

    asyncio.run(run())
