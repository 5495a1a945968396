"""A graph opened in ONNX Runtime: a uint8 batch goes in, float32 keypoints come out, whatever runs it.

The CPU runs any size of frame alike. Everything else compiles a graph, or records its work, for one size: so there the
graph is opened a second time for each size that is seen, and frames of other sizes run on the first one meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError

from poseloop_server import nvidia, providers, realtime
from poseloop_server.provider_options import (
    CpuOptions,
    CudaOptions,
    NvidiaOptions,
    OpenVinoOptions,
    ProviderOptions,
)

if TYPE_CHECKING:
    import onnxruntime

_log = logging.getLogger(__name__)
INPUT, OUTPUT = "frames", "keypoints"
MAX_SIZES = 8
Shape = tuple[int, ...]
Providers = list[tuple[str, dict[str, str]]]
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Session:
    """Runs a graph as it is.

    Attributes:
        graph: ONNX Runtime's session, which tells inputs, outputs and metadata.
    """

    def __init__(self, graph: onnxruntime.InferenceSession) -> None:
        self.graph = graph

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the keypoints of a C-contiguous batch; raises what ONNX Runtime raises."""
        keypoints: NDArray[np.float32] = self.graph.run([OUTPUT], {INPUT: images})[0]
        return keypoints

    def prepare(self, shape: Shape) -> None:
        """Make batches of a shape quick, where that takes time of its own; may take seconds."""


class SizedSession(Session):
    """Runs each size of batch on a graph of its own once that is ready, and on the open-sized one until then.

    Args:
        graph: takes any size.
        open_for: opens the graph for one shape; takes long.
    """

    def __init__(self, graph: onnxruntime.InferenceSession, open_for: Callable[[Shape], Run]) -> None:
        super().__init__(graph)
        self._open_for = open_for
        self._sized: dict[Shape, Run] = {}

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the keypoints of a C-contiguous batch; raises what ONNX Runtime raises."""
        sized = self._sized.get(images.shape)
        if sized is not None:
            return sized(images)
        if len(self._sized) < MAX_SIZES:
            self._sized[images.shape] = super().run  # until the thread puts a better one here
            threading.Thread(target=self._prepare_later, args=(images.shape,), name="compile", daemon=True).start()
        return super().run(images)

    def prepare(self, shape: Shape) -> None:
        """Make batches of a shape quick, where that takes time of its own; may take seconds."""
        self._sized[shape] = self._open_for(shape)

    def _prepare_later(self, shape: Shape) -> None:
        realtime.leave()
        try:
            run = self._open_for(shape)
            run(np.full(shape, 128, np.uint8))  # the first run is slower than those after it
            self._sized[shape] = run
        except Exception as error:  # whatever the compiler raises: the open-sized graph goes on
            _log.warning("frames of %s can't be compiled for and stay slower: %s", shape, error)


class BoundRun:
    """Runs one shape with tensors that stay where they are: what CUDA graphs need, and no allocation a frame.

    The images go through memory that the GPU reads by itself, where the CUDA runtime can pin it.

    Args:
        graph: opened for one shape.
        images_shape: that shape.
        keypoints_shape: of what comes out.
        device: ``"cuda"``, or ``"cpu"`` for tests.
        device_id: which.
    """

    _pinned = False

    def __init__(
        self,
        graph: onnxruntime.InferenceSession,
        images_shape: Shape,
        keypoints_shape: Shape,
        device: str = "cuda",
        device_id: int = 0,
    ) -> None:
        import onnxruntime

        value = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        self._graph = graph
        self._staged = np.zeros(images_shape, np.uint8)
        self._pinned = device == "cuda" and nvidia.pin(self._staged.ctypes.data, self._staged.nbytes)
        self._input = value(list(images_shape), np.uint8, device, device_id)
        self._output = value(list(keypoints_shape), np.float32, device, device_id)
        self._binding = graph.io_binding()
        self._binding.bind_ortvalue_input(INPUT, self._input)
        self._binding.bind_ortvalue_output(OUTPUT, self._output)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the keypoints of a batch of the shape."""
        np.copyto(self._staged, images)
        self._input.update_inplace(self._staged)
        self._graph.run_with_iobinding(self._binding)
        # A copy: the next run writes into the same memory.
        return np.array(self._output.numpy())

    def __del__(self) -> None:
        if self._pinned:
            nvidia.unpin(self._staged.ctypes.data)


