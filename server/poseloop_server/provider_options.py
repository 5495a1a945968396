"""The options of each provider: typed, checked when the settings are read, and put into ONNX Runtime's words here only.

In YAML they are a mapping, as a flag or an environment variable ``KEY=VALUE,KEY=VALUE``.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Literal

from poseloop.errors import InvalidInputError
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class ProviderOptions(BaseModel):
    """What any provider can be told; the fields' descriptions are the documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def for_onnxruntime(self, threads: int) -> dict[str, str]:  # noqa: ARG002 - some providers need it
        """Return the options as ONNX Runtime names them."""
        return {}

    def __str__(self) -> str:
        """Return those that were set, as the flag takes them."""
        return ",".join(
            f"{key}={str(value).lower() if isinstance(value, bool) else value}"
            for key, value in self.model_dump(exclude_unset=True).items()
        )


class CpuOptions(ProviderOptions):
    """Of the CPU."""

    spinning: bool = Field(
        False, description="Threads of the model wait for work by spinning: quicker, but they keep their cores."
    )


class OpenVinoOptions(ProviderOptions):
    """Of OpenVINO."""

    device: Annotated[str, Field(pattern=r"^(CPU|NPU|GPU(\.\d+)?)$")] = Field(
        "CPU", description="CPU, GPU, GPU.1 or NPU."
    )
    precision: Literal["f32", "bf16", "f16"] = Field(
        "f32", description="What OpenVINO may compute in, where the device can; coordinates change by some 0.1 px."
    )
    cache_folder: Path | None = Field(None, description="Keeps compiled models, so that the next start is quicker.")

    def for_onnxruntime(self, threads: int) -> dict[str, str]:
        """Return the options as ONNX Runtime names them."""
        kind = self.device.partition(".")[0]
        properties: dict[str, str] = {"INFERENCE_PRECISION_HINT": self.precision}
        if kind == "CPU":
            properties |= {"INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1"}
        if self.cache_folder is not None:
            properties["CACHE_DIR"] = str(self.cache_folder)
        return {"device_type": self.device, "load_config": json.dumps({kind: properties})}


class NvidiaOptions(ProviderOptions):
    """Of both providers that run on an NVIDIA GPU."""

    device_id: Annotated[int, Field(ge=0, le=255)] = Field(0, description="Which GPU, counted from 0.")
    cuda_graph: bool = Field(
        False, description="Record the work of an inference once for each frame size, and start it as a whole."
    )


class CudaOptions(NvidiaOptions):
    """Of CUDA."""

    tf32: bool = Field(False, description="Let convolutions round to TF32: quicker, and less exact.")
    memory_limit_mib: Annotated[int, Field(ge=64)] | None = Field(
        None, description="Most GPU memory that a session takes for its tensors, in MiB."
    )

    def for_onnxruntime(self, threads: int) -> dict[str, str]:  # noqa: ARG002
        """Return the options as ONNX Runtime names them."""
        options = {"device_id": str(self.device_id), "use_tf32": str(int(self.tf32))}
        if self.memory_limit_mib is not None:
            options["gpu_mem_limit"] = str(self.memory_limit_mib << 20)
        return options


class TensorRtOptions(NvidiaOptions):
    """Of TensorRT."""

    precision: Literal["fp32", "fp16"] = Field("fp32", description="fp16: half precision where the engine gains by it.")
    engine_cache: Path | None = Field(
        None,
        description="Folder that keeps built engines; without it every start takes minutes to build them.",
    )

    def for_onnxruntime(self, threads: int) -> dict[str, str]:  # noqa: ARG002
        """Return the options as ONNX Runtime names them."""
        options = {"device_id": str(self.device_id), "trt_fp16_enable": str(int(self.precision == "fp16"))}
        if self.engine_cache is not None:
            folder = str(self.engine_cache)
            options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder}
            options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": folder}
        return options


OPTIONS: dict[str, type[ProviderOptions]] = {
    "cpu": CpuOptions,
    "openvino": OpenVinoOptions,
    "cuda": CudaOptions,
    "tensorrt": TensorRtOptions,
}


def read_options(provider: str, value: object = None) -> ProviderOptions:
    """Read a provider's options from a mapping, ``KEY=VALUE,...`` or nothing.

    Raises:
        ValueError: one is unknown or not valid, in one sentence.
    """
    kind = OPTIONS[provider]
    given = _as_mapping(value)
    for key in given:
        if key not in kind.model_fields:
            near = difflib.get_close_matches(key, kind.model_fields, n=1, cutoff=0)
            raise ValueError(f"the provider {provider!r} has no option {key!r}; did you mean {near[0]!r}?")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{first['loc'][0]} of the provider {provider!r}: {first['msg']}") from None


def options_of_flag(provider: str, text: str | None) -> ProviderOptions:
    """Read a provider's options as a command's flag gives them.

    Raises:
        InvalidInputError: one is unknown or not valid.
    """
    try:
        return read_options(provider, text)
    except ValueError as error:
        raise InvalidInputError(f"--provider-options: {error}") from None


def _as_mapping(value: object) -> dict[str, object]:
    if value is None:
        return {}
    if isinstance(value, ProviderOptions):
        return value.model_dump(exclude_unset=True)
    if isinstance(value, dict):
        return {str(key): one for key, one in value.items()}
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not KEY=VALUE,KEY=VALUE, such as precision=fp16")
    found: dict[str, object] = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        key, equals, text = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r} is not KEY=VALUE, such as precision=fp16")
        found[key.strip()] = text.strip()
    return found
