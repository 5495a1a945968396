"""The border: checks an inference request against its model before any memory is taken for it."""

from __future__ import annotations

from math import prod

import grpc
import numpy as np
from numpy.typing import NDArray

from poseloop_server.model import PoseModel
from poseloop_server.oip.description import INPUT_TYPE, MAX_BATCH, VERSION
from poseloop_server.oip.messages import InferRequest
from poseloop_server.oip.v2 import open_inference_pb2 as oip
from poseloop_server.refusal import RefusedError, invalid
from poseloop_server.session import INPUT, OUTPUT

Shape = tuple[int, int, int, int]
_SHARED_MEMORY = "shared_memory_region"


def require_version(version: str) -> None:
    """Check that a model's version is the one that there is, or left to us.

    Raises:
        RefusedError: it is another one.
    """
    if version not in ("", VERSION):
        raise RefusedError(
            grpc.StatusCode.NOT_FOUND, "model_version", f"there is no version {version[:80]!r}; ask for 1, or for none."
        )


def check_request(request: InferRequest, model: PoseModel, max_pixels: int) -> Shape:
    """Check everything but the values of the input; return its shape.

    Raises:
        RefusedError: the model can't be run on it, or can't give what is asked for.
    """
    header = request.header
    require_version(header.model_version)
    names = [tensor.name for tensor in header.inputs]
    if names != [INPUT]:
        found = ", ".join(name[:80] for name in names[:8]) or "none"
        raise invalid("inputs", f"the model {model.name!r} has the one input {INPUT!r}, the request has {found}.")
    for output in header.outputs:
        if output.name != OUTPUT:
            raise invalid(
                "outputs", f"the model {model.name!r} has no output {output.name[:80]!r}; ask for {OUTPUT!r}."
            )
    shared = [_SHARED_MEMORY in tensor.parameters for tensor in header.inputs]
    if any(shared) or any(_SHARED_MEMORY in output.parameters for output in header.outputs):
        raise invalid("parameters", "this server takes no shared memory; send the frames in the request.")
    tensor = header.inputs[0]
    if tensor.datatype != INPUT_TYPE:
        raise invalid("datatype", f"{INPUT!r} is {INPUT_TYPE}, not {tensor.datatype[:80]!r}; send bytes 0 to 255.")
    shape = _check_shape(tensor, model, max_pixels)
    _check_size(request, shape)
    return shape


def read_frames(request: InferRequest, shape: Shape) -> NDArray[np.uint8]:
    """Return the input of a request that was checked; off the event loop where its contents are typed.

    Raises:
        RefusedError: a value is no byte.
    """
    content: memoryview | bytes
    if request.raw:
        content = request.raw[0]
    else:
        try:
            content = bytes(request.header.inputs[0].contents.uint_contents)
        except ValueError:
            raise invalid("contents", f"{INPUT!r} is {INPUT_TYPE}; its values go from 0 to 255.") from None
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _check_shape(tensor: oip.ModelInferRequest.InferInputTensor, model: PoseModel, max_pixels: int) -> Shape:
    if len(tensor.shape) != 4:
        raise invalid(
            "shape", f"{INPUT!r} has the axes frames, height, width and channels, not {len(tensor.shape)} axes."
        )
    batch, height, width, channels = tensor.shape
    shape = f"{batch}x{height}x{width}x{channels}"
    if min(batch, height, width) < 1:
        raise invalid("shape", f"{shape} holds no pixel; send at least one frame of at least one pixel.")
    if batch > MAX_BATCH:
        raise invalid("shape", f"{batch} frames are more than the {MAX_BATCH} of one request; send several requests.")
    if channels != model.spec.channels:
        raise invalid(
            "shape",
            f"the model {model.name!r} takes {model.spec.color} frames, whose last axis is {model.spec.channels} long, "
            f"not {channels}.",
        )
    if width * height > max_pixels:
        raise invalid(
            "shape",
            f"a frame of {width}x{height} is larger than the {max_pixels} pixels that this server takes; send smaller "
            "frames or raise --max-frame-pixels.",
        )
    for axis, size, fixed in (("height", height, model.fixed_height), ("width", width, model.fixed_width)):
        if fixed is not None and size != fixed:
            raise invalid("shape", f"the model {model.name!r} only takes frames of {axis} {fixed}, not {size}.")
    return batch, height, width, channels


def _check_size(request: InferRequest, shape: Shape) -> None:
    """Compare the number of bytes that came with the shape."""
    expected = prod(shape)
    typed = len(request.header.inputs[0].contents.uint_contents)
    raw = request.raw
    if len(raw) > 1 or (raw and typed):
        raise invalid("raw_input_contents", f"there is the one input {INPUT!r}; send its bytes once.")
    field, size = ("raw_input_contents", len(raw[0])) if raw else ("contents", typed)
    if size != expected:
        raise invalid(
            field,
            f"{INPUT!r} of shape {'x'.join(map(str, shape))} has {expected} bytes, this one has {size}; send rows "
            "without padding and the true shape.",
        )