def open_session(
    content: bytes, path: Path, provider: providers.Provider, options: ProviderOptions, threads: int
) -> Session:
    """Open a model file's bytes on a provider.

    Raises:
        InvalidInputError: they are no model that ONNX Runtime takes.
        ProviderUnavailableError: the provider or its device can't be used.
    """
    opening = _Opening(content, path, provider, options, threads)
    graph = opening.open({})
    if provider.name == "cpu":
        return Session(graph)

    def open_for(shape: Shape) -> Run:
        names = graph.get_inputs()[0].shape
        sized = opening.open({name: size for name, size in zip(names, shape, strict=True) if isinstance(name, str)})
        _, *rest = sized.get_outputs()[0].shape
        if not isinstance(options, NvidiaOptions) or not all(isinstance(size, int) for size in rest):
            return Session(sized).run
        return BoundRun(sized, shape, (shape[0], *rest), "cuda", options.device_id)

    return SizedSession(graph, open_for)


@dataclass(frozen=True, slots=True)
class _Opening:
    """All that opens a graph, once or several times."""

    content: bytes
    path: Path
    provider: providers.Provider
    options: ProviderOptions
    threads: int

    def open(self, sizes: dict[str, int]) -> onnxruntime.InferenceSession:
        """Open the graph with these of its open sizes fixed, by name."""
        import onnxruntime

        # What goes wrong is raised by us; ONNX Runtime would print it besides.
        onnxruntime.set_default_logger_severity(4)
        settings = self._settings(sizes)
        try:
            # Without `enable_fallback=0` it would go on with the CPU, at start and in the middle of a run.
            graph = onnxruntime.InferenceSession(
                self.content, settings, self._providers(settings, fixed=bool(sizes)), enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's exceptions have no common base but this one
            if self.provider.name != "cpu" and self._opens_on_cpu():
                said = f"this model failed there ({first_line(error)})"
                providers.require_running(self.provider, self.options, [], said)
            raise InvalidInputError(
                f"{self.path} can't be loaded as an ONNX model: {first_line(error)}; export it again with "
                "`poseloop export`."
            ) from None
        providers.require_running(self.provider, self.options, graph.get_providers())
        self._tell_share(graph, fixed=bool(sizes))
        return graph

    def _settings(self, sizes: dict[str, int]) -> onnxruntime.SessionOptions:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        settings.intra_op_num_threads = self.threads
        settings.inter_op_num_threads = 1
        # Idle threads that spin keep the camera's and the subscriber's processes off the cores.
        spinning = isinstance(self.options, CpuOptions) and self.options.spinning
        settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        settings.log_severity_level = 4
        for name, size in sizes.items():
            settings.add_free_dimension_override_by_name(name, size)
        return settings

    def _providers(self, settings: onnxruntime.SessionOptions, *, fixed: bool) -> Providers | None:
        """Return what to open the session on, or None where the settings hold it."""
        name, given = self.provider.ort_name, self.options.for_onnxruntime(self.threads)
        if isinstance(self.options, OpenVinoOptions) and (devices := providers.plugin_devices()):
            kind = self.options.device
            chosen = [device for device in devices if device.ep_metadata.get("ov_device") == kind]
            if not chosen:
                providers.require_running(self.provider, self.options, [])
            del given["device_type"]  # the plugin takes the device itself
            settings.add_provider_for_devices(chosen[:1], given)
            return None
        if not isinstance(self.options, NvidiaOptions):
            return [(name, given)]
        # A recorded graph is that of one size, so the graph that takes any size records none.
        recording = str(int(self.options.cuda_graph and fixed))
        if isinstance(self.options, CudaOptions):
            return [(name, given | {"enable_cuda_graph": recording})]
        # What TensorRT leaves out runs on CUDA, not on the CPU.
        cuda = CudaOptions(device_id=self.options.device_id)
        return [
            (name, given | {"trt_cuda_graph_enable": recording}),
            (providers.PROVIDERS["cuda"].ort_name, cuda.for_onnxruntime(self.threads)),
        ]

    def _opens_on_cpu(self) -> bool:
        import onnxruntime

        try:
            onnxruntime.InferenceSession(self.content, providers=["CPUExecutionProvider"], enable_fallback=0)
        except Exception:  # as above
            return False
        return True

    def _tell_share(self, graph: onnxruntime.InferenceSession, *, fixed: bool) -> None:
        """Log where a provider leaves a part of a graph whose sizes it knows to the CPU."""
        if self.provider.name == "cpu" or not fixed or not hasattr(graph, "get_provider_graph_assignment_info"):
            return
        parts = graph.get_provider_graph_assignment_info()
        on_cpu = sum(len(part.get_nodes()) for part in parts if part.ep_name == "CPUExecutionProvider")
        if on_cpu:
            total = sum(len(part.get_nodes()) for part in parts)
            _log.warning("%s leaves %d of %d operators to the CPU", self.provider.name, on_cpu, total)


def first_line(error: Exception) -> str:
    """Return what an error says first; ONNX Runtime's go on with a trace."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
