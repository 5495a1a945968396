"""sleap-nn: single-instance models, a checkpoint beside `training_config.yaml`.

The checkpoint holds objects of sleap-nn and omegaconf beside the weights; they become inert stand-ins, and the
configuration is read from the YAML file instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseloop.errors import InvalidInputError
from poseloop.types import DecodeSpec, ModelSpec
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from poseloop_training.export import Parity
from poseloop_training.importers.base import ImportRequest, Skeleton, describe, write_model
from poseloop_training.importers.sleap_nn_network import SleapNetwork
from poseloop_training.importers.tensors import load_inert, only_tensors
from poseloop_training.importers.yaml_file import read_yaml

CONFIG, CHECKPOINT = "training_config.yaml", "best.ckpt"
# What sleap-nn's checkpoints name beside tensors; none of it is ever looked up.
_NAMED = ("sleap_nn", "omegaconf", "typing", "builtins", "collections", "_operator", "numpy", "pathlib")
_PREFIX = "model."


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Preprocessing(_Part):
    scale: float = Field(1.0, gt=0.01, le=4)
    max_height: int | None = Field(None, ge=1, le=16384)
    max_width: int | None = Field(None, ge=1, le=16384)


class _Node(_Part):
    name: str


class _Edge(_Part):
    source: _Node
    destination: _Node


class _Skeleton(_Part):
    nodes: list[_Node]
    edges: list[_Edge] = []
    symmetries: list[Any] = []


class _Data(_Part):
    preprocessing: _Preprocessing = _Preprocessing()
    skeletons: list[_Skeleton] = Field(min_length=1)


class _Confmaps(_Part):
    part_names: list[str] | None = None
    output_stride: int


class _SingleInstance(_Part):
    confmaps: _Confmaps


class _Config(_Part):
    data_config: _Data
    backbone: dict[str, Any]
    single_instance: _SingleInstance
    sleap_nn_version: str = ""


@dataclass(frozen=True, eq=False)
class Source:
    """A model as sleap-nn left it."""

    config: _Config
    weights: dict[str, Tensor]
    file: Path

    @property
    def skeleton(self) -> Skeleton:
        """Nodes in the order of the channels, edges and symmetric pairs."""
        whole = self.config.data_config.skeletons[0]
        names = self.config.single_instance.confmaps.part_names or [node.name for node in whole.nodes]
        edges = [(edge.source.name, edge.destination.name) for edge in whole.edges]
        return Skeleton(names, edges)


def import_sleap_nn(source: Path, request: ImportRequest) -> Parity:
    """Make a model file of a single-instance model of sleap-nn.

    Args:
        source: a model folder with `best.ckpt` and `training_config.yaml`, or a checkpoint beside that file.
        request: the file to write and what to say in it.

    Raises:
        InvalidInputError: the source is damaged, or a model of another kind.
        ParityError: the exported graph differs from the network.
    """
    found = read_source(source)
    network = build(found)
    return write_model(network, _spec(found, network, request), request)


def read_source(source: Path) -> Source:
    """Find and read configuration and weights.

    Raises:
        InvalidInputError: there are none, they are damaged, or of a model of another kind.
    """
    if not source.exists():
        raise InvalidInputError(f"{source} does not exist; give a model folder of sleap-nn with {CHECKPOINT}.")
    file = source / CHECKPOINT if source.is_dir() else source
    config = _parse(read_yaml(file.parent / CONFIG), file.parent / CONFIG)
    content = load_inert(file, _NAMED)
    weights = only_tensors(content.get("state_dict"), file, "state_dict")
    return Source(config, {name.removeprefix(_PREFIX): tensor for name, tensor in weights.items()}, file)


def build(source: Source) -> SleapNetwork:
    """Return the network with its weights.

    Raises:
        InvalidInputError: the weights are of another architecture, or do not fit the configuration.
    """
    network = SleapNetwork(source.weights, source.config.data_config.preprocessing.scale, source.file).eval()
    stride, names = source.config.single_instance.confmaps.output_stride, source.skeleton.keypoints
    if (network.stride, network.keypoints) != (stride, len(names)):
        raise InvalidInputError(
            f"{source.file.name} has {network.keypoints} confidence maps of stride {network.stride}, and {CONFIG} says "
            f"{len(names)} of stride {stride}; give a checkpoint and a configuration of one training."
        )
    if network.channels not in (1, 3):
        raise InvalidInputError(
            f"{source.file.name} takes images of {network.channels} channels, and 1 or 3 are known."
        )
    return network


def _parse(content: Any, where: Path) -> _Config:
    if not isinstance(content, dict) or not isinstance(content.get("model_config"), dict):
        raise InvalidInputError(f"{where} is no configuration of sleap-nn; give the folder that sleap-nn trained into.")
    model = content["model_config"]
    heads = [str(name) for name, head in (model.get("head_configs") or {}).items() if head]
    backbones = [str(name) for name, backbone in (model.get("backbone_config") or {}).items() if backbone]
    if heads != ["single_instance"] or backbones != ["unet"]:
        raise InvalidInputError(
            f"{where}: the model {', '.join(heads) or 'without head'} on {', '.join(backbones) or 'no backbone'} can't "
            "be imported; what can be: single_instance on unet."
        )
    try:
        return _Config.model_validate(
            {
                "data_config": content.get("data_config"),
                "backbone": model["backbone_config"]["unet"],
                "single_instance": model["head_configs"]["single_instance"],
                "sleap_nn_version": str(content.get("sleap_nn_version") or ""),
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidInputError(f"{where}: {place}: {first['msg']}; restore the file that sleap-nn wrote.") from None


def _spec(source: Source, network: SleapNetwork, request: ImportRequest) -> ModelSpec:
    preprocessing = source.config.data_config.preprocessing
    decode = DecodeSpec(kind="foreign", input_scale=network.scale, stride=network.stride)
    known = (preprocessing.max_width, preprocessing.max_height)
    size = (known[0], known[1]) if known[0] and known[1] else None
    name = f"sleap-nn {source.config.sleap_nn_version} (single_instance, {source.file.name})".replace("  ", " ")
    return describe(request, source.skeleton, decode, name, size, color="gray" if network.channels == 1 else "rgb")
