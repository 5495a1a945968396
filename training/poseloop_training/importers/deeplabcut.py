"""DeepLabCut 3 (PyTorch): training folders with `pytorch_config.yaml` and snapshots, and exported `.pt` files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseloop.errors import InvalidInputError
from poseloop.types import DecodeSpec, ModelSpec
from torch import Tensor

from poseloop_training.export import Parity
from poseloop_training.importers.base import ImportRequest, Skeleton, describe, write_model
from poseloop_training.importers.deeplabcut_config import NAME, DeepLabCutConfig, parse
from poseloop_training.importers.deeplabcut_network import Box, DeepLabCutNetwork
from poseloop_training.importers.tensors import fill, load_inert, only_tensors
from poseloop_training.importers.yaml_file import read_yaml

_SNAPSHOT = re.compile(r"snapshot(?P<best>-best)?-(?P<epoch>\d+)\.pt")
_PREFIX, _HEAD = "backbone.", "heads.bodypart."
_LAYOUT = "dlc-models-pytorch"


@dataclass(frozen=True, eq=False)
class Source:
    """A network as DeepLabCut left it."""

    config: DeepLabCutConfig
    weights: dict[str, Tensor]
    file: Path


def import_deeplabcut(source: Path, request: ImportRequest, box: Box | None = None) -> Parity:
    """Make a model file of a DeepLabCut network.

    Args:
        source: a training folder, one of its snapshots, an exported `.pt`, or a project with one trained network.
        request: the file to write and what to say in it.
        box: where the animal is, for a top-down network.

    Raises:
        InvalidInputError: the source is damaged, or its network is none that we can decode.
        ParityError: the exported graph differs from the network.
    """
    found = read_source(source)
    network = build(found, box)
    return write_model(network, _spec(found, network, request), request)


def read_source(source: Path) -> Source:
    """Find and read the configuration and the weights.

    Raises:
        InvalidInputError: there are none, they are damaged, or their network can't be decoded.
    """
    if not source.exists():
        raise InvalidInputError(f"{source} does not exist; give a train folder of DeepLabCut, or an exported .pt.")
    if source.is_file() and source.suffix == ".pt":
        content = load_inert(source, modules=("numpy",))
        if "pose" in content:
            config = parse(content.get("config"), source)
            return Source(config, only_tensors(content["pose"], source, "pose"), source)
        file, folder = source, source.parent
    elif source.is_file():
        raise InvalidInputError(f"{source} is no .pt file; give a train folder of DeepLabCut, or an exported .pt.")
    else:
        folder = _training_folder(source)
        # The configuration first: a network that can't be decoded needs no look at its weights.
        parse(read_yaml(folder / NAME), folder / NAME)
        file = _best_snapshot(folder)
        content = load_inert(file, modules=("numpy",))
    config = parse(read_yaml(folder / NAME), folder / NAME)
    return Source(config, only_tensors(content.get("model"), file, "model"), file)


def build(source: Source, box: Box | None = None) -> DeepLabCutNetwork:
    """Return the network with its weights.

    Raises:
        InvalidInputError: the weights are of another network, or a top-down network lacks its box.
    """
    if box is not None and source.config.method != "td":
        raise InvalidInputError(f"--box: {source.config.net_type} looks at whole frames; leave it out.")
    network = DeepLabCutNetwork(source.config, box)
    weights = {name.removeprefix(_HEAD): tensor for name, tensor in source.weights.items()}
    if network.locref_head is None:
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("locref_head.")}
    fill(network, weights, source.file)
    return network.eval()


def _spec(source: Source, network: DeepLabCutNetwork, request: ImportRequest) -> ModelSpec:
    config = source.config
    refines = network.locref_head is not None
    decode = DecodeSpec(
        kind="foreign",
        input_scale=1.0 if network.crop is None else network.crop.size[1] / (network.crop.right - network.crop.left),
        stride=network.stride,
        parameters={"locref_std": config.head.predictor.locref_std} if refines else {},
    )
    name = f"DeepLabCut 3 ({config.net_type}, {source.file.name})"
    return describe(request, Skeleton(config.keypoints, _edges(source.file)), decode, name)


def _training_folder(source: Path) -> Path:
    """Return the folder with the configuration: this one, its ``train``, or the only one of a project.

    Raises:
        InvalidInputError: there is none, or there are several.
    """
    for folder in (source, source / "train"):
        if (folder / NAME).is_file():
            return folder
    root = source / _LAYOUT if (source / _LAYOUT).is_dir() else source
    found = sorted(path.parent for path in root.glob(f"*/*/train/{NAME}"))
    if not found:
        raise InvalidInputError(
            f"{source} holds no {NAME}; give the train folder of a network that DeepLabCut 3 trained with PyTorch "
            "(those of TensorFlow can't be imported)."
        )
    if len(found) > 1:
        names = ", ".join(path.relative_to(source).as_posix() for path in found[:8])
        raise InvalidInputError(f"{source} holds {len(found)} trained networks; give the folder of one: {names}.")
    return found[0]


def _best_snapshot(folder: Path) -> Path:
    """Return the best snapshot, or the last one where none is marked as the best.

    Raises:
        InvalidInputError: there is none.
    """
    found = [(match, path) for path in folder.glob("snapshot*.pt") if (match := _SNAPSHOT.fullmatch(path.name))]
    if not found:
        raise InvalidInputError(f"{folder} holds no snapshot-*.pt; train the network first, or give another folder.")
    return max(found, key=lambda item: (item[0]["best"] is not None, int(item[0]["epoch"])))[1]


def _edges(snapshot: Path) -> Sequence[tuple[str, str]]:
    """Return the skeleton of the project's config.yaml, if the snapshot lies in a project that has one."""
    folders = snapshot.absolute().parents
    project = next((folder.parent for folder in folders if folder.name == _LAYOUT), None)
    if project is None or not (project / "config.yaml").is_file():
        return ()
    try:
        content: Any = read_yaml(project / "config.yaml")
    except InvalidInputError:
        return ()  # the skeleton is for drawing only; the network does not need it
    edges = content.get("skeleton") if isinstance(content, dict) else None
    if not isinstance(edges, list):
        return ()
    return [(str(edge[0]), str(edge[1])) for edge in edges if isinstance(edge, list) and len(edge) == 2]
