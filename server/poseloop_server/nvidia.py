"""What NVIDIA's driver says, asked without CUDA's libraries, so that what is missing can be named."""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
from functools import cache
from pathlib import Path
from typing import Any

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NAME_BYTES = 128
_RUNTIME = "cudart64_{}.dll" if sys.platform == "win32" else "libcudart.so.{}"
_RUNTIMES = tuple(_RUNTIME.format(major) for major in (13, 12))
_HOST_REGISTER_PORTABLE = 1


@cache
def _driver() -> Any:
    """Return the driver's library, started, or a sentence that says why there is none."""
    try:
        library = ctypes.CDLL(_DRIVER)
    except OSError:
        return f"NVIDIA's driver is not installed ({_DRIVER} can't be loaded)"
    code = library.cuInit(0)
    return library if code == 0 else f"NVIDIA's driver finds no GPU that it can use (cuInit returned {code})"


def missing_device(device_id: int) -> str | None:
    """Return what is missing for a GPU, in words, or None where it is there."""
    driver = _driver()
    if isinstance(driver, str):
        return driver
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    if device_id < count.value:
        return None
    return f"the GPU {device_id} is not there: the driver has {count.value}, counted from 0"


def device_name(device_id: int) -> str:
    """Return what the driver calls a GPU."""
    driver, name, device = _driver(), ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), device_id)
    driver.cuDeviceGetName(name, _NAME_BYTES, device)
    return name.value.decode(errors="replace")


def load_packaged_libraries() -> None:
    """Load CUDA and cuDNN where they came as Python packages, which the system's loader does not search."""
    import onnxruntime

    # It prints what it does not find; what is really missing is told by `missing_library`.
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()


def missing_library(provider: str) -> str | None:
    """Return the shared library that keeps a provider's own from being loaded, or None where nothing does.

    Args:
        provider: ``"cuda"`` or ``"tensorrt"``.
    """
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "capi"
    name = f"onnxruntime_providers_{provider}"
    try:
        ctypes.CDLL(str(folder / (f"{name}.dll" if sys.platform == "win32" else f"lib{name}.so")))
    except OSError as error:
        # Linux names the library, as in "libcublas.so.13: cannot open shared object file"; Windows does not.
        library = str(error).partition(":")[0]
        return library if ".so" in library else f"a library that {name} needs"
    return None


def pin(address: int, size: int) -> bool:
    """Keep memory of this process where the GPU can read it directly; False where that can't be done."""
    for name in _RUNTIMES:
        try:
            runtime = ctypes.CDLL(name)
        except OSError:
            continue
        register = runtime.cudaHostRegister
        register.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)
        return bool(register(address, size, _HOST_REGISTER_PORTABLE) == 0)
    return False


def unpin(address: int) -> None:
    """Let go of what `pin` held."""
    for name in _RUNTIMES:
        with contextlib.suppress(OSError):
            release = ctypes.CDLL(name).cudaHostUnregister
            release.argtypes = (ctypes.c_void_p,)
            release(address)
            return
