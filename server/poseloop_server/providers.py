"""What can run a model: ONNX Runtime's execution providers by short name, and an error where one is missing."""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from poseloop.errors import PoseloopError

from poseloop_server import nvidia
from poseloop_server.provider_options import NvidiaOptions, OpenVinoOptions, ProviderOptions

_PLUGIN = "onnxruntime_ep_openvino"


class ProviderUnavailableError(PoseloopError):
    """A provider was asked for that this installation or machine does not have."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider.

    Attributes:
        name: what users call it.
        ort_name: what ONNX Runtime calls it.
        package: the wheel that brings it, in place of `onnxruntime`.
        needs: what else it takes, in words.
    """

    name: str
    ort_name: str
    package: str
    needs: str


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("cpu", "CPUExecutionProvider", "onnxruntime", "any CPU"),
        Provider("openvino", "OpenVINOExecutionProvider", "onnxruntime-openvino", "an x86 CPU, an Intel GPU or NPU"),
        Provider("cuda", "CUDAExecutionProvider", "onnxruntime-gpu", "an NVIDIA GPU with its driver, CUDA and cuDNN 9"),
        Provider("tensorrt", "TensorrtExecutionProvider", "onnxruntime-gpu", "an NVIDIA GPU with TensorRT 10"),
    )
}


RUNTIMES: Final = (*dict.fromkeys(provider.package for provider in PROVIDERS.values()), "onnxruntime-ep-openvino")
"""The wheels that ONNX Runtime, or a part of it, comes in; usually one or two of them are installed."""


def versions_of(*packages: str) -> dict[str, str]:
    """Return the versions of those packages that are installed, ONNX Runtime's wheels among them, by package."""
    found = {}
    for package in (*packages, *RUNTIMES):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@cache
def plugin_devices() -> tuple[Any, ...]:
    """Return the OpenVINO devices that the plugin wheel offers to a plain ONNX Runtime; it takes Intel's hardware only.

    Registering loads OpenVINO, is once a process, and can't be taken back while a session uses it.
    """
    import onnxruntime

    built_in = PROVIDERS["openvino"].ort_name in onnxruntime.get_available_providers()
    if built_in or find_spec(_PLUGIN) is None or not hasattr(onnxruntime, "register_execution_provider_library"):
        return ()
    import onnxruntime_ep_openvino as plugin

    onnxruntime.register_execution_provider_library("poseloop.openvino", plugin.get_library_path())
    return tuple(device for device in onnxruntime.get_ep_devices() if device.ep_name == plugin.get_ep_name())


def present() -> list[Provider]:
    """Return the providers that the installed ONNX Runtime brings; whether a device answers shows at load."""
    return [provider for provider in PROVIDERS.values() if _is_present(provider)]


def _is_present(provider: Provider) -> bool:
    import onnxruntime

    built_in = provider.ort_name in onnxruntime.get_available_providers()
    return built_in or (provider.name == "openvino" and bool(plugin_devices()))


def require(name: str, options: ProviderOptions) -> Provider:
    """Return the provider of that name, whose package and device are there as far as can be told without a model.

    Raises:
        ProviderUnavailableError: something is missing; the sentence says what.
    """
    provider = PROVIDERS[name]
    if not _is_present(provider):
        raise ProviderUnavailableError(_not_installed(provider, present()))
    if isinstance(options, NvidiaOptions):
        if missing := nvidia.missing_device(options.device_id):
            raise ProviderUnavailableError(
                f"the provider {name!r} was asked for, but {missing}; it needs {provider.needs}."
            )
        nvidia.load_packaged_libraries()
    return provider


def _not_installed(provider: Provider, here: list[Provider]) -> str:
    found = ", ".join(one.name for one in here)
    if provider.name == "openvino" and find_spec(_PLUGIN) is not None:
        return (
            f"the provider 'openvino' was asked for, but the plugin onnxruntime-ep-openvino supports no device of this "
            f"machine ({_cpu_name()}); `pip uninstall onnxruntime` and `pip install {provider.package}` instead."
        )
    return (
        f"the provider {provider.name!r} was asked for, but the installed ONNX Runtime has only {found}; it needs "
        f"{provider.needs} and `pip install {provider.package}`, in place of onnxruntime."
    )


def require_running(provider: Provider, options: ProviderOptions, running: list[str], said: str = "") -> None:
    """Check that a session really runs on the provider, since ONNX Runtime falls back silently.

    Args:
        provider: that was asked for.
        options: and how.
        running: the providers that the session reports.
        said: why ONNX Runtime could not open it, where it told.

    Raises:
        ProviderUnavailableError: it does not run there.
    """
    if running and running[0] == provider.ort_name:
        return
    missing = nvidia.missing_library(provider.name) if isinstance(options, NvidiaOptions) else None
    if missing:
        why = f"{missing} is missing"
    elif isinstance(options, OpenVinoOptions):
        why = said or f"OpenVINO finds no device {options.device} here"
    else:
        why = said or "ONNX Runtime could not start it"
    raise ProviderUnavailableError(
        f"the provider {provider.name!r} was asked for, but {why}; it needs {provider.needs}, with drivers and "
        "libraries in place."
    )


def device_name(options: ProviderOptions) -> str:
    """Return what the provider runs on."""
    if isinstance(options, NvidiaOptions):
        return nvidia.device_name(options.device_id)
    if isinstance(options, OpenVinoOptions) and options.device != "CPU":
        return options.device
    return _cpu_name()


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
