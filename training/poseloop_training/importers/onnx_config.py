"""The small YAML that says how a foreign ONNX network is fed and decoded (docs/importing.md describes every key)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from poseloop.errors import InvalidInputError
from poseloop.images import Color
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from poseloop_training.importers.yaml_file import read_yaml

_Side = Annotated[int, Field(ge=8, le=8192)]
_Number = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=1e-6, le=1e6, allow_inf_nan=False)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    # Numbers and names are taken as they are written: a misspelt key must not become a default.
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputConfig(_Strict):
    """From a frame to the network's image."""

    name: _Name | None = None
    layout: Literal["nchw", "nhwc"] = "nchw"
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    mean: Annotated[list[_Number], Field(min_length=1, max_length=3)] = [0.0]
    std: Annotated[list[_Positive], Field(min_length=1, max_length=3)] = [1.0]
    size: Annotated[list[_Side], Field(min_length=2, max_length=2)] | None = None
    multiple: Annotated[int, Field(ge=1, le=1024)] = 1
    box: Annotated[list[_Number], Field(min_length=4, max_length=4)] | None = None
    box_padding: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    fit: Literal["letterbox", "stretch"] = "letterbox"
    anchor: Literal["center", "top_left"] = "center"
    sampling: Literal["edges", "pixels"] = "edges"
    mapping: Literal["edges", "pixels"] | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    fill: Annotated[float, Field(ge=0, le=255)] | Literal["edge"] = 0.0

    @property
    def frame_color(self) -> Color:
        """Of the frames that the model file takes."""
        return "gray" if self.color == "gray" else "rgb"

    @property
    def channels(self) -> int:
        """Of the network's image."""
        return 1 if self.color == "gray" else 3

    @model_validator(mode="after")
    def _consistent(self) -> InputConfig:
        if self.size is None and (self.box is not None or self.box_padding != 1):
            raise ValueError("a box needs size, the width and height of the network's image")
        if self.size is not None and self.multiple != 1:
            raise ValueError("multiple is for networks without size")
        if self.box is not None and (self.box[2] < 1 or self.box[3] < 1):
            raise ValueError("box is x, y, width, height, with at least a pixel each way")
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{key} needs one number or one for each of the {self.channels} channels")
        return self


class DecodeConfig(_Strict):
    """From the network's outputs to coordinates."""

    kind: Literal["heatmap", "heatmap_offset", "simcc"]
    heatmaps: _Name | None = None
    offsets: _Name | None = None
    x: _Name | None = None
    y: _Name | None = None
    layout: Literal["nchw", "nhwc"] = "nchw"
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    stride: _Positive | None = None
    first_cell: _Number | None = None
    offset_unit: _Positive = 1.0
    offset_order: Literal["pairs", "halves"] = "pairs"
    refine: Literal["none", "mean", "quarter", "softmax"] = "none"
    window: Annotated[int, Field(ge=3, le=31)] = 5
    temperature: _Positive = 1.0
    upsampling: Annotated[int, Field(ge=0, le=3)] = 0
    split: _Positive = 2.0

    @property
    def outputs(self) -> tuple[str | None, ...]:
        """Names of the outputs that are read, None where the graph's own order decides."""
        if self.kind == "simcc":
            return self.x, self.y
        return (self.heatmaps, self.offsets) if self.kind == "heatmap_offset" else (self.heatmaps,)

    @model_validator(mode="after")
    def _consistent(self) -> DecodeConfig:
        if (self.kind == "simcc") == (self.stride is not None):
            raise ValueError("heatmaps need stride, network pixels a cell, and simcc has split in its place")
        if self.kind != "heatmap" and self.refine != "none":
            raise ValueError("refine is for kind: heatmap")
        if self.window % 2 == 0:
            raise ValueError("window is an odd number of cells")
        if self.upsampling and self.refine != "softmax":
            raise ValueError("upsampling is for refine: softmax")
        if self.refine == "softmax" and self.activation != "none":
            raise ValueError("refine: softmax makes its own activation, so leave activation out")
        return self

    def first(self) -> float:
        """Return where the first cell's point lies, in network pixels from the centre of the first one."""
        if self.first_cell is not None:
            return self.first_cell
        return 0.0 if self.stride is None else (self.stride - 1) / 2


class OnnxConfig(_Strict):
    """The whole file."""

    keypoints: Annotated[list[_Name], Field(min_length=1, max_length=1024)]
    skeleton: list[tuple[_Name, _Name]] = []
    swap_pairs: list[tuple[_Name, _Name]] | None = None
    input: InputConfig = InputConfig()
    decode: DecodeConfig

    @model_validator(mode="after")
    def _names(self) -> OnnxConfig:
        if len(set(self.keypoints)) != len(self.keypoints):
            raise ValueError("keypoints: a name stands twice")
        named = {name for pair in [*self.skeleton, *(self.swap_pairs or [])] for name in pair}
        if not named <= set(self.keypoints):
            raise ValueError(f"{sorted(named - set(self.keypoints))[0]!r} is none of the keypoints")
        return self


def read_config(path: Path) -> OnnxConfig:
    """Read the file.

    Raises:
        InvalidInputError: it can't be read, a key is unknown, or a value is wrong; the sentence names the key.
    """
    return parse_config(read_yaml(path), path)


def parse_config(content: Any, where: Path) -> OnnxConfig:
    """Return what a YAML file means; raises InvalidInputError as `read_config` does."""
    if not isinstance(content, dict):
        raise InvalidInputError(f"{where} is no mapping; it needs keypoints and decode, and perhaps input.")
    try:
        return OnnxConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        message = " ".join(str(first["msg"]).removeprefix("Value error, ").split())
        raise InvalidInputError(f"{where}: {place}: {message}; docs/importing.md lists the keys.") from None
