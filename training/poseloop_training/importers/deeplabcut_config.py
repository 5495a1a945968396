"""`pytorch_config.yaml` of DeepLabCut 3: what of it decides a coordinate, and which networks we can decode."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from poseloop.errors import InvalidInputError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

NAME = "pytorch_config.yaml"
DECODABLE = (
    "resnet_* (also with group normalisation), hrnet_w18, hrnet_w32, hrnet_w48, cspnext_*, and the top_down_* of these "
    "with --box"
)
# No network of DeepLabCut comes near; a configuration that asks for more would only take memory.
_Channels = Annotated[int, Field(ge=1, le=8192)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class FinalConv(_Part):
    """A last convolution without padding."""

    out_channels: _Channels
    kernel_size: Annotated[int, Field(ge=1, le=31)]


class MapsConfig(_Part):
    """Transposed convolutions from ``channels[i]`` to ``channels[i + 1]``, then perhaps a last convolution."""

    channels: Annotated[list[_Channels], Field(min_length=1, max_length=8)]
    kernel_size: list[Annotated[int, Field(ge=1, le=31)]]
    strides: list[Annotated[int, Field(ge=1, le=8)]]
    final_conv: FinalConv | None = None

    @model_validator(mode="after")
    def _lengths(self) -> MapsConfig:
        if not len(self.kernel_size) == len(self.strides) == len(self.channels) - 1:
            raise ValueError("kernel_size and strides need one value for each step between channels")
        return self


class Predictor(_Part):
    """How a coordinate is read from the maps."""

    type: str
    apply_sigmoid: bool = False
    clip_scores: bool = True
    location_refinement: bool = True
    locref_std: float = Field(7.2801, gt=0)


class Head(_Part):
    """One head of the network."""

    type: str
    predictor: Predictor
    heatmap_config: MapsConfig
    locref_config: MapsConfig | None = None


class BackboneConfig(_Part):
    """Which network gives the features."""

    type: str
    model_name: str = ""
    output_stride: Literal[8, 16, 32] = 32
    interpolate_branches: bool = False
    increased_channel_count: bool = False
    only_high_res: bool = True
    arch: str = "P5"
    activation_fn: str = "SiLU"
    expand_ratio: float = 0.5
    channel_attention: bool = True
    deepen_factor: float = Field(1.0, gt=0, le=2)
    widen_factor: float = Field(1.0, gt=0, le=2)


class AutoPadding(_Part):
    """The image is padded to multiples of these, or to at least this size."""

    pad_height_divisor: Annotated[int, Field(ge=1, le=1024)] | None = None
    pad_width_divisor: Annotated[int, Field(ge=1, le=1024)] | None = None
    min_height: int | None = None
    min_width: int | None = None


class Size(_Part):
    """Of the image that enters a top-down network."""

    width: Annotated[int, Field(ge=16, le=4096)]
    height: Annotated[int, Field(ge=16, le=4096)]
    crop_with_context: bool = True


class Inference(_Part):
    """How an image is prepared."""

    resize: Any = None
    longest_max_size: Any = None
    auto_padding: AutoPadding | None = None
    normalize_images: bool = True
    scale_to_unit_range: bool = False
    top_down_crop: Size | None = None


class _Data(_Part):
    colormode: Literal["RGB", "BGR"] = "RGB"
    inference: Inference = Inference()


class _Metadata(_Part):
    bodyparts: Annotated[list[str], Field(min_length=1, max_length=4096)]


class _Model(_Part):
    backbone: BackboneConfig
    neck: Any = None
    heads: Annotated[dict[str, Head], Field(min_length=1)]


class DeepLabCutConfig(_Part):
    """The parts of the file that are read."""

    net_type: str
    method: str
    metadata: _Metadata
    data: _Data = _Data()
    model: _Model

    @property
    def head(self) -> Head:
        """The one head."""
        return self.model.heads["bodypart"]

    @property
    def keypoints(self) -> list[str]:
        """Names, in the order of the channels."""
        return self.metadata.bodyparts


def parse(content: Any, where: Path) -> DeepLabCutConfig:
    """Return the configuration, if it is of a network that we can decode.

    Raises:
        InvalidInputError: it is none, or of another network; the sentence names it and those that we can decode.
    """
    if not isinstance(content, dict) or "model" not in content or "net_type" not in content:
        raise InvalidInputError(
            f"{where} is no configuration of a DeepLabCut 3 network (PyTorch); give the train folder with {NAME}, or "
            "an exported .pt."
        )
    _refuse_others(content)
    try:
        config = DeepLabCutConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the top"
        raise InvalidInputError(f"{where}: {place}: {first['msg']}; restore the file that DeepLabCut wrote.") from None
    _refuse_inconsistent(config, where)
    return config


def _refuse_others(content: dict[str, Any]) -> None:
    """Refuse networks of other kinds by their name, before their other keys are looked at."""
    net = str(content.get("net_type"))
    model = content["model"] if isinstance(content["model"], dict) else {}
    heads = model.get("heads") if isinstance(model.get("heads"), dict) else {}
    refused = ""
    if content.get("method", "bu") not in ("bu", "td"):
        refused = f"it works by the method {content['method']!r}"
    elif model.get("neck"):
        refused = "it has a neck between backbone and head"
    elif isinstance(heads, dict) and heads and set(heads) != {"bodypart"}:
        refused = f"it has the heads {', '.join(map(str, heads))}"
    for head in heads.values() if isinstance(heads, dict) else ():
        kind = head.get("type") if isinstance(head, dict) else None
        predictor = head.get("predictor") if isinstance(head, dict) else None
        predictor_kind = predictor.get("type") if isinstance(predictor, dict) else None
        if not refused and (kind, predictor_kind) != ("HeatmapHead", "HeatmapPredictor"):
            refused = f"its head is {kind} with {predictor_kind}, not HeatmapHead with HeatmapPredictor"
    if refused:
        raise _refusal(net, refused)


def _refuse_inconsistent(config: DeepLabCutConfig, where: Path) -> None:
    backbone, inference, head = config.model.backbone, config.data.inference, config.head
    if backbone.type not in ("ResNet", "HRNet", "CSPNeXt"):
        raise _refusal(config.net_type, f"its backbone is {backbone.type}")
    if (backbone.arch, backbone.activation_fn) != ("P5", "SiLU"):
        raise _refusal(
            config.net_type, f"its CSPNeXt is {backbone.arch} with {backbone.activation_fn}, not P5 with SiLU"
        )
    if backbone.expand_ratio != 0.5 or not backbone.channel_attention:
        raise _refusal(config.net_type, "its CSPNeXt has other proportions than usual, or no attention")
    if backbone.interpolate_branches or backbone.increased_channel_count or not backbone.only_high_res:
        raise _refusal(config.net_type, "its HRNet joins all four branches")
    if inference.resize or inference.longest_max_size:
        raise _refusal(config.net_type, "it resizes its images (data.inference)")
    if inference.auto_padding and (inference.auto_padding.min_height or inference.auto_padding.min_width):
        raise _refusal(config.net_type, "it pads its images to a least size (data.inference.auto_padding)")
    if inference.top_down_crop is not None and not inference.top_down_crop.crop_with_context:
        raise _refusal(config.net_type, "it cuts its boxes out without what is around them (crop_with_context)")
    if config.method == "td" and inference.top_down_crop is None:
        raise InvalidInputError(f"{where}: data.inference.top_down_crop is missing, and a top-down network needs it.")
    if head.predictor.location_refinement and head.locref_config is None:
        raise InvalidInputError(f"{where}: location_refinement is on, and locref_config is missing.")
    wanted = len(config.keypoints)
    for title, maps, count in (("heatmap", head.heatmap_config, wanted), ("locref", head.locref_config, 2 * wanted)):
        last = maps and (maps.final_conv.out_channels if maps.final_conv else maps.channels[-1])
        if last and last != count:
            raise InvalidInputError(
                f"{where}: {title}_config ends in {last} channels, and {wanted} bodyparts need {count}; restore it."
            )


def _refusal(net: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"the DeepLabCut network {net} can't be imported: {why}; what can be: {DECODABLE}.")
