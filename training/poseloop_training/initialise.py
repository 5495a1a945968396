"""Where a network's first weights come from: ImageNet, a file, or chance."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from poseloop_training.backbone import DEFAULT_BACKBONE, fill, load_packaged_weights
from poseloop_training.checkpoint import AVERAGED, load_plain
from poseloop_training.network import NetworkConfig, PoseNetwork

IMAGENET = "imagenet"
NONE = "none"


def build_network(config: NetworkConfig, init: str) -> PoseNetwork:
    """Build a network and give it its first weights.

    Args:
        config: its shape.
        init: ``imagenet``, ``none`` for random weights, or a file: a state dict of timm's backbone, or a checkpoint of
            `poseloop train`, of which the head is taken too where its shapes agree.

    Raises:
        InvalidInputError: there is no such backbone; its weights can't be fetched, or the file is not of it.
    """
    packaged = config.backbone == DEFAULT_BACKBONE
    network = PoseNetwork(config, pretrained=init == IMAGENET and not packaged)
    if init == IMAGENET and packaged:
        load_packaged_weights(network.backbone)
    elif init not in (IMAGENET, NONE):
        _fill_from_file(network, Path(init))
    return network


def _fill_from_file(network: PoseNetwork, path: Path) -> None:
    content = load_plain(path)
    weights: dict[str, Tensor] = {n: t for n, t in content.get("state_dict", content).items() if isinstance(t, Tensor)}
    weights = {name.removeprefix(AVERAGED): tensor for name, tensor in weights.items()}
    prefix = "backbone.body."
    ours = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    fill(network.backbone.body, ours or weights, path)
    head = network.head.state_dict()
    found = {n.removeprefix("head."): t for n, t in weights.items() if n.startswith("head.")}
    if ours and head.keys() == found.keys() and all(head[name].shape == found[name].shape for name in head):
        network.head.load_state_dict(found)
