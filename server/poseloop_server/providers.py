"""What can run a model: ONNX Runtime's execution providers by short name, and an error where one is missing."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path

from poseloop.errors import PoseloopError


class ProviderUnavailableError(PoseloopError):
    """A provider was asked for that this installation or machine does not have."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider.

    Attributes:
        name: what users call it.
        ort_name: what ONNX Runtime calls it.
        package: the wheel that brings it.
        needs: what else it takes, in words.
        options: handed to ONNX Runtime.
    """

    name: str
    ort_name: str
    package: str
    needs: str
    options: dict[str, str] = field(default_factory=dict)


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("cpu", "CPUExecutionProvider", "onnxruntime", "any CPU"),
        Provider("openvino", "OpenVINOExecutionProvider", "onnxruntime-openvino", "an Intel CPU, GPU or NPU"),
        Provider("cuda", "CUDAExecutionProvider", "onnxruntime-gpu", "an NVIDIA GPU with its driver, CUDA and cuDNN 9"),
        Provider("tensorrt", "TensorrtExecutionProvider", "onnxruntime-gpu", "an NVIDIA GPU with TensorRT 10"),
    )
}


def present() -> list[Provider]:
    """Return the providers that the installed ONNX Runtime brings; whether a device answers shows at load."""
    import onnxruntime

    available = set(onnxruntime.get_available_providers())
    return [provider for provider in PROVIDERS.values() if provider.ort_name in available]


def require(name: str) -> Provider:
    """Return the provider of that name.

    Raises:
        ProviderUnavailableError: the installed ONNX Runtime does not bring it.
    """
    provider = PROVIDERS[name]
    here = present()
    if provider not in here:
        raise ProviderUnavailableError(
            f"the provider {name!r} was asked for, but the installed ONNX Runtime has only "
            f"{', '.join(one.name for one in here)}; it needs {provider.needs} and `pip install {provider.package}`."
        )
    if provider.package == "onnxruntime-gpu":
        import onnxruntime

        # CUDA and cuDNN may have come as Python packages, which the system's loader does not search.
        onnxruntime.preload_dlls()
    return provider


def require_running(provider: Provider, running: list[str]) -> None:
    """Check that a session really runs on the provider, since ONNX Runtime falls back silently.

    Raises:
        ProviderUnavailableError: it does not; ``running`` is what the session reports.
    """
    if not running or running[0] != provider.ort_name:
        raise ProviderUnavailableError(
            f"the provider {provider.name!r} was asked for, but ONNX Runtime could not start it and would run on "
            f"{', '.join(running) or 'nothing'}; it needs {provider.needs}, with drivers and libraries in place."
        )


def device_name(provider: Provider) -> str:
    """Return what the provider runs on, as far as can be told without its libraries."""
    return _cpu_name() if provider.name == "cpu" else provider.needs.removeprefix("an ").removeprefix("any ")


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
