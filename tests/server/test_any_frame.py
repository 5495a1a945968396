"""Whatever numbers a frame carries, it is refused or ends in a published pose, and the server lives."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.v1 import poseloop_pb2_grpc as rpc

from tests.server.conftest import Serve
from tests.server.wire_client import CallRefusedError, TrackCall, connected, frame, spot_image

IMAGE = spot_image(1, 2)


def _extremes(lowest: int, highest: int) -> st.SearchStrategy[int]:
    """Whole numbers, often those at the ends and at the powers of two between."""
    powers = {sign * 2**bits + near for sign in (-1, 1) for bits in (31, 32, 53, 61, 62, 63, 64) for near in (-1, 0, 1)}
    return st.one_of(st.sampled_from(sorted(n for n in powers if lowest <= n <= highest)), st.integers(lowest, highest))


unsigned = _extremes(0, 2**64 - 1)
signed = _extremes(-(2**63), 2**63 - 1)
fields = st.fixed_dictionaries(
    {},
    optional={
        "sequence": unsigned,
        "captured_client_ns": signed,
        "sent_client_ns": signed,
        "clock_offset_ns": signed,
        "clock_uncertainty_ns": unsigned,
        "width": _extremes(0, 2**32 - 1),
        "height": _extremes(0, 2**32 - 1),
        "client": st.builds(pb.ClientCounters, sent=unsigned, dropped_outbox=unsigned, lost_connection=unsigned),
    },
)

Send = Callable[[dict[str, object]], pb.Pose | CallRefusedError]


@pytest.fixture
def send(serve: Serve, spot_model: Path) -> Iterator[Send]:
    """Sends one frame on a stream of its own, to one server for all, and gives the pose or the refusal."""
    loop = asyncio.new_event_loop()
    serving = serve(spot_model, publish_json="tcp://127.0.0.1:*", metrics="127.0.0.1:0")
    server = loop.run_until_complete(serving.__aenter__())
    numbers = itertools.count()

    def died(*_: object) -> None:
        raise AssertionError("the thread of the model failed, which ends a server")

    before = signal.signal(signal.SIGTERM, died)

    async def one(values: dict[str, object]) -> pb.Pose | CallRefusedError:
        async with connected(server.announcement.address) as channel:
            call = TrackCall(channel)
            await call.open(f"cam{next(numbers)}", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            await call.send(frame(**{"sequence": 0, "image": IMAGE, **values}))
            try:
                while (reply := await call.reply()).WhichOneof("reply") != "pose":
                    pass
            except CallRefusedError as refused:
                return refused
            await rpc.StreamServiceStub(channel).ListStreams(pb.ListStreamsRequest())
            await call.finish()
            return reply.pose

    yield lambda values: loop.run_until_complete(one(values))
    loop.run_until_complete(serving.__aexit__(None, None, None))
    loop.close()
    signal.signal(signal.SIGTERM, before)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=fields)
@example(values={"captured_client_ns": 2**62, "clock_offset_ns": 2**62})
@example(values={"sequence": 2**64 - 1})
@example(values={"captured_client_ns": -(2**62), "clock_offset_ns": -(2**62)})
def test_any_numbers_are_refused_or_published(send: Send, values: dict[str, object]) -> None:
    answer = send(values)
    if isinstance(answer, CallRefusedError):
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        assert answer.field
        return
    assert answer.stamps.captured_client_ns == values.get("captured_client_ns", answer.stamps.captured_client_ns)
    assert answer.stamps.clock_uncertainty_ns == values.get("clock_uncertainty_ns", 0)
    assert answer.sequence == values.get("sequence", 0)
    assert answer.counters.client == values.get("client", answer.counters.client)
