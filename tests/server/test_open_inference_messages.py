"""Requests are read as protobuf reads them, but for the copies."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from poseloop_server.oip.messages import read_infer_request
from poseloop_server.refusal import RefusedError
from tritonclient.grpc import service_pb2

Request = service_pb2.ModelInferRequest


@given(
    st.text(max_size=9),
    st.lists(st.binary(max_size=300), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(-(2**63), 2**63 - 1), max_size=3),
    st.lists(st.integers(0, 2**32 - 1), max_size=20),
)
def test_every_part_of_a_request_is_kept(
    request_id: str, raw: list[bytes], parameters: dict[str, int], typed: list[int]
) -> None:
    made = Request(model_name="spot", id=request_id, raw_input_contents=raw)
    for key, value in parameters.items():
        made.parameters[key].int64_param = value
    made.inputs.add(name="frames", shape=[1, -1]).contents.uint_contents.extend(typed)
    found = read_infer_request(made.SerializeToString())
    assert [bytes(one) for one in found.raw] == raw
    assert (found.header.model_name, found.header.id) == ("spot", request_id)
    assert list(found.header.inputs[0].contents.uint_contents) == typed
    del made.raw_input_contents[:]
    assert Request.FromString(found.header.SerializeToString()) == made


@given(st.binary(max_size=60))
@example(b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")  # raw contents of 2**64 - 1 bytes
@example(b"\x3a\x02a")
@example(b"\x3b\x3c")  # a group
@example(b"\x80" * 30)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    try:
        found = read_infer_request(data)
    except RefusedError as refused:
        assert refused.field == "message"  # noqa: PT017 - either is right
        return
    theirs = Request.FromString(data)
    assert [bytes(one) for one in found.raw] == list(theirs.raw_input_contents)
    assert found.header.id == theirs.id


def test_a_message_of_countless_fields_is_refused() -> None:
    with pytest.raises(RefusedError, match="fields"):
        read_infer_request(b"\x3a\x00" * 1_000_000)
