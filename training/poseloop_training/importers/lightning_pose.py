"""Lightning Pose: heatmap models of one view, from a model folder with `exports_onnx/` and `config.yaml`.

Frames are scaled as its `predict_frame` does; its way for whole videos scales a little differently.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from poseloop.errors import InvalidInputError

from poseloop_training.export import Parity
from poseloop_training.importers.base import ImportRequest
from poseloop_training.importers.foreign_onnx import import_configured
from poseloop_training.importers.onnx_config import OnnxConfig, parse_config
from poseloop_training.importers.yaml_file import read_yaml

EXPORTS, CONFIG = "exports_onnx", "config.yaml"
DECODABLE = "heatmap"
# Its upsampling moves the grid; these are the shifts that it takes back, in pixels of the network's image.
_SHIFTS = {0: 0.0, 1: -0.5, 2: -1.5, 3: -2.5}
_TEMPERATURE = 1000.0
_WINDOW = 5  # all cells within two standard deviations of 1.25
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def import_lightning_pose(source: Path, request: ImportRequest) -> Parity:
    """Make a model file of a Lightning Pose export.

    Args:
        source: a model folder with one export, or one of its exports.
        request: the file to write and what to say in it.

    Raises:
        InvalidInputError: there is no export, several, or the model is of another kind.
        ParityError: the composed graph differs from the network.
    """
    file, folder = _find(source)
    config = configuration(read_yaml(folder / CONFIG), folder / CONFIG)
    return import_configured(file, config, request, f"Lightning Pose ({file.name})")


def configuration(content: Any, where: Path) -> OnnxConfig:
    """Return how a model is fed and decoded, from its `config.yaml`.

    Raises:
        InvalidInputError: it is no configuration of Lightning Pose, or of a model of another kind.
    """
    data, model = (content.get(key) if isinstance(content, dict) else None for key in ("data", "model"))
    size = data.get("image_resize_dims") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(model, dict) or not isinstance(size, dict):
        raise InvalidInputError(f"{where} is no configuration of Lightning Pose; give the folder of a trained model.")
    kind = model.get("model_type")
    if kind != DECODABLE or (data.get("view_names") and len(data["view_names"]) > 1):
        raise InvalidInputError(
            f"{where}: the model type {kind} can't be imported; what can be: {DECODABLE}, of one view."
        )
    factor = data.get("downsample_factor", 2)
    names = data.get("keypoint_names") or data.get("keypoints")
    if factor not in _SHIFTS or not isinstance(names, list):
        raise InvalidInputError(f"{where}: data needs keypoint_names and a downsample_factor of 0 to 3; restore it.")
    return parse_config(
        {
            "keypoints": names,
            "input": {
                "size": [size.get("width"), size.get("height")],
                "fit": "stretch",
                "fill": "edge",
                "mapping": "pixels",
                "mean": list(_MEAN),
                "std": list(_STD),
            },
            "decode": {
                "kind": "heatmap",
                "stride": 2**factor,
                "first_cell": _SHIFTS[factor],
                "refine": "softmax",
                "temperature": _TEMPERATURE,
                "upsampling": factor,
                "window": _WINDOW,
            },
        },
        where,
    )


def _find(source: Path) -> tuple[Path, Path]:
    """Return the export and the model's folder."""
    if source.is_file():
        return source, source.parent.parent if source.parent.name == EXPORTS else source.parent
    if not source.is_dir():
        raise InvalidInputError(f"{source} does not exist; give a model folder of Lightning Pose.")
    found = sorted((source / EXPORTS).glob("*.onnx"))
    if not found:
        raise InvalidInputError(
            f"{source} holds no {EXPORTS}/*.onnx; export the model with Lightning Pose first: model.export('onnx')."
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:8])
        raise InvalidInputError(f"{source} holds {len(found)} exports; give one of them: {names}.")
    return found[0], source
