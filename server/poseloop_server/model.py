"""One model file, loaded, checked against its contract, warmed up and measured."""

from __future__ import annotations

import hashlib
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.errors import InvalidInputError, PoseloopError
from poseloop.types import ModelSpec

from poseloop_server import batching, onnx_file, providers
from poseloop_server.provider_options import CpuOptions, ProviderOptions, read_options
from poseloop_server.session import INPUT, OUTPUT, first_line, open_session

if TYPE_CHECKING:
    import onnxruntime

MOST_PIXELS: Final = 16_384 * 16_384
"""Of the frames that a model was made for: one is made up to warm it up."""
SMALL_SIDE: Final = 64
"""Of the square image that is inferred to keep the caches warm, in pixels."""
_SMALL_RUNS: Final = 5
# One that takes longer would make the frame wait that it is to help: after a pause it takes five times as long.
_MOST_SMALL_MS: Final = 0.25


class ModelFailedError(PoseloopError):
    """A model that passed its checks failed when it ran."""


class PoseModel:
    """Turns images into keypoints.

    Attributes:
        name: what clients call it; the file's stem unless given.
        spec: the description inside the file.
        sha256: of the file.
        provider: the execution provider that really runs it, by ONNX Runtime's name.
        options: of that provider.
        device: what that provider runs on.
        precision: ``"fp32"``, ``"fp16"``, ``"bf16"`` or ``"int8"``: what the weights are.
        threads: CPU threads of one inference.
        fixed_width: the only width that the graph takes, or None for any.
        fixed_height: the only height that the graph takes, or None for any.
        warm_up_ms: time from loading to ready.
        inference_ms: median of the warm-up's later half, one frame of the native size.
        batch_plan: how many frames are best inferred together.
    """

    def __init__(
        self,
        path: Path,
        name: str | None = None,
        *,
        provider: str = "cpu",
        options: ProviderOptions | None = None,
        threads: int = 1,
        warm_up_runs: int = 10,
        max_batch: int = 1,
    ) -> None:
        """Load, check and warm up; with ``max_batch`` above 1, time batches too where the graph takes any number.

        Raises:
            InvalidInputError: the file can't be read or breaks the contract of docs/model-format.md.
            ProviderUnavailableError: the provider is not here.
            ModelFailedError: the graph fails on a frame of its native size.
        """
        started_ns = now_ns()
        self.name = name or path.stem
        self.threads = threads
        self.options = options or read_options(provider)
        chosen = providers.require(provider, self.options)
        content = _read(path)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._session = open_session(content, path, chosen, self.options, threads)
        graph = self._session.graph
        self.provider: str = chosen.ort_name
        self.device = providers.device_name(self.options)
        self.precision = onnx_file.precision_of(content)
        self.spec = ModelSpec.from_metadata(graph.get_modelmeta().custom_metadata_map, str(path))
        width, height = self.spec.native_width, self.spec.native_height
        if width * height > MOST_PIXELS:
            raise InvalidInputError(
                f"{path} says that it was made for frames of {width}x{height} pixels, which no camera has; export it "
                "again with the size of its frames"
            )
        _check_signature(graph, self.spec, path)
        fixed_batch, self.fixed_height, self.fixed_width, _ = (
            size if isinstance(size, int) else None for size in graph.get_inputs()[0].shape
        )
        self.inference_ms = self._warm_up(warm_up_runs, path)
        self._nothing = np.zeros((1, self.spec.max_animals, len(self.spec.keypoints), 3), np.float32)
        self._small_is_quick = self._try_small()
        self.batch_plan = batching.BatchPlan()
        if max_batch > 1 and fixed_batch is None:
            self.batch_plan = batching.measure(self.infer, self._native_frame(), max_batch, self._prepare)
        self.warm_up_ms = (now_ns() - started_ns) / 1e6

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Find the keypoints of uint8 ``(N, height, width, channels)`` images, C-contiguous.

        Returns:
            float32 ``(N, instances, keypoints, 3)``: x, y in pixels of the images, confidence; NaN where absent.

        Raises:
            ModelFailedError: ONNX Runtime gave up on them.
        """
        try:
            return self._session.run(images)
        except Exception as error:  # ONNX Runtime's exceptions have no common base but this one
            raise ModelFailedError(f"the model {self.name!r} failed on a frame: {first_line(error)}") from None

    def rehearse(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Do as `infer` with a square of `SMALL_SIDE`, if that is quick; otherwise return keypoints of nothing.

        What it leaves in the caches, code and weights, a frame a millisecond later does not have to fetch again.
        """
        if self._small_is_quick:
            try:
                return self.infer(images)
            except ModelFailedError:
                self._small_is_quick = False
        return self._nothing

    def _try_small(self) -> bool:
        """Whether this graph takes small images, and takes little time over them."""
        # Everything but the CPU compiles a graph for each size that it is shown.
        if not isinstance(self.options, CpuOptions) or self.fixed_height is not None or self.fixed_width is not None:
            return False
        image = np.zeros((1, SMALL_SIDE, SMALL_SIDE, self.spec.channels), np.uint8)
        times_ms = []
        for _ in range(_SMALL_RUNS):
            before_ns = now_ns()
            try:
                self.infer(image)
            except ModelFailedError:
                return False
            times_ms.append((now_ns() - before_ns) / 1e6)
        return median(times_ms) <= _MOST_SMALL_MS

    def _prepare(self, shape: tuple[int, ...]) -> None:
        """Make batches of a shape quick.

        Raises:
            ModelFailedError: the provider can't open the graph for it.
        """
        try:
            self._session.prepare(shape)
        except Exception as error:  # ONNX Runtime's exceptions have no common base but this one
            raise ModelFailedError(f"the model {self.name!r} takes no batch of {shape}: {first_line(error)}") from None

    def _native_frame(self) -> NDArray[np.uint8]:
        shape = (1, self.spec.native_height, self.spec.native_width, self.spec.channels)
        return np.random.default_rng(0).integers(1, 255, shape, dtype=np.uint8)

    def _warm_up(self, runs: int, path: Path) -> float:
        spec = self.spec
        image = self._native_frame()
        self._session.prepare(image.shape)
        times_ms = []
        for _ in range(runs):
            before_ns = now_ns()
            keypoints = self.infer(image)
            times_ms.append((now_ns() - before_ns) / 1e6)
        expected = (1, spec.max_animals, len(spec.keypoints), 3)
        if keypoints.shape != expected or keypoints.dtype != np.float32:
            raise InvalidInputError(
                f"{path}: the output {OUTPUT!r} of one frame is {keypoints.dtype} {keypoints.shape}, but its "
                f"description promises float32 {expected}; export the model again."
            )
        return median(times_ms[runs // 2 :])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"the model file {path} can't be read: {error.strerror}") from None


def _check_signature(session: onnxruntime.InferenceSession, spec: ModelSpec, path: Path) -> None:
    """Compare the graph's inputs and outputs with the contract; a size that the graph leaves open may be anything."""
    inputs = {one.name: one for one in session.get_inputs()}
    outputs = {one.name: one for one in session.get_outputs()}
    contract = (
        ("input", inputs, INPUT, "tensor(uint8)", [None, None, None, spec.channels]),
        ("output", outputs, OUTPUT, "tensor(float)", [None, spec.max_animals, len(spec.keypoints), 3]),
    )
    for side, found, name, kind, shape in contract:
        if set(found) != {name}:
            raise InvalidInputError(
                f"{path}: a poseloop model has the one {side} {name!r}, this graph has {', '.join(sorted(found))}; "
                "export the model again."
            )
        value = found[name]
        sizes_fit = len(value.shape) == len(shape) and all(
            not isinstance(has, int) or wanted is None or has == wanted
            for has, wanted in zip(value.shape, shape, strict=True)
        )
        if value.type != kind or not sizes_fit:
            raise InvalidInputError(
                f"{path}: the {side} {name!r} is {value.type} {value.shape}, but its description asks for {kind} "
                f"{['any' if size is None else size for size in shape]}; export the model again."
            )
