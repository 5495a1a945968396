"""A model in the words of the protocol: its metadata and its configuration."""

from __future__ import annotations

from poseloop.types import MODEL_METADATA_KEY

from poseloop_server.model import PoseModel
from poseloop_server.oip.v2 import open_inference_pb2 as oip
from poseloop_server.session import INPUT, OUTPUT

VERSION = "1"  # a model has one version: the file that it was loaded from
MAX_BATCH = 64
INPUT_TYPE, OUTPUT_TYPE = "UINT8", "FP32"
_ANY = -1


def metadata(model: PoseModel) -> oip.ModelMetadataResponse:
    """Return the inputs and outputs with their whole shapes, the batch included."""
    tensor = oip.ModelMetadataResponse.TensorMetadata
    return oip.ModelMetadataResponse(
        name=model.name,
        versions=[VERSION],
        platform="onnxruntime_onnx",
        inputs=[tensor(name=INPUT, datatype=INPUT_TYPE, shape=[_ANY, *_input_dims(model)])],
        outputs=[tensor(name=OUTPUT, datatype=OUTPUT_TYPE, shape=[_ANY, *_output_dims(model)])],
    )


def config(model: PoseModel) -> oip.ModelConfig:
    """Return the configuration; where there is a largest batch, as here, its shapes leave the batch out."""
    description = oip.ModelParameter(string_value=model.spec.model_dump_json())
    return oip.ModelConfig(
        name=model.name,
        platform="onnxruntime_onnx",
        backend="onnxruntime",
        max_batch_size=MAX_BATCH,
        input=[oip.ModelInput(name=INPUT, data_type=oip.TYPE_UINT8, dims=_input_dims(model))],
        output=[oip.ModelOutput(name=OUTPUT, data_type=oip.TYPE_FP32, dims=_output_dims(model))],
        parameters={MODEL_METADATA_KEY: description},
    )


def _input_dims(model: PoseModel) -> list[int]:
    return [model.fixed_height or _ANY, model.fixed_width or _ANY, model.spec.channels]


def _output_dims(model: PoseModel) -> list[int]:
    return [model.spec.max_animals, len(model.spec.keypoints), 3]
