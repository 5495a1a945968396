"""A model in fewer bits: made from the network in fp32, and measured beside it in error and time."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.types import ModelSpec, PrecisionRecord

from poseloop_training.calibration import spread_over
from poseloop_training.dataset import PoseDataset
from poseloop_training.evaluate import EvaluationResult, evaluate_predictions
from poseloop_training.export import Parity, describe, export_model
from poseloop_training.graph import network_nodes
from poseloop_training.half import to_half
from poseloop_training.model_runner import ModelRunner
from poseloop_training.model_timing import time_models
from poseloop_training.network import PoseNetwork
from poseloop_training.quantise import MOST_SHIFT_CELLS, quantise
from poseloop_training.split import Split

Images = Sequence[NDArray[np.uint8]]
# Frames that decide which layers stay in fp32; never those of the test.
DECIDING_FRAMES = 16


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames that a model was trained on and is measured on.

    Attributes:
        calibration: uint8 ``(height, width, channels)``, of the training.
        deciding: for the choice of layers that stay in fp32.
        compared: those to run beside fp32; of the test where there is one.
    """

    calibration: Images
    deciding: Images
    compared: Images

    @classmethod
    def of(cls, dataset: PoseDataset, split: Split, spec: ModelSpec) -> Frames:
        """Load them in the model's colour."""

        def load(indices: Sequence[int]) -> Images:
            return [dataset.load_image(index, spec.color) for index in indices]

        calibration = [split.train[place] for place in spread_over(len(split.train))]
        others = (split.validation or split.train)[:DECIDING_FRAMES]
        return cls(load(calibration), load(others), load(split.test or others))


@dataclass(frozen=True, eq=False)
class Lowered:
    """A model file in fewer bits, beside its fp32 form.

    Attributes:
        spec: the description inside the file.
        parity: of the fp32 form with PyTorch.
        test: on the test frames; None without any.
        milliseconds: of a frame on one core here, in this precision and in fp32.
    """

    spec: ModelSpec
    parity: Parity
    test: EvaluationResult | None
    milliseconds: tuple[float, float]

    @property
    def record(self) -> PrecisionRecord:
        """What the file says of its precision."""
        assert self.spec.precision is not None
        return self.spec.precision

    def __str__(self) -> str:
        """Return what it costs and what it gains, in sentences."""
        record, (here, fp32) = self.record, self.milliseconds
        left = f" {', '.join(record.left_out)} stay in fp32." if record.left_out else ""
        moved = (
            f"{record.kind}: keypoints lie {record.mean_shift_px:.2f} px from those of fp32 on average, "
            f"{record.largest_shift_px:.2f} at most ({record.compared_frames} frames).{left}"
        )
        error = ""
        if self.test is not None:
            error = f" Mean test error: {self.test.summary.mean_px:.2f} px, {record.fp32_mean_error_px:.2f} in fp32."
        return (
            f"{moved}{error} One core here: {here:.2f} ms a frame, {fp32:.2f} in fp32: {fp32 / here:.2f} times as fast."
        )


def report(lowered: Lowered) -> dict[str, Any]:
    """Return what a lower precision costs and gains as plain values."""
    here, fp32 = lowered.milliseconds
    return {
        "precision": lowered.record.kind,
        **lowered.record.model_dump(exclude={"kind"}),
        "mean_error_px": lowered.test.summary.mean_px if lowered.test else None,
        "milliseconds": here,
        "fp32_milliseconds": fp32,
        "speedup": fp32 / here,
    }


def export_lowered(
    precision: Literal["fp16", "int8"],
    network: PoseNetwork,
    spec: ModelSpec,
    frames: Frames,
    out: Path,
    labelled: tuple[PoseDataset, Split] | None = None,
) -> Lowered:
    """Write a model file in fewer bits.

    Args:
        precision: which.
        network: in fp32.
        spec: of the file in fp32.
        frames: for ranges and comparisons.
        out: the file, replaced at the end and not before.
        labelled: the labels of the test frames, where there are some.

    Raises:
        ParityError: already in fp32 the graph differs from the network.
        InvalidInputError: the network can't be computed in this precision.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}-") as folder:
        fp32, partial = Path(folder) / "fp32.onnx", Path(folder) / out.name
        parity = export_model(network, spec, frames.compared[:4], fp32)
        left_out = _lower(precision, network, frames, fp32, partial)
        describe(partial, spec)
        moved = _distances(ModelRunner(fp32), ModelRunner(partial), frames.compared)
        if not np.isfinite(moved).all():
            raise InvalidInputError(
                f"in {precision} this network gives no numbers; nothing was written: export it with --precision fp32."
            )
        before, test = (_test(path, labelled) for path in (fp32, partial))
        record = PrecisionRecord(
            kind=precision,
            calibration_frames=len(frames.calibration) if precision == "int8" else 0,
            left_out=left_out,
            compared_frames=len(frames.compared),
            mean_shift_px=float(moved.mean()),
            largest_shift_px=float(moved.max()),
            fp32_mean_error_px=before.summary.mean_px if before else None,
        )
        errors = test.test_errors() if test else None  # those of fp32 were measured on another graph
        spec = spec.model_copy(update={"precision": record, "test_errors": errors})
        describe(partial, spec)
        here, there = time_models([partial, fp32], frames.compared[0])
        partial.replace(out)
    return Lowered(spec, parity, test, (here, there))


def _lower(
    precision: Literal["fp16", "int8"], network: PoseNetwork, frames: Frames, fp32: Path, out: Path
) -> list[str]:
    """Write the model in fewer bits and return the layers that stay in fp32."""
    model = onnx.load(str(fp32))
    if not network_nodes(model):
        raise InvalidInputError(f"this model has no convolutions to compute in {precision}: export it in fp32.")
    if precision == "fp16":
        onnx.save(to_half(model), str(out))
        return []
    reference = ModelRunner(fp32)

    def shift(candidate: onnx.ModelProto) -> float:
        onnx.save(candidate, str(out))
        return float(_distances(reference, ModelRunner(out), frames.deciding).mean())

    most_shift = MOST_SHIFT_CELLS * network.config.stride / network.config.input_scale
    native = reference.spec.native_width, reference.spec.native_height
    found = quantise(model, network.config.most_stride, native, frames.calibration, shift, most_shift)
    onnx.save(found.model, str(out))
    return list(found.left_out)


def _distances(one: ModelRunner, other: ModelRunner, images: Images) -> NDArray[np.float32]:
    """Return how far keypoints of two models lie apart, in pixels."""
    pairs = [(one.predict([image]), other.predict([image])) for image in images]
    return np.concatenate([np.linalg.norm((a - b)[..., :2], axis=-1).ravel() for a, b in pairs])


def _test(model: Path, labelled: tuple[PoseDataset, Split] | None) -> EvaluationResult | None:
    if labelled is None:
        return None
    dataset, split = labelled
    if not any(dataset.samples[index].labelled.any() for index in split.test):
        return None
    runner = ModelRunner(model)
    order = runner.order_of(dataset.keypoint_names)
    return evaluate_predictions(
        dataset, split.test, lambda images: runner.predict(images)[:, :, order], color=runner.spec.color
    )
